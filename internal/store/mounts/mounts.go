// Package mounts keeps cache mounts: directories that a RUN --mount=type=cache shows and that outlive the build.
package mounts

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
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/session"
)

// The contents of a cache mount are no part of any key, so nothing is lost but time when it goes.
//
// Each has a folder of instances, mounts/<digest of the name>/<n>, since a RUN that wants a cache for itself while
// another has it gets one more. An instance is in use as long as its file "lock" is locked (flock(2)): shared by those
// who share it, exclusively by those who do not. It is made in tmp/, with the lock taken, and renamed; pruning locks it
// exclusively and renames it away. So a process that is killed leaves whole instances that nobody uses.

// Mounts are the cache mounts of a store.
type Mounts struct {
	dir     string
	session *session.Session
	made    sync.Map // the folders of the instances that this process made
}

// New opens the cache mounts of the store in the folder root.
func New(root string, se *session.Session) *Mounts {
	return &Mounts{dir: filepath.Join(root, "mounts"), session: se}
}

// Sharing says what becomes of two RUNs that use one cache mount at once (Dockerfile reference, "RUN
// --mount=type=cache").
type Sharing string

// The ways to share.
const (
	Shared  Sharing = "shared"  // both write to it
	Private Sharing = "private" // the second gets another instance
	Locked  Sharing = "locked"  // the second waits
)

// Options choose a cache mount.
type Options struct {
	ID string
	// Base stands for what the cache begins with: another Base is another cache of the same ID, as in BuildKit.
	Base    string
	Sharing Sharing
	// Fresh takes no instance that was there before this process: those are retired, and one that another process uses
	// goes when it is no longer used.
	Fresh bool
	// Fill puts into a new instance's directory what it begins with; nil leaves it empty, owned by
	// root, with mode 0755.
	Fill func(dir string) error
	// Restore, if not nil, is asked before Fill where there is no instance yet, unless Fresh: it puts into the directory what
	// another machine left in its cache of this name. It is false, with the directory as it was, where there is nothing.
	Restore func(dir string) bool
	// Waits is called when the cache is in use and has to be waited for.
	Waits func()
}

// Mount is an instance of a cache mount. It is in use, so that nobody removes it, until Release.
type Mount struct {
	Dir string // the directory to mount

	lock    *os.File
	written func() // ends the mark of what is not on the disk
}

// Release ends the use.
func (m *Mount) Release() error {
	m.written()
	touch(m.lock)
	return m.lock.Close()
}

// info is the file "info" of an instance.
type info struct {
	ID      string    `json:"id"`
	Base    string    `json:"base,omitempty"`
	Created time.Time `json:"created"`
}

// name is the folder of a cache mount's instances.
func (o *Options) name() string {
	return digest.FromString(strconv.Quote(o.ID) + o.Base).Encoded()
}

// CacheMount takes an instance of a cache mount that is free for this use, or makes one. With Locked it waits instead
// while there are instances, until ctx ends.
func (ms *Mounts) CacheMount(ctx context.Context, o Options) (*Mount, error) {
	dir := filepath.Join(ms.dir, o.name())
	waited := false
	for wait, tries := time.Millisecond, 0; ; wait, tries = min(2*wait, 50*time.Millisecond), tries+1 {
		numbers, err := instances(dir)
		if err != nil {
			return nil, fmt.Errorf("looking for the cache mount %s: %w", o.ID, err)
		}
		var taken []int
		usable, read := 0, false
		for _, n := range numbers {
			instance := filepath.Join(dir, strconv.Itoa(n))
			if ms.isRetired(instance, o.Fresh) {
				removed, err := ms.retire(instance)
				if err != nil {
					return nil, fmt.Errorf("emptying the cache mount %s: %w", o.ID, ms.session.Explain(err))
				}
				if !removed {
					taken = append(taken, n)
				}
				continue
			}
			usable, taken = usable+1, append(taken, n)
			m, err := ms.use(instance, o.Sharing == Shared)
			if m != nil || err != nil {
				return m, err
			}
			if !read {
				if read, err = isRead(instance); err != nil {
					return nil, fmt.Errorf("looking for the cache mount %s: %w", o.ID, err)
				}
			}
		}
		// Who looks whether an instance is in use has its lock for a moment: that is no reason for another instance.
		if usable == 0 || o.Sharing != Locked && tries >= 3 && !read {
			m, err := ms.create(ctx, dir, taken, &o)
			if m != nil || err != nil {
				return m, err
			}
			continue // another made an instance meanwhile
		}
		if !waited && (o.Sharing == Locked || read) && tries >= 3 && o.Waits != nil {
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

// use takes an instance for somebody who writes to it.
func (ms *Mounts) use(dir string, shared bool) (*Mount, error) {
	m, err := ms.take(dir, shared)
	if m == nil {
		return nil, err
	}
	if m.written, err = ms.session.MarkWriting(dir); err != nil {
		m.lock.Close()
		return nil, fmt.Errorf("using a cache mount: %w", err)
	}
	return m, nil
}

// take locks an instance; nil if another's lock is in the way or it is gone.
func (ms *Mounts) take(dir string, shared bool) (*Mount, error) {
	lock, err := disk.TakeLock(dir, shared)
	if err != nil {
		return nil, fmt.Errorf("using a cache mount: %w", ms.session.Explain(err))
	}
	if lock == nil {
		return nil, nil
	}
	touch(lock)
	return &Mount{Dir: filepath.Join(dir, "fs"), lock: lock}, nil
}

// touch notes the time of the last use. Without it, a cache is pruned a little earlier.
func touch(lock *os.File) { _ = unix.Futimes(int(lock.Fd()), nil) }

// create makes an instance, locked; nil if another process was faster in giving one its number.
func (ms *Mounts) create(ctx context.Context, dir string, numbers []int, o *Options) (*Mount, error) {
	tmp, err := ms.session.Temp("cache")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp) // what was not renamed
	m, err := fill(ctx, tmp, o, len(numbers) == 0 && !o.Fresh)
	if err != nil {
		return nil, fmt.Errorf("making the cache mount %s: %w", o.ID, ms.session.Explain(err))
	}
	next := 0
	if len(numbers) > 0 {
		next = numbers[len(numbers)-1] + 1
	}
	final := filepath.Join(dir, strconv.Itoa(next))
	placed := false
	m.written, err = ms.session.MarkWriting(final)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		placed, err = disk.Place(tmp, final)
	}
	if errors.Is(err, fs.ErrNotExist) {
		placed, err = false, nil // a prune removed the empty folder
	}
	if err != nil || !placed {
		m.lock.Close()
		if m.written != nil {
			m.written()
		}
	}
	if err == nil && !placed {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("making the cache mount %s: %w", o.ID, ms.session.Explain(err))
	}
	m.Dir = filepath.Join(final, "fs")
	ms.made.Store(final, true)
	return m, nil
}

// fill makes an instance in the empty folder dir. first says that it may be restored. Where ctx ends while it is restored, that is
// the error: an empty instance would stay, which nobody restores again.
func fill(ctx context.Context, dir string, o *Options, first bool) (*Mount, error) {
	tree := filepath.Join(dir, "fs")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(tree, 0o755); err != nil { // whatever the umask
		return nil, err
	}
	restored := first && o.Restore != nil && o.Restore(tree)
	if !restored && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if !restored && o.Fill != nil {
		if err := o.Fill(tree); err != nil {
			return nil, err
		}
	}
	about, err := json.Marshal(info{ID: o.ID, Base: o.Base, Created: time.Now().UTC()})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "info"), about, 0o600); err != nil {
		return nil, err
	}
	lock, err := disk.CreateLock(dir, o.Sharing == Shared)
	if err != nil {
		return nil, err
	}
	return &Mount{lock: lock}, nil
}
