package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// A cache mount is a directory that a RUN --mount=type=cache shows and that outlives the build. Its contents are no part
// of any key, so nothing is lost but time when it goes.
//
// Each has a folder of instances, mounts/<digest of the name>/<n>, since a RUN that wants a cache for itself while
// another has it gets one more. An instance is in use as long as its file "lock" is locked (flock(2)): shared by those
// who share it, exclusively by those who do not. It is made in tmp/, with the lock taken, and renamed; pruning locks it
// exclusively and renames it away. So a process that is killed leaves whole instances that nobody uses.

// Sharing says what becomes of two RUNs that use one cache mount at once (Dockerfile reference, "RUN
// --mount=type=cache").
type Sharing string

// The ways to share.
const (
	Shared  Sharing = "shared"  // both write to it
	Private Sharing = "private" // the second gets another instance
	Locked  Sharing = "locked"  // the second waits
)

// CacheMountOptions choose a cache mount.
type CacheMountOptions struct {
	ID string
	// Base stands for what the cache begins with: another Base is another cache of the same ID, as in BuildKit.
	Base    string
	Sharing Sharing
	// Fill puts into a new instance's directory what it begins with; nil leaves it empty, owned by root, with mode 0755.
	Fill func(dir string) error
	// Waits is called when the cache is in use and has to be waited for.
	Waits func()
}

// CacheMount is an instance of a cache mount. It is in use, so that nobody removes it, until Release.
type CacheMount struct {
	Dir string // the directory to mount

	lock *os.File
}

// Release ends the use.
func (m *CacheMount) Release() error {
	touch(m.lock)
	return m.lock.Close()
}

// mountInfo is the file "info" of an instance.
type mountInfo struct {
	ID      string    `json:"id"`
	Base    string    `json:"base,omitempty"`
	Created time.Time `json:"created"`
}

// mountName is the folder of a cache mount's instances.
func (o *CacheMountOptions) name() string {
	return digest.FromString(strconv.Quote(o.ID) + o.Base).Encoded()
}

// CacheMount takes an instance of a cache mount that is free for this use, or makes one. With Locked it waits instead
// while there are instances, until ctx ends.
func (s *Store) CacheMount(ctx context.Context, o CacheMountOptions) (*CacheMount, error) {
	dir := s.path("mounts", o.name())
	waited := false
	for wait, tries := time.Millisecond, 0; ; wait, tries = min(2*wait, 50*time.Millisecond), tries+1 {
		numbers, err := instances(dir)
		if err != nil {
			return nil, fmt.Errorf("looking for the cache mount %s: %w", o.ID, err)
		}
		for _, n := range numbers {
			m, err := takeMount(filepath.Join(dir, strconv.Itoa(n)), o.Sharing == Shared)
			if m != nil || err != nil {
				return m, err
			}
		}
		// Who looks whether an instance is in use has its lock for a moment: that is no reason for another instance.
		if len(numbers) == 0 || o.Sharing != Locked && tries >= 3 {
			m, err := s.makeMount(dir, numbers, &o)
			if m != nil || err != nil {
				return m, err
			}
			continue // another made an instance meanwhile
		}
		if !waited && o.Sharing == Locked && tries >= 3 && o.Waits != nil {
			waited = true
			o.Waits()
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// instances are the numbers of a cache mount's instances, lowest first.
func instances(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// takeMount locks an instance; nil if another's lock is in the way or it is gone.
func takeMount(dir string, shared bool) (*CacheMount, error) {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("using a cache mount: %w%s", err, hint(err))
	}
	// Who pruned it meanwhile has renamed it: then this lock is on a file that is somewhere else.
	var held, named unix.Stat_t
	if unix.Flock(int(f.Fd()), how|unix.LOCK_NB) != nil || unix.Fstat(int(f.Fd()), &held) != nil ||
		unix.Stat(path, &named) != nil || held.Ino != named.Ino {
		return nil, f.Close()
	}
	touch(f)
	return &CacheMount{Dir: filepath.Join(dir, "fs"), lock: f}, nil
}

// touch notes the time of the last use. Without it, a cache is pruned a little earlier.
func touch(lock *os.File) { _ = unix.Futimes(int(lock.Fd()), nil) }

// makeMount makes an instance, locked; nil if another process was faster in giving one its number.
func (s *Store) makeMount(dir string, numbers []int, o *CacheMountOptions) (*CacheMount, error) {
	tmp, err := s.Temp("cache")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp) // what was not renamed
	m, err := fillMount(tmp, o)
	if err != nil {
		return nil, fmt.Errorf("making the cache mount %s: %w%s", o.ID, err, hint(err))
	}
	next := 0
	if len(numbers) > 0 {
		next = numbers[len(numbers)-1] + 1
	}
	final := filepath.Join(dir, strconv.Itoa(next))
	err = os.MkdirAll(dir, 0o700)
	if err == nil {
		err = os.Rename(tmp, final)
	}
	if err != nil {
		m.lock.Close()
		if errors.Is(err, fs.ErrExist) || errors.Is(err, syscallNotEmpty) || errors.Is(err, fs.ErrNotExist) {
			return nil, nil // ErrNotExist: a prune removed the empty folder
		}
		return nil, fmt.Errorf("making the cache mount %s: %w%s", o.ID, err, hint(err))
	}
	m.Dir = filepath.Join(final, "fs")
	return m, nil
}

// fillMount makes an instance in the empty folder dir.
func fillMount(dir string, o *CacheMountOptions) (*CacheMount, error) {
	tree := filepath.Join(dir, "fs")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(tree, 0o755); err != nil { // whatever the umask
		return nil, err
	}
	if o.Fill != nil {
		if err := o.Fill(tree); err != nil {
			return nil, err
		}
	}
	info, err := json.Marshal(mountInfo{ID: o.ID, Base: o.Base, Created: time.Now().UTC()})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "info"), info, 0o600); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_EXCL|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if o.Sharing == Shared {
		how = unix.LOCK_SH
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return &CacheMount{lock: f}, nil
}
