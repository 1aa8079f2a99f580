package mounts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/strata-build/strata/internal/store/disk"
)

// Errors of Read.
var (
	// ErrNone says that the store has no such cache mount.
	ErrNone = errors.New("there is no such cache mount")
	// ErrInUse says that all instances of a cache mount were in use for as long as it was waited.
	ErrInUse = errors.New("the cache mount is in use by another build")
)

// Reading is an instance of a cache mount that is read as a whole: nobody uses it until Close, and whoever wants it meanwhile
// waits, rather than that it gets another instance.
type Reading struct {
	Dir string // of the contents

	instance      string
	used          string // when it was used last
	lock, reading *os.File
}

// readingFile is locked by who reads an instance as a whole. Who cannot have an instance and finds this locked waits: the
// reading is short, and what it was to be is not an empty cache.
func readingFile(instance string) string { return filepath.Join(instance, "reading") }

// Read takes the instance of a cache mount that was used last, without a mark that it was used. It waits as long as patience
// for one that is free.
func (ms *Mounts) Read(ctx context.Context, o Options, patience time.Duration) (*Reading, error) {
	dir := filepath.Join(ms.dir, o.name())
	until := time.Now().Add(patience)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		all, err := ms.lastUsed(dir)
		if err != nil {
			return nil, fmt.Errorf("looking for the cache mount %s: %w", o.ID, err)
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("%s: %w", strings.TrimPrefix(o.ID, "/"), ErrNone)
		}
		for _, instance := range all {
			r, err := read(instance)
			if r != nil || err != nil {
				return r, err
			}
		}
		if time.Now().After(until) {
			return nil, fmt.Errorf("%s: %w", strings.TrimPrefix(o.ID, "/"), ErrInUse)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// lastUsed are the instances of a cache mount that are not retired, the one that was used last first.
func (ms *Mounts) lastUsed(dir string) ([]string, error) {
	numbers, err := instances(dir)
	if err != nil {
		return nil, err
	}
	var all []string
	used := map[string]time.Time{}
	for _, n := range numbers {
		instance := filepath.Join(dir, strconv.Itoa(n))
		lock, err := os.Stat(filepath.Join(instance, "lock"))
		if err != nil || ms.isRetired(instance, false) {
			continue // or removed since
		}
		all, used[instance] = append(all, instance), lock.ModTime()
	}
	slices.SortStableFunc(all, func(a, b string) int { return cmp.Or(used[b].Compare(used[a]), cmp.Compare(a, b)) })
	return all, nil
}

// read locks an instance for a reading; nil if another's lock is in the way.
func read(instance string) (*Reading, error) {
	reading, err := disk.TakeNamedLock(readingFile(instance))
	if reading == nil {
		return nil, ignoreGone(err)
	}
	lock, err := disk.TakeLock(instance, false)
	if lock == nil {
		reading.Close()
		return nil, err
	}
	return &Reading{Dir: filepath.Join(instance, "fs"), instance: instance, used: lastUse(lock), lock: lock, reading: reading}, nil
}

func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// isRead says whether an instance is being read as a whole.
func isRead(instance string) (bool, error) {
	f, err := os.Open(readingFile(instance))
	if err != nil {
		return false, ignoreGone(err)
	}
	defer f.Close()
	return disk.IsLocked(f)
}

// sentFile has what the instance was when it was sent last.
func (r *Reading) sentFile() string { return filepath.Join(r.instance, "sent") }

// lastUse is when an instance was used last, by its lock.
func lastUse(lock *os.File) string {
	st, err := lock.Stat()
	if err != nil {
		return ""
	}
	return strconv.FormatInt(st.ModTime().UnixNano(), 10)
}

// Sent is what SetSent noted of the contents, "" where the instance was used since.
func (r *Reading) Sent() string {
	text, err := os.ReadFile(r.sentFile())
	if err != nil {
		return ""
	}
	value, stamp, _ := strings.Cut(string(text), " ")
	if stamp != r.used {
		return ""
	}
	return value
}

// SetSent notes a word about the contents as they were in this reading, which may be over, for the next reading to spare itself the work. Without it, the work
// is done again.
func (r *Reading) SetSent(value string) {
	_ = os.WriteFile(r.sentFile(), []byte(value+" "+r.used), 0o600)
}

// Close ends the reading. To do it twice does nothing.
func (r *Reading) Close() error {
	lock, reading := r.lock, r.reading
	if r.lock, r.reading = nil, nil; lock == nil {
		return nil
	}
	return errors.Join(lock.Close(), reading.Close())
}
