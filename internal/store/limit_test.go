package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/mounts"
)

// limited is a store with layers of 40 KB, named by letters.
type limited struct {
	*Store
	t      *testing.T
	layers map[string]digest.Digest
}

// record adds a record whose layer is made now, used ago.
func (l *limited) record(name string, ago time.Duration) {
	l.t.Helper()
	l.layers[name] = addLayer(l.t, l.Store, name, strings.Repeat(name, 40_000))
	r := Record{Key: digest.FromString(name), Layer: l.layers[name], Data: []byte("{}"), Made: time.Now()}
	if err := l.PutRecord(r); err != nil {
		l.t.Fatal(err)
	}
	l.date("records", "layer", name, ago)
	l.date("layers", "diff_id", name, ago)
}

func (l *limited) date(table, column, name string, ago time.Duration) {
	l.t.Helper()
	q := fmt.Sprintf("UPDATE %s SET used = ? WHERE %s = ?", table, column)
	if _, err := l.db.Exec(q, time.Now().Add(-ago).UnixMilli(), l.layers[name]); err != nil {
		l.t.Fatal(err)
	}
}

// image adds an image or step of layers that are there, last used ago.
func (l *limited) image(kind Kind, ago time.Duration, names ...string) digest.Digest {
	l.t.Helper()
	var chain []digest.Digest
	for _, n := range names {
		chain = append(chain, l.layers[n])
	}
	id := addImage(l.t, l.Store, "", kind, chain...)
	if _, err := l.db.Exec("UPDATE configs SET used = ? WHERE id = ?", time.Now().Add(-ago).UnixMilli(), id); err != nil {
		l.t.Fatal(err)
	}
	return id
}

// here are the layers that are still there.
func (l *limited) here() string {
	var names []string
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		layer, err := l.Layer(l.layers[n])
		_, rerr := l.PeekRecord(digest.FromString(n))
		if err == nil && layer.Present() && rerr == nil {
			names = append(names, n)
		}
	}
	return strings.Join(names, "")
}

func TestLimit(t *testing.T) {
	const room = 54_000 // of one layer: ten blocks and three for what comes with it, and no more
	for _, test := range []struct {
		name  string
		size  int64
		o     PruneOptions
		setup func(l *limited)
		want  string
	}{
		{"enough room", 4 * room, PruneOptions{All: true}, nil, "abcd"},
		{"the oldest goes", 3 * room, PruneOptions{All: true}, nil, "abc"},
		{"the two oldest go", 2 * room, PruneOptions{All: true}, nil, "ab"},
		{"all go", 0, PruneOptions{All: true}, nil, ""},
		{"what is younger stays", 0, PruneOptions{All: true, Until: time.Now().Add(-150 * time.Minute)}, nil, "ab"},
		{"what a named image has does not count, and stays", 2 * room, PruneOptions{All: true}, func(l *limited) {
			id := l.image(Image, 9*time.Hour, "c", "d")
			if _, err := l.SetName(named(l.t, "keep"), id, ""); err != nil {
				l.t.Fatal(err)
			}
		}, "abcd"},
		{"what an image without a name has stays", 0, PruneOptions{}, func(l *limited) { l.image(Image, 9*time.Hour, "c", "d") }, "cd"},
		{"but not if all is asked for", room, PruneOptions{All: true}, func(l *limited) { l.image(Image, 9*time.Hour, "c", "d") }, "a"},
		{"a state keeps what lies below as young as itself, and goes from the top", room, PruneOptions{All: true}, func(l *limited) {
			l.image(Image, time.Minute, "d", "c")
		}, "d"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &limited{open(t, t.TempDir()), t, map[string]digest.Digest{}}
			for i, name := range []string{"a", "b", "c", "d"} {
				l.record(name, time.Duration(i+1)*time.Hour)
			}
			if test.setup != nil {
				test.setup(l)
			}
			p, err := l.Limit(test.size, test.o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, l.here()); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
			if gone := 4 - len(test.want); p.Records != gone || len(p.Layers) != gone || (p.Freed > 0) != (gone > 0) {
				t.Errorf("pruned: %+v", p)
			}
			if left, err := l.CacheSize(test.o); err != nil || left > max(test.size, int64(len(test.want))*room) {
				t.Errorf("%d bytes are left, %v", left, err)
			}
		})
	}
}

// What a living process looked up stays, and so does what it made.
func TestLimitBesideABuild(t *testing.T) {
	root := t.TempDir()
	l := &limited{open(t, root), t, map[string]digest.Digest{}}
	for i, name := range []string{"a", "b", "c"} {
		l.record(name, time.Duration(i+1)*time.Hour)
	}
	other := open(t, root)
	if err := other.Begin(); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Record(digest.FromString("c")); err != nil {
		t.Fatal(err)
	}
	(&limited{other, t, l.layers}).record("d", 0)
	if _, err := l.Limit(0, PruneOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	if got := l.here(); got != "cd" {
		t.Errorf("left: %q", got)
	}
}

func TestRecordUses(t *testing.T) {
	l := &limited{open(t, t.TempDir()), t, map[string]digest.Digest{}}
	l.record("a", time.Hour)
	l.record("b", 2*time.Hour)
	l.image(Image, 0, "b")
	if err := l.PutRecord(Record{Key: digest.FromString("b again"), Layer: l.layers["b"], Data: []byte("{}"), Made: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := l.PutRecord(Record{Key: digest.FromString("none"), Data: []byte("{}"), Made: time.Now()}); err != nil {
		t.Fatal(err)
	}
	d, err := l.Disk()
	if err != nil {
		t.Fatal(err)
	}
	uses, err := l.RecordUses(d)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, u := range uses {
		for _, name := range []string{"a", "b", "b again", "none"} {
			if u.Key == digest.FromString(name) {
				got[name] = fmt.Sprintf("%v %d images %d records", u.Disk > 40_000, u.Images, u.Records)
			}
		}
	}
	want := map[string]string{
		"a": "true 0 images 0 records", "b": "true 1 images 1 records", "b again": "true 1 images 1 records", "none": "false 0 images 0 records",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if last := uses[len(uses)-1]; last.Key != digest.FromString("b") || time.Since(last.Used) < time.Hour {
		t.Errorf("the last used last is %v, of %v", last.Key, last.Used)
	}
}

// A limit counts cache mounts, and takes those first that were not used for the longest time.
func TestLimitMounts(t *testing.T) {
	for _, test := range []struct {
		size  int64 // if negative, so much less than there is
		o     PruneOptions
		left  string
		layer bool
	}{
		{size: 1 << 30, left: "old new used", layer: true},
		{size: -50_000, left: "new used", layer: true},
		{size: -130_000, left: "new used"},
		{size: 0, left: "used"},
		{size: 0, o: PruneOptions{Mounts: true}, left: "used", layer: true},
		{size: 0, o: PruneOptions{NoMounts: true}, left: "old new used"},
	} {
		s := &limited{open(t, t.TempDir()), t, map[string]digest.Digest{}}
		s.record("a", 2*time.Hour)
		for _, c := range []struct {
			id  string
			ago time.Duration
		}{{"old", 3 * time.Hour}, {"new", time.Hour}, {"used", 4 * time.Hour}} {
			m, err := s.CacheMount(t.Context(), CacheMountOptions{ID: c.id, Sharing: mounts.Shared})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(m.Dir, "f"), make([]byte, 100_000), 0o600); err != nil {
				t.Fatal(err)
			}
			if c.id == "used" {
				defer m.Release()
			} else if err := m.Release(); err != nil {
				t.Fatal(err)
			}
			at := time.Now().Add(-c.ago)
			if err := os.Chtimes(filepath.Join(filepath.Dir(m.Dir), "lock"), at, at); err != nil {
				t.Fatal(err)
			}
		}
		total, err := s.CacheSize(test.o)
		if err != nil {
			t.Fatal(err)
		}
		if test.size < 0 {
			test.size += total
		}
		if _, err := s.Limit(test.size, test.o); err != nil {
			t.Fatal(err)
		}
		all, err := s.CacheMounts()
		if err != nil {
			t.Fatal(err)
		}
		left := map[string]bool{}
		for _, u := range all {
			left[u.ID] = true
		}
		got := ""
		for _, id := range []string{"old", "new", "used"} {
			if left[id] {
				got += " " + id
			}
		}
		if got != " "+test.left || (s.here() == "a") != test.layer {
			t.Errorf("to %d with %+v: left%s and layers %q", test.size, test.o, got, s.here())
		}
	}
}
