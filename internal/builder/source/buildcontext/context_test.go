package buildcontext

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/selection"
	"golang.org/x/sys/unix"
)

// plant makes files in a new directory. "name/" is a directory, "name -> target" a symlink, "name = other" a
// hard link, and "name: text" a file.
func plant(t testing.TB, lines ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, line := range lines {
		plantOne(t, dir, line)
	}
	return dir
}

func plantOne(t testing.TB, dir, line string) {
	t.Helper()
	var err error
	at := func(name string) string {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		return p
	}
	if name, target, ok := strings.Cut(line, " -> "); ok {
		err = os.Symlink(target, at(name))
	} else if name, other, ok := strings.Cut(line, " = "); ok {
		err = os.Link(filepath.Join(dir, other), at(name))
	} else if name, text, ok := strings.Cut(line, ": "); ok {
		err = os.WriteFile(at(name), []byte(text), 0o644)
	} else if name, ok := strings.CutSuffix(line, "/"); ok {
		err = os.MkdirAll(at(name), 0o755)
	} else {
		err = os.WriteFile(at(line), nil, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, dir string, o Options) *Context {
	t.Helper()
	c, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// openLater opens a context by a clock that is ahead, so that the stat cache trusts all that is in it. What is changed
// next is changed after tick.
func openLater(t testing.TB, dir string, o Options) *Context {
	t.Helper()
	c := open(t, dir, o)
	c.now = func() time.Time { return time.Now().Add(time.Hour) }
	return c
}

// tick waits for the next step of the clock that the kernel takes ctimes from, which no process can set: 10 ms at most.
func tick(t testing.TB) {
	t.Helper()
	probe := filepath.Join(t.TempDir(), "probe")
	ctime := func() unix.Timespec {
		must(t, os.WriteFile(probe, nil, 0o600))
		must(t, os.Chmod(probe, 0o600))
		var st unix.Stat_t
		must(t, unix.Stat(probe, &st))
		return st.Ctim
	}
	for first := ctime(); ctime() == first; {
		time.Sleep(time.Millisecond)
	}
}

func sumAll(t testing.TB, c *Context) digest.Digest {
	t.Helper()
	d, err := trySum(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func trySum(c *Context) (digest.Digest, error) {
	ms, err := selection.Select(bg, c, ".", selection.Options{})
	if err != nil {
		return "", err
	}
	return selection.Sum(bg, c, ms[0].Items)
}

func TestEntries(t *testing.T) {
	dir := plant(t, "d/f: hello", "l -> d/f", "d/h = d/f")
	if err := os.Chmod(filepath.Join(dir, "d/f"), 0o4751|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	when := time.Unix(1700000000, 999)
	if err := os.Chtimes(filepath.Join(dir, "d/f"), when, when); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(filepath.Join(dir, "d/f"), "user.note", []byte{0, 1}, 0); err != nil {
		t.Skip("no user.* attributes on this file system:", err)
	}
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	must(t, unix.Mknod(filepath.Join(dir, "sock"), unix.S_IFSOCK|0o600, 0))
	if os.Getuid() == 0 {
		must(t, os.Chown(filepath.Join(dir, "d/f"), 1234, 5678))
		must(t, os.Chmod(filepath.Join(dir, "d/f"), 0o751|os.ModeSetuid))
		must(t, unix.Setxattr(filepath.Join(dir, "d/f"), "trusted.secret", []byte("x"), 0))
		must(t, unix.Mknod(filepath.Join(dir, "white"), unix.S_IFCHR|0o600, 0))
	}
	c := open(t, dir, Options{})
	f := layer.Entry{Path: "d/f", Type: layer.File, Mode: 0o4751, Size: 5, ModTime: 1700000000,
		Digest: digest.FromString("hello"), Xattrs: []layer.Xattr{{Name: "user.note", Value: "\x00\x01"}}}
	h := f
	h.Path = "d/h"
	want := []layer.Entry{
		{Path: "d", Type: layer.Dir, Mode: 0o755}, f, h,
		{Path: "fifo", Type: layer.Fifo, Mode: 0o600},
		{Path: "l", Type: layer.Symlink, Mode: 0o777, Link: "d/f"},
		{Path: "sock", Type: layer.File, Mode: 0o600, Digest: digest.FromString("")},
	}
	ms, err := selection.Select(bg, c, ".", selection.Options{})
	must(t, err)
	_, err = selection.Sum(bg, c, ms[0].Items)
	must(t, err)
	var got []layer.Entry
	for _, it := range collect(ms[0].Items) {
		e := *it.Entry
		if e.Type != layer.File || e.Path == "sock" {
			e.ModTime = 0
		}
		got = append(got, e)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if collect(ms[0].Items)[2].Link != "d/f" {
		t.Errorf("link of d/h: %q", collect(ms[0].Items)[2].Link)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLookup(t *testing.T) {
	c := open(t, plant(t, "a/b/c: 1", "a.b", "l -> a", "skip/x", ".dockerignore: skip"), Options{})
	for path, there := range map[string]bool{
		"": true, "a": true, "a/b/c": true, "a.b": true, "l": true, "l/b": false, "a/b/c/d": false,
		"skip": false, "skip/x": false, "../x": false, "a/../a": false, "a/": true,
	} {
		_, err := c.Lookup(bg, path)
		if there != (err == nil) || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Lookup(%q): %v", path, err)
		}
	}
	if _, err := c.ReadDir(bg, "a.b"); err == nil {
		t.Error("ReadDir of a file succeeded")
	}
}

func TestLazy(t *testing.T) {
	c := open(t, plant(t, "a/b/c: 1", "big/sub/x"), Options{})
	if c.top.listed() {
		t.Error("Open listed the root")
	}
	ms, err := selection.Select(bg, c, "a/b/c", selection.Options{})
	must(t, err)
	_, err = selection.Sum(bg, c, ms[0].Items)
	must(t, err)
	if c.top.child("big").listed() {
		t.Error("COPY of one file listed an unrelated directory")
	}
}

func TestMissingContext(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "no"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Open(filepath.Join(plant(t, "f"), "f"), Options{}); err == nil {
		t.Error("a file was taken for a context")
	}
}

func TestChanged(t *testing.T) {
	dir := plant(t, "f: one")
	p := filepath.Join(dir, "f")
	c := open(t, dir, Options{})
	n := 0
	c.onRead = func(string) { n++; os.WriteFile(p, []byte(strings.Repeat("x", n)), 0o644) }
	_, err := trySum(c)
	var changed *ChangedError
	if !errors.Is(err, ErrChanged) || !errors.As(err, &changed) || changed.Path != "f" || n != 2 {
		t.Errorf("a file that changes all the time: %v after %d reads", err, n)
	}

	c = open(t, dir, Options{})
	n = 0
	c.onRead = func(string) {
		if n++; n == 1 {
			os.WriteFile(p, []byte("second"), 0o644)
		}
	}
	e, err := c.Lookup(bg, "f")
	must(t, err)
	must(t, c.Sum(bg, []*layer.Entry{e}))
	if e.Digest != digest.FromString("second") || e.Size != 6 {
		t.Errorf("changed once: %+v", e)
	}

	r, err := c.Open(bg, e)
	must(t, err)
	must(t, os.WriteFile(p, []byte("third!"), 0o644))
	if _, err := io.ReadAll(r); !errors.Is(err, ErrChanged) {
		t.Errorf("a file written to after it was hashed: %v", err)
	}
	r.Close()
	must(t, os.Remove(p))
	if _, err := c.Open(bg, e); !errors.Is(err, ErrChanged) {
		t.Errorf("a file removed after it was hashed: %v", err)
	}
}

// TestSwap puts symlinks in the place of a file and of its directory after they were listed.
func TestSwap(t *testing.T) {
	secret := plant(t, "f: secret")
	for _, swap := range []string{"d", "d/f"} {
		dir := plant(t, "d/f: mine")
		c := open(t, dir, Options{})
		ms, err := selection.Select(bg, c, "d", selection.Options{})
		must(t, err)
		must(t, os.RemoveAll(filepath.Join(dir, swap)))
		plantOne(t, dir, swap+" -> "+filepath.Join(secret, strings.TrimPrefix(swap, "d")))
		if _, err := selection.Sum(bg, c, ms[0].Items); !errors.Is(err, ErrChanged) {
			t.Errorf("%s swapped, Sum: %v", swap, err)
		}
		if r, err := c.Open(bg, collect(ms[0].Items)[0].Entry); err == nil {
			r.Close()
			t.Errorf("%s swapped: it was opened", swap)
		}
		if fd, err := c.openSteps("d/f", unix.O_RDONLY|unix.O_NOFOLLOW); err == nil {
			unix.Close(fd)
			t.Errorf("%s swapped: openSteps went through it", swap)
		}
	}
}

func TestDirectoryRemoved(t *testing.T) {
	dir := plant(t, "d/e/f")
	c := open(t, dir, Options{})
	_, err := c.Lookup(bg, "d")
	must(t, err)
	must(t, os.RemoveAll(filepath.Join(dir, "d")))
	if _, err := selection.Select(bg, c, ".", selection.Options{}); !errors.Is(err, ErrChanged) {
		t.Error(err)
	}
}

func TestOpenSteps(t *testing.T) {
	c := open(t, plant(t, "a/b/c: x"), Options{})
	for path, ok := range map[string]bool{"a/b/c": true, ".": true, "a": true, "a/x": false, "../x": false, "a/../a": false} {
		fd, err := c.openSteps(path, unix.O_RDONLY)
		if ok != (err == nil) {
			t.Errorf("%s: %v", path, err)
		}
		if err == nil {
			unix.Close(fd)
		}
	}
}

func TestConcurrent(t *testing.T) {
	dir := plant(t)
	for i := range 300 {
		plantOne(t, dir, fmt.Sprintf("d%d/e%d/f%d: %d", i%7, i%11, i, i))
	}
	c := open(t, dir, Options{Cache: filepath.Join(t.TempDir(), "cache")})
	want := sumAll(t, open(t, dir, Options{}))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if i%2 == 0 {
				if _, err := selection.Select(bg, c, "d1/*", selection.Options{}); err != nil {
					t.Error(err)
				}
			}
			if got, err := trySum(c); got != want || err != nil {
				t.Error(got, err)
			}
		})
	}
	wg.Wait()
}
