package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/strata-build/strata/internal/store/disk"
)

// What gets its final name may be in the kernel's memory only. So it is marked before it gets that
// name: by an empty file in the folder "unsynced" of the session, named by the path. Sync waits for
// the disk and then removes the marks. A mark and a final name are both names, and ext4, xfs and
// btrfs bring names to the disk in the order in which they were made: after a power cut, what has its
// final name and no mark is complete. What has a mark is verified before anything uses it.

// mark is a path that is not known to be on the disk.
type mark struct {
	writers int // who is still writing to it
	times   int // how often it was marked
}

// MarkUnsynced notes that the bytes at a path of the store may not be on the disk yet. It is called
// when they are written, and before they get that path.
func (s *Session) MarkUnsynced(path string) error {
	done, err := s.MarkWriting(path)
	if err != nil {
		return err
	}
	done()
	return nil
}

// MarkWriting is MarkUnsynced for what is written to until done is called: no Sync before that is
// enough.
func (s *Session) MarkWriting(path string) (done func(), err error) {
	name, err := s.markName(path)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(); err != nil {
		return nil, err
	}
	m := s.marks[name]
	if m == nil {
		if err := s.createMark(name); err != nil {
			return nil, fmt.Errorf("noting what is not on the disk yet: %w", s.Explain(err))
		}
		m = &mark{}
		s.marks[name] = m
	}
	m.writers++
	m.times++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		m.writers--
		s.mu.Unlock()
	}), nil
}

func (s *Session) createMark(name string) error {
	dir := marksOf(s.dir)
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.Mkdir(dir, 0o700); err == nil {
			f, err = os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY, 0o600)
		}
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// markName is the name of a path's mark.
func (s *Session) markName(path string) (string, error) {
	rel, err := filepath.Rel(s.root, path)
	if err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s is not in the store %s", path, s.root)
	}
	return strings.ReplaceAll(rel, "/", ":"), nil
}

// markedPath is the path that a mark stands for.
func (s *Session) markedPath(name string) string {
	return filepath.Join(s.root, filepath.FromSlash(strings.ReplaceAll(name, ":", "/")))
}

func marksOf(dir string) string { return filepath.Join(dir, "unsynced") }

// Sync waits until all that this process has put into the store is on the disk, with the rows that
// tell of it. Where it has put nothing there, that costs nothing, and waited is false.
func (s *Session) Sync() (waited bool, err error) {
	s.mu.Lock()
	settled := map[string]int{}
	for name, m := range s.marks {
		if m.writers == 0 {
			settled[name] = m.times
		}
	}
	s.mu.Unlock()
	if len(settled) == 0 {
		return false, nil
	}
	if err := disk.Sync(s.root); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, times := range settled {
		m := s.marks[name]
		if m == nil || m.times != times || s.dir == "" {
			continue // another Sync was faster, it was written to again, or the session was closed
		}
		if err := os.Remove(filepath.Join(marksOf(s.dir), name)); err != nil {
			return true, fmt.Errorf("noting what is on the disk: %w", err)
		}
		delete(s.marks, name)
	}
	return true, nil
}
