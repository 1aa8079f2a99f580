package mounts

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/strata-build/strata/internal/store/session"
)

func open(t *testing.T) *Mounts {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	se, err := session.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { se.Close() })
	return New(root, se)
}

func takeCache(t *testing.T, s *Mounts, o Options) *Mount {
	t.Helper()
	m, err := s.CacheMount(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func release(t *testing.T, m *Mount) {
	t.Helper()
	if err := m.Release(); err != nil {
		t.Fatal(err)
	}
}

func instance(m *Mount) string { return filepath.Base(filepath.Dir(m.Dir)) }

// Who shares gets the same instance, who does not another one, and once nobody uses them the first is taken again.
func TestCacheMountSharing(t *testing.T) {
	s := open(t)
	shared, private := Options{ID: "/x", Sharing: Shared}, Options{ID: "/x", Sharing: Private}
	a, b := takeCache(t, s, shared), takeCache(t, s, shared)
	if a.Dir != b.Dir {
		t.Errorf("two who share have %s and %s", a.Dir, b.Dir)
	}
	c, d := takeCache(t, s, private), takeCache(t, s, private)
	if got := instance(a) + instance(c) + instance(d); got != "012" {
		t.Errorf("instances %s", got)
	}
	e := takeCache(t, s, Options{ID: "/y", Sharing: Shared})
	f := takeCache(t, s, Options{ID: "/x", Base: "other", Sharing: Shared})
	if e.Dir == a.Dir || f.Dir == a.Dir || e.Dir == f.Dir {
		t.Errorf("another cache has the same directory: %s %s %s", a.Dir, e.Dir, f.Dir)
	}
	for _, m := range []*Mount{a, b, c, d, e, f} {
		release(t, m)
	}
	if m := takeCache(t, s, private); instance(m) != "0" {
		t.Errorf("free again, and instance %s was taken", instance(m))
	}
}

// With Locked only one at a time is in, and who waits says so.
func TestCacheMountLocked(t *testing.T) {
	s := open(t)
	first := takeCache(t, s, Options{ID: "/x", Sharing: Locked})
	var in atomic.Int32
	var wg, waiting sync.WaitGroup
	for range 7 {
		waiting.Add(1)
		wg.Go(func() {
			m, err := s.CacheMount(t.Context(), Options{ID: "/x", Sharing: Locked, Waits: waiting.Done})
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
			in.Add(-1)
			release(t, m)
		})
	}
	waiting.Wait() // all have said that they wait
	if in.Load() != 0 {
		t.Error("a locked cache that is in use was given to another")
	}
	release(t, first)
	wg.Wait()
	m := takeCache(t, s, Options{ID: "/x", Sharing: Shared})
	defer release(t, m)
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	_, err := s.CacheMount(ctx, Options{ID: "/x", Sharing: Locked, Waits: func() { cancel(stopped) }})
	if !errors.Is(err, stopped) {
		t.Errorf("waiting ended with %v", err)
	}
}

// A failed beginning leaves no cache, and a successful one happens once.
func TestCacheMountFill(t *testing.T) {
	s := open(t)
	o := Options{ID: "/x", Sharing: Shared, Fill: func(string) error { return os.ErrInvalid }}
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
	s := open(t)
	used := takeCache(t, s, Options{ID: "/used", Sharing: Shared})
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
			all, err := s.CacheMounts()
			for _, u := range all {
				_, rerr := s.Remove(u)
				err = errors.Join(err, rerr)
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for _, sharing := range []Sharing{Shared, Private, Locked, Shared} {
		wg.Go(func() {
			for range 50 {
				m, err := s.CacheMount(t.Context(), Options{ID: "/x", Sharing: sharing})
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
	s := open(t)
	m := takeCache(t, s, Options{ID: "ns/x", Sharing: Shared})
	write := func(name string, size int) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(m.Dir, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	use := func() Use {
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
	m = takeCache(t, s, Options{ID: "ns/x", Sharing: Private})
	write("b", 300_000)
	release(t, m)
	if u := use(); u.Disk < 400_000 {
		t.Errorf("the size of before was remembered: %+v", u)
	}
}

// A restore that was interrupted leaves no mount: an empty one would be used from then on.
func TestInterruptedRestore(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	o := Options{ID: "/x", Sharing: Shared, Restore: func(string) bool { cancel(); return false }}
	if _, err := s.CacheMount(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	restored := false
	o.Restore = func(string) bool { restored = true; return true }
	release(t, takeCache(t, s, o))
	if !restored {
		t.Error("the next build does not restore it")
	}
}
