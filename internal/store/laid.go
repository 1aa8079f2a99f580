package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
)

// A laid tree is a copy of what a RUN's mount showed of a build context, kept so that the next build copies what changed
// only. It lies in laid/<name>/, is written once and replaced as a whole. It is in use, and stays, as long as its file
// "lock" is locked (flock(2)), as with cache mounts.

// maxLaid is how many of them are kept, each as large as what it was copied from.
const maxLaid = 16

// Laid is a kept copy.
type Laid struct {
	Dir string // the tree, in the form that overlayfs takes as a lower layer
	TOC *layer.TOC
	// Times are those of the entries of TOC, in nanoseconds since 1970.
	Times []int64

	lock *os.File
}

// Release ends the use of the copy, which otherwise lasts until the store is closed.
func (l *Laid) Release() { _ = l.lock.Close() }

// Laid returns the copy that is kept under a name, nil if there is none, or none that can be read. Nobody removes it while
// it is in use.
func (s *Store) Laid(name string) (*Laid, error) {
	dir := s.path("laid", name)
	m, err := takeMount(dir, true)
	if m == nil {
		return nil, err
	}
	t, times, err := readLaid(dir)
	if err != nil {
		return nil, m.lock.Close() // as good as none: it is made anew
	}
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // without it, it is pruned a little earlier
	s.hold(m.lock)
	return &Laid{Dir: m.Dir, TOC: t, Times: times, lock: m.lock}, nil
}

// hold keeps a lock until the store is closed.
func (s *Store) hold(lock *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inUse = append(s.inUse, lock)
}

func readLaid(dir string) (*layer.TOC, []int64, error) {
	data, err := os.ReadFile(filepath.Join(dir, "toc"))
	if err != nil {
		return nil, nil, err
	}
	t := &layer.TOC{}
	if err := t.Decode(bytes.NewReader(data)); err != nil {
		return nil, nil, err
	}
	if data, err = os.ReadFile(filepath.Join(dir, "times")); err != nil {
		return nil, nil, err
	}
	times := make([]int64, len(t.Entries))
	if len(data) != 8*len(times) {
		return nil, nil, fmt.Errorf("%d bytes for the times of %d entries", len(data), len(times))
	}
	_, err = binary.Decode(data, binary.LittleEndian, times)
	return t, times, err
}

// KeepLaid keeps the copy that is "fs" in dir, a folder that Temp made, in place of the one of that name, and returns where
// it is. Where that one is in use, or another took its place meanwhile, it stays in dir and goes with the process.
func (s *Store) KeepLaid(name string, l *Laid, dir string) (string, error) {
	tree, err := s.keepLaid(name, l, dir)
	if err != nil {
		return "", fmt.Errorf("keeping a copy of the build context: %w%s", err, hint(err))
	}
	return tree, nil
}

func (s *Store) keepLaid(name string, l *Laid, dir string) (string, error) {
	lock, err := s.describeLaid(l, dir)
	if err != nil {
		return "", err
	}
	s.hold(lock)
	final := s.path("laid", name)
	if err := os.MkdirAll(filepath.Dir(final), 0o700); err != nil {
		return "", err
	}
	if err := s.removeKept(final, &Pruned{}); err != nil {
		return "", err
	}
	switch err := os.Rename(dir, final); {
	case errors.Is(err, fs.ErrExist), errors.Is(err, syscallNotEmpty):
		return filepath.Join(dir, "fs"), nil
	case err != nil:
		return "", err
	}
	return filepath.Join(final, "fs"), s.dropLaid()
}

// describeLaid writes what is known of a copy beside it, and locks it.
func (s *Store) describeLaid(l *Laid, dir string) (*os.File, error) {
	times, err := binary.Append(nil, binary.LittleEndian, l.Times)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		s.writeTOC(filepath.Join(dir, "toc"), l.TOC),
		os.WriteFile(filepath.Join(dir, "times"), times, 0o600),
		os.WriteFile(filepath.Join(dir, "size"), []byte(strconv.FormatInt(diskSize(l.TOC), 10)), 0o600))
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_EXCL|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// dropLaid removes those beyond maxLaid that were not used for the longest time.
func (s *Store) dropLaid() error {
	old, err := beyond(s.path("laid"), maxLaid)
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := s.removeKept(path, &Pruned{}); err != nil {
			return err
		}
	}
	return nil
}

// laidSize is what a copy takes on the disk, without looking at its files.
func laidSize(dir string) (int64, error) {
	text, err := os.ReadFile(filepath.Join(dir, "size"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // pruned at this moment
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(text), 10, 64)
}

// freeToRemove locks something that is kept, if it has a lock; free says that nobody uses it.
func freeToRemove(dir string) (release func(), free bool, err error) {
	if _, err := os.Stat(filepath.Join(dir, "lock")); err != nil {
		return func() {}, true, nil
	}
	m, err := takeMount(dir, false)
	if m == nil {
		return nil, false, err
	}
	return func() { m.lock.Close() }, true, nil
}
