package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func takeCache(t *testing.T, s *Store, o CacheMountOptions) *CacheMount {
	t.Helper()
	m, err := s.CacheMount(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func release(t *testing.T, m *CacheMount) {
	t.Helper()
	if err := m.Release(); err != nil {
		t.Fatal(err)
	}
}

func instance(m *CacheMount) string { return filepath.Base(filepath.Dir(m.Dir)) }

// Who shares gets the same instance, who does not another one, and once nobody uses them the first is taken again.
func TestCacheMountSharing(t *testing.T) {
	s := open(t, t.TempDir())
	shared, private := CacheMountOptions{ID: "/x", Sharing: Shared}, CacheMountOptions{ID: "/x", Sharing: Private}
	a, b := takeCache(t, s, shared), takeCache(t, s, shared)
	if a.Dir != b.Dir {
		t.Errorf("two who share have %s and %s", a.Dir, b.Dir)
	}
	c, d := takeCache(t, s, private), takeCache(t, s, private)
	if got := instance(a) + instance(c) + instance(d); got != "012" {
		t.Errorf("instances %s", got)
	}
	e := takeCache(t, s, CacheMountOptions{ID: "/y", Sharing: Shared})
	f := takeCache(t, s, CacheMountOptions{ID: "/x", Base: "other", Sharing: Shared})
	if e.Dir == a.Dir || f.Dir == a.Dir || e.Dir == f.Dir {
		t.Errorf("another cache has the same directory: %s %s %s", a.Dir, e.Dir, f.Dir)
	}
	for _, m := range []*CacheMount{a, b, c, d, e, f} {
		release(t, m)
	}
	if m := takeCache(t, s, private); instance(m) != "0" {
		t.Errorf("free again, and instance %s was taken", instance(m))
	}
}

// With Locked only one at a time is in, and who waits says so.
func TestCacheMountLocked(t *testing.T) {
	s := open(t, t.TempDir())
	var in, waited atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			m, err := s.CacheMount(t.Context(), CacheMountOptions{ID: "/x", Sharing: Locked, Waits: func() { waited.Add(1) }})
			if err != nil {
				t.Error(err)
				return
			}
			if in.Add(1) != 1 {
				t.Error("two have a locked cache at once")
			}
			if instance(m) != "0" {
				t.Errorf("instance %s", instance(m))
			}
			time.Sleep(10 * time.Millisecond)
			in.Add(-1)
			release(t, m)
		})
	}
	wg.Wait()
	if n := waited.Load(); n == 0 || n > 7 {
		t.Errorf("%d of 8 had to wait", n)
	}
	m := takeCache(t, s, CacheMountOptions{ID: "/x", Sharing: Shared})
	defer release(t, m)
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	_, err := s.CacheMount(ctx, CacheMountOptions{ID: "/x", Sharing: Locked, Waits: func() { cancel(stopped) }})
	if !errors.Is(err, stopped) {
		t.Errorf("waiting ended with %v", err)
	}
}

// A failed beginning leaves no cache, and a successful one happens once.
func TestCacheMountFill(t *testing.T) {
	s := open(t, t.TempDir())
	o := CacheMountOptions{ID: "/x", Sharing: Shared, Fill: func(string) error { return os.ErrInvalid }}
	if _, err := s.CacheMount(t.Context(), o); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if all, err := s.CacheMounts(); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	fills := 0
	o.Fill = func(dir string) error {
		fills++
		return os.WriteFile(filepath.Join(dir, "f"), []byte("begin"), 0o600)
	}
	for range 2 {
		m := takeCache(t, s, o)
		if data, err := os.ReadFile(filepath.Join(m.Dir, "f")); err != nil || string(data) != "begin" {
			t.Errorf("%q, %v", data, err)
		}
		release(t, m)
	}
	if fills != 1 {
		t.Errorf("filled %d times", fills)
	}
}

// Pruning and using at once: what is in use stays, and nobody gets a directory that is gone.
func TestCacheMountsPrunedMeanwhile(t *testing.T) {
	s := open(t, t.TempDir())
	used := takeCache(t, s, CacheMountOptions{ID: "/used", Sharing: Shared})
	defer release(t, used)
	done := make(chan struct{})
	var wg, pruner sync.WaitGroup
	pruner.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if err := s.pruneMounts(now()+1000, &Pruned{}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for _, sharing := range []Sharing{Shared, Private, Locked, Shared} {
		wg.Go(func() {
			for range 50 {
				m, err := s.CacheMount(t.Context(), CacheMountOptions{ID: "/x", Sharing: sharing})
				if err != nil {
					t.Error(err)
					return
				}
				if err := os.WriteFile(filepath.Join(m.Dir, string(sharing)), nil, 0o600); err != nil {
					t.Errorf("writing to a %s cache: %v", sharing, err)
				}
				release(t, m)
			}
		})
	}
	wg.Wait()
	close(done)
	pruner.Wait()
	if _, err := os.Stat(used.Dir); err != nil {
		t.Errorf("the cache that was in use: %v", err)
	}
}

func TestCacheMountUse(t *testing.T) {
	s := open(t, t.TempDir())
	m := takeCache(t, s, CacheMountOptions{ID: "ns/x", Sharing: Shared})
	write := func(name string, size int) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(m.Dir, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	use := func() CacheMountUse {
		t.Helper()
		all, err := s.CacheMounts()
		if err != nil || len(all) != 1 {
			t.Fatalf("%v, %v", all, err)
		}
		return all[0]
	}
	write("a", 100_000)
	if u := use(); u.ID != "ns/x" || !u.InUse || u.Disk < 100_000 || u.Disk > 200_000 {
		t.Errorf("%+v", u)
	}
	release(t, m)
	if u := use(); u.InUse || u.Disk > 200_000 {
		t.Errorf("%+v", u)
	}
	m = takeCache(t, s, CacheMountOptions{ID: "ns/x", Sharing: Private})
	write("b", 300_000)
	release(t, m)
	if u := use(); u.Disk < 400_000 {
		t.Errorf("the size of before was remembered: %+v", u)
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
			m := takeCache(t, s.Store, CacheMountOptions{ID: c.id, Sharing: Shared})
			if err := os.WriteFile(filepath.Join(m.Dir, "f"), make([]byte, 100_000), 0o600); err != nil {
				t.Fatal(err)
			}
			if c.id == "used" {
				defer release(t, m)
			} else {
				release(t, m)
			}
			at := time.Now().Add(-c.ago)
			if err := os.Chtimes(filepath.Join(filepath.Dir(m.Dir), "lock"), at, at); err != nil {
				t.Fatal(err)
			}
		}
		c, err := s.measureCache(test.o)
		if err != nil {
			t.Fatal(err)
		}
		if test.size < 0 {
			test.size += c.total
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
