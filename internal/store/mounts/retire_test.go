package mounts

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/strata-build/strata/internal/store/session"
)

// another opens the same store as another process does.
func another(t *testing.T, s *Mounts) *Mounts {
	t.Helper()
	root := filepath.Dir(s.dir)
	se, err := session.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { se.Close() })
	return New(root, se)
}

func put(t *testing.T, m *Mount, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.Dir, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func expectFiles(t *testing.T, m *Mount, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(m.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if len(got) != len(want) || len(got) > 0 && got[0] != want[0] {
		t.Errorf("the cache holds %q, want %q", got, want)
	}
}

// A build that wants caches fresh empties each once, and the next build finds what it left.
func TestFreshCacheMount(t *testing.T) {
	for _, sharing := range []Sharing{Shared, Private, Locked} {
		t.Run(string(sharing), func(t *testing.T) {
			before := open(t)
			usual, fresh := Options{ID: "/x", Sharing: sharing}, Options{ID: "/x", Sharing: sharing, Fresh: true}
			m := takeCache(t, before, usual)
			put(t, m, "old")
			release(t, m)

			build := another(t, before)
			m = takeCache(t, build, fresh)
			expectFiles(t, m)
			put(t, m, "new")
			release(t, m)
			m = takeCache(t, build, fresh) // the next step
			expectFiles(t, m, "new")
			release(t, m)

			m = takeCache(t, another(t, before), usual)
			expectFiles(t, m, "new")
			release(t, m)
			if all, err := before.CacheMounts(); err != nil || len(all) != 1 {
				t.Errorf("%d instances are left, %v", len(all), err)
			}
		})
	}
}

// A cache that another build uses meanwhile stays until that one ends, and nobody begins to use it.
func TestFreshCacheMountBesideItsUse(t *testing.T) {
	for _, sharing := range []Sharing{Shared, Private, Locked} {
		t.Run(string(sharing), func(t *testing.T) {
			usual, fresh := Options{ID: "/x", Sharing: sharing}, Options{ID: "/x", Sharing: sharing, Fresh: true}
			first := open(t)
			used := takeCache(t, first, usual)
			put(t, used, "old")

			m := takeCache(t, another(t, first), fresh)
			expectFiles(t, m)
			put(t, m, "new")
			release(t, m)
			expectFiles(t, used, "old")
			release(t, used)

			m = takeCache(t, first, usual)
			expectFiles(t, m, "new")
			release(t, m)
			if all, err := first.CacheMounts(); err != nil || len(all) != 1 {
				t.Errorf("%d instances are left, %v", len(all), err)
			}
		})
	}
}
