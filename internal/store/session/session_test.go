package session

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func open(t *testing.T, root string) *Session {
	t.Helper()
	for _, dir := range []string{"tmp", "locks"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestSweepAfterKill(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	dir, err := s.Temp("work")
	if err != nil {
		t.Fatal(err)
	}
	other := open(t, root)
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("the folder of a living process went: %v", err)
	}
	other.Close()
	s.lock.Close() // what a kill does
	open(t, root)
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder of a killed process is still there: %v", err)
	}
}

// Two who remove the same thing are no reason for either to fail.
func TestTrash(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	trash, err := s.Trash()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "a")
	if err := os.WriteFile(path, make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := trash.Take(path); err != nil {
			t.Error(err)
		}
	}
	if freed, err := trash.Empty(); freed < 5000 || err != nil {
		t.Errorf("%d bytes were in the trash, %v", freed, err)
	}
}

// A session's folder that is being made is left alone by whoever opens the store meanwhile, however old it looks, and
// removed at once when its process was killed.
func TestSweepBesideBegin(t *testing.T) {
	root := t.TempDir()
	open(t, root)
	tmp := filepath.Join(root, "tmp")
	dir := filepath.Join(tmp, making+"1")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	guard, err := lockTmp(tmp, unix.LOCK_SH)
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(dir, old, old); err != nil {
		t.Fatal(err)
	}
	open(t, root)
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("a folder that is being made went: %v", err)
	}
	guard.Close()
	open(t, root)
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("a folder that was left behind is still there: %v", err)
	}
}

// A session that was killed while it removed its folder leaves nothing for long, in whatever order the files went.
func TestSweepHalfRemoved(t *testing.T) {
	root := t.TempDir()
	open(t, root)
	for _, name := range []string{removing + "1-a", "2-b"} {
		dir := filepath.Join(root, "tmp", name)
		if err := os.MkdirAll(filepath.Join(dir, "work"), 0o700); err != nil {
			t.Fatal(err)
		}
		open(t, root)
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}

// Sessions that begin and end beside others that open the store lose nothing and leave nothing.
func TestSweepRace(t *testing.T) {
	root := t.TempDir()
	open(t, root)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				s, err := Open(root)
				if err == nil {
					_, err = s.Temp("work")
				}
				if err == nil {
					_, err = os.Stat(filepath.Join(s.dir, "lock"))
				}
				if err == nil {
					err = s.Close()
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	left, err := os.ReadDir(filepath.Join(root, "tmp"))
	if len(left) > 0 || err != nil {
		t.Errorf("tmp/ has %v, %v", left, err)
	}
}

func TestLockIsExclusive(t *testing.T) {
	s := open(t, t.TempDir())
	var wg sync.WaitGroup
	var held, most atomic.Int32
	for range 8 {
		wg.Go(func() {
			release, err := s.Lock(t.Context(), "key")
			if err != nil {
				t.Error(err)
				return
			}
			most.Store(max(most.Load(), held.Add(1)))
			runtime.Gosched() // the others come while it is held
			held.Add(-1)
			release()
		})
	}
	wg.Wait()
	if n := most.Load(); n != 1 {
		t.Errorf("%d at once", n)
	}
	release, err := s.Lock(t.Context(), "key")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Lock(ctx, "key"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a lock past the context's end: %v", err)
	}
}
