package buildcontext

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/selection"
	"golang.org/x/sys/unix"
)

// TestCacheProperty edits a context at random and compares the digest that the cache gives with the
// one that is computed from nothing.
func TestCacheProperty(t *testing.T) {
	dir, cache := t.TempDir(), filepath.Join(t.TempDir(), "cache")
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	name := func() string { return fmt.Sprintf("d%d/e%d/f%d", r.IntN(3), r.IntN(3), r.IntN(4)) }
	for step := range 150 {
		p := filepath.Join(dir, name())
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		switch r.IntN(9) {
		case 0, 1, 2:
			os.WriteFile(p, []byte{byte(r.IntN(256)), byte(r.IntN(256))}, 0o644)
		case 3:
			os.Remove(p)
		case 4:
			os.Chmod(p, fs.FileMode(0o600+r.IntN(64)))
		case 5:
			os.Rename(p, filepath.Join(dir, name()))
		case 6:
			when := time.Unix(int64(r.IntN(3)), 0)
			os.WriteFile(p, []byte{byte(r.IntN(256)), byte(r.IntN(256))}, 0o644)
			os.Chtimes(p, when, when)
		case 7:
			unix.Setxattr(p, "user.x", []byte{byte(r.IntN(256))}, 0)
		case 8:
			os.RemoveAll(filepath.Dir(p))
		}
		reopen := open
		if step%10 == 0 {
			reopen = openLater
		}
		cached, fresh := reopen(t, dir, Options{Cache: cache}), open(t, dir, Options{})
		a, b := sumAll(t, cached), sumAll(t, fresh)
		if a != b {
			t.Fatalf("step %d: %s with the cache, %s without", step, a, b)
		}
		must(t, cached.Close())
		if step%10 == 0 {
			tick(t)
		}
	}
}

func TestRacy(t *testing.T) {
	dir, cache := plant(t, "f: one"), filepath.Join(t.TempDir(), "cache")
	c := open(t, dir, Options{Cache: cache})
	begin := time.Now().Add(-time.Minute)
	c.now = func() time.Time { return begin } // however slow the machine is, f is young
	sumAll(t, c)
	must(t, c.Close())
	if r, ok := decode(t, cache)["f"]; ok {
		t.Errorf("a file as young as the build is in the cache: %+v", r)
	}
	c = openLater(t, dir, Options{Cache: cache})
	want := sumAll(t, c)
	must(t, c.Close())
	if r := decode(t, cache)["f"]; r == nil || r.sum == "" {
		t.Fatal("a file that has settled is not in the cache")
	}
	c = open(t, dir, Options{Cache: cache})
	c.onRead = func(path string) { t.Errorf("%s was read again", path) }
	if got := sumAll(t, c); got != want {
		t.Error("another digest from the cache")
	}
	must(t, c.Close())

	tick(t)
	// Same size and mtime, changed contents: the ctime tells.
	st, err := os.Stat(filepath.Join(dir, "f"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "f"), []byte("two"), 0o644))
	must(t, os.Chtimes(filepath.Join(dir, "f"), st.ModTime(), st.ModTime()))
	if sumAll(t, open(t, dir, Options{Cache: cache})) == want {
		t.Error("a change with the old mtime and size was not seen")
	}
}

// A write through a memory mapping need not change a file's times. Who distrusts the cache sees it, and
// so does who comes after him.
func TestDistrust(t *testing.T) {
	dir, cache := plant(t, "f: one"), filepath.Join(t.TempDir(), "cache")
	f, err := os.OpenFile(filepath.Join(dir, "f"), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	mapped, err := unix.Mmap(int(f.Fd()), 0, 3, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	defer unix.Munmap(mapped)
	mapped[0] = 'O' // from here on the page is writable, and the kernel sees no write any more
	tick(t)
	sum := func(distrust bool) digest.Digest {
		c := openLater(t, dir, Options{Cache: cache, Distrust: distrust})
		defer func() { must(t, c.Close()) }()
		return sumAll(t, c)
	}
	before := sum(false)
	mapped[1] = 'N'
	if sum(false) != before {
		t.Skip("this kernel sees the write")
	}
	after := sum(true)
	if after == before {
		t.Error("the file was not read again")
	}
	if sum(false) != after {
		t.Error("the old digest is still in the cache")
	}
}

func TestSettled(t *testing.T) {
	now := time.Unix(1000, 500e6)
	at := func(d time.Duration) int64 { return now.Add(d).UnixNano() }
	for _, tt := range []struct {
		name         string
		mtime, ctime int64
		want         bool
	}{
		{"old", at(-time.Hour), at(-time.Hour), true},
		{"same moment", at(0), at(0), false},
		{"one tick ago", at(-10 * time.Millisecond), at(-10 * time.Millisecond), false},
		{"old mtime, young ctime", at(-time.Hour), at(-time.Millisecond), false},
		{"future mtime", at(time.Hour), at(-time.Hour), false},
		{"whole seconds, one second ago", 999e9, 999e9, false},
		{"whole seconds, three seconds ago", 997e9, 997e9, true},
	} {
		if got := (stat{mtime: tt.mtime, ctime: tt.ctime}).settledAt(now); got != tt.want {
			t.Errorf("%s: settled %v", tt.name, got)
		}
	}
}

func decode(t *testing.T, file string) map[string]*contents {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	must(t, err)
	k := decodeCache(string(b))
	if k == nil {
		t.Fatal("the cache does not decode")
	}
	return k.all()
}

// TestCacheKeepsWhatNobodyLookedAt: a build that looks at a part of a context forgets nothing of the others, and what
// is gone from a directory that it listed.
func TestCacheKeepsWhatNobodyLookedAt(t *testing.T) {
	dir := plant(t, "a/c/z: 1", "a/gone/y: 2", "a/x: 3", "a.b/y: 4", "a0/y: 5", "b/d/w: 6", "b.gone: 7")
	cache := filepath.Join(t.TempDir(), "cache")
	c := openLater(t, dir, Options{Cache: cache})
	sumAll(t, c)
	must(t, c.Close())
	must(t, os.RemoveAll(filepath.Join(dir, "a/gone")))
	must(t, os.Remove(filepath.Join(dir, "b.gone")))
	must(t, os.WriteFile(filepath.Join(dir, "a/c/z"), []byte("changed"), 0o644))
	must(t, os.Remove(filepath.Join(dir, "b/d/w")))
	c = openLater(t, dir, Options{Cache: cache})
	matches, err := selection.Select(t.Context(), c, "a", selection.Options{})
	must(t, err)
	_, err = selection.Sum(t.Context(), c, matches[0].Items)
	must(t, err)
	must(t, c.Close())
	got := slices.Collect(maps.Keys(decode(t, cache)))
	slices.SortFunc(got, layer.Compare)
	want := []string{"", "a", "a/c", "a/c/z", "a/x", "a.b", "a.b/y", "a0", "a0/y", "b", "b/d", "b/d/w"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for path, r := range decode(t, cache) {
		if r.stat.mode&unix.S_IFMT == unix.S_IFREG && r.sum == "" {
			t.Errorf("the digest of %s is not known", path)
		}
	}
}

// all are the contents of the records by their paths.
func (k *known) all() map[string]*contents {
	if k == nil {
		return nil
	}
	all := map[string]*contents{}
	for i := range k.at {
		r := k.record(i)
		all[r.path()] = &contents{r.stat(), r.sum(), r.xattrs()}
	}
	return all
}

// TestWhatCounts says which changes of an unchanged file's metadata reach the digest through the cache.
func TestWhatCounts(t *testing.T) {
	dir, cache := plant(t, "f: one", "d/"), filepath.Join(t.TempDir(), "cache")
	f := filepath.Join(dir, "f")
	sum := func() digest.Digest {
		c := openLater(t, dir, Options{Cache: cache})
		defer c.Close()
		return sumAll(t, c)
	}
	before := sum()
	for _, tt := range []struct {
		name   string
		change func() error
		counts bool
	}{
		{"nothing", func() error { return nil }, false},
		{"time", func() error { return os.Chtimes(f, time.Unix(1, 0), time.Unix(1, 0)) }, false},
		{"owner", func() error {
			if os.Getuid() != 0 {
				return nil
			}
			return os.Chown(f, 12, 34)
		}, false},
		{"new hard link elsewhere", func() error { return os.Link(f, filepath.Join(filepath.Dir(cache), "link")) }, false},
		{"mode", func() error { return os.Chmod(f, 0o600) }, true},
		{"mode of a directory", func() error { return os.Chmod(filepath.Join(dir, "d"), 0o700) }, true},
		{"attribute", func() error { return unix.Setxattr(f, "user.a", []byte("1"), 0) }, true},
		{"attribute's value", func() error { return unix.Setxattr(f, "user.a", []byte("2"), 0) }, true},
		{"attribute of a directory", func() error { return unix.Setxattr(filepath.Join(dir, "d"), "user.a", []byte("1"), 0) }, true},
		{"hard link inside", func() error { return os.Link(f, filepath.Join(dir, "g")) }, true},
	} {
		tick(t)
		if err := tt.change(); errors.Is(err, unix.ENOTSUP) {
			continue
		} else if err != nil {
			t.Fatal(tt.name, err)
		}
		after := sum()
		if (after != before) != tt.counts {
			t.Errorf("%s: counts %v", tt.name, after != before)
		}
		before = after
	}
}

func TestCacheKeepsTheUnseen(t *testing.T) {
	dir, cache := plant(t, "a/x: 1", "b/y: 2", "b/gone: 3"), filepath.Join(t.TempDir(), "cache")
	c := openLater(t, dir, Options{Cache: cache})
	sumAll(t, c)
	must(t, c.Close())
	tick(t)
	must(t, os.Remove(filepath.Join(dir, "b/gone")))
	plantOne(t, dir, "a/x: 4")
	c = openLater(t, dir, Options{Cache: cache})
	ms, err := selection.Select(bg, c, "a/x", selection.Options{})
	must(t, err)
	_, err = selection.Sum(bg, c, ms[0].Items)
	must(t, err)
	must(t, c.Close())
	got := decode(t, cache)
	if r := got["b/y"]; r == nil || r.sum == "" {
		t.Error("the record of a directory that was not looked at is lost")
	}
	if got["a/x"] == nil || got["a/x"].sum != digestBytes("4") {
		t.Error("the record of a changed file was not replaced")
	}
	tick(t)
	plantOne(t, dir, "a/x: 5")
	c = openLater(t, dir, Options{Cache: cache})
	sumAll(t, c)
	must(t, c.Close())
	if decode(t, cache)["b/gone"] != nil {
		t.Error("the record of a removed file is still there")
	}
}

// An entry that cannot be stat'ed leaves nothing behind among the children, and costs no other its record.
func TestCacheKeepsTheRestAfterAnError(t *testing.T) {
	dir, cache := plant(t, "a/x: 1", "b/y: 2", "c: 3"), filepath.Join(t.TempDir(), "cache")
	c := openLater(t, dir, Options{Cache: cache})
	sumAll(t, c)
	must(t, c.Close())
	c = openLater(t, dir, Options{Cache: cache})
	if _, err := c.Lookup(bg, "a/x"); err != nil {
		t.Fatal(err)
	}
	l := &lister{c: c, matcher: c.rules.matcher()}
	a := c.top.child("a")
	a.more.children, a.more.listed = nil, false
	if err := l.add(a, -1, dirent{"a/x", unix.DT_REG}, c.now()); !errors.Is(err, unix.EBADF) || len(a.children()) != 0 {
		t.Errorf("an entry that cannot be stat'ed: %v, and %d children", err, len(a.children()))
	}
	a.more.children = []node{{}}
	c.cache.changed.Store(true)
	must(t, c.Close())
	got := slices.Collect(maps.Keys(decode(t, cache)))
	slices.SortFunc(got, layer.Compare)
	if d := cmp.Diff([]string{"", "a", "a/x", "b", "b/y", "c"}, got); d != "" {
		t.Error(d)
	}
}

// A context of which not even the top can be stat'ed leaves the cache as it was.
func TestCacheKeepsAllOfAnUnreadable(t *testing.T) {
	dir, cache := plant(t, "a/x: 1"), filepath.Join(t.TempDir(), "cache")
	c := openLater(t, dir, Options{Cache: cache})
	sumAll(t, c)
	must(t, c.Close())
	c = openLater(t, dir, Options{Cache: cache})
	c.cache.load()
	c.cache.changed.Store(true)
	must(t, c.Close())
	if got := decode(t, cache); got["a/x"] == nil || got["a"] == nil {
		t.Errorf("records are lost: %v", slices.Collect(maps.Keys(got)))
	}
}

func TestCacheDamaged(t *testing.T) {
	dir, cache := plant(t, "f: one"), filepath.Join(t.TempDir(), "cache")
	c := openLater(t, dir, Options{Cache: cache})
	want := sumAll(t, c)
	must(t, c.Close())
	good, err := os.ReadFile(cache)
	must(t, err)
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x20
		must(t, os.WriteFile(cache, bad, 0o600))
		c := openLater(t, dir, Options{Cache: cache})
		if got := sumAll(t, c); got != want {
			t.Fatalf("byte %d flipped: %s", i, got)
		}
		must(t, c.Close())
		if decode(t, cache)["f"] == nil {
			t.Fatalf("byte %d flipped: the cache was not written anew", i)
		}
	}
}

func FuzzDecodeCache(f *testing.F) {
	b := []byte(cacheMagic)
	b = appendRecord(b, "a/b", &contents{sum: strings.Repeat("s", sumSize), xattrs: []layer.Xattr{{Name: "user.x", Value: "y"}}})
	f.Add(b[len(cacheMagic):])
	f.Fuzz(func(t *testing.T, body []byte) {
		decodeCache(string(body))
		records := decodeCache(string(seal(append([]byte(cacheMagic), body...))))
		if records == nil {
			return
		}
		again := []byte(cacheMagic)
		for i := range records.at {
			r := records.record(i)
			again = appendRecord(again, r.path(), &contents{r.stat(), r.sum(), r.xattrs()})
			if records.find(r.path()) != i {
				t.Errorf("record %d is not found by its path", i)
			}
		}
		if diff := cmp.Diff(records.all(), decodeCache(string(seal(again))).all(), cmp.AllowUnexported(contents{}, stat{})); diff != "" {
			t.Error(diff)
		}
	})
}
