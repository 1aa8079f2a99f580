package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// session is this process's folder below tmp/. Its file "lock" is locked as long as the process lives, by
// which others know what is garbage; its name starts with the time at which the process began, by which
// pruning knows what it may still use.
type session struct {
	dir  string
	lock *os.File
}

// Begin declares that this process uses what it finds in the store from now on, so that a prune that runs
// at the same time leaves it alone. Calling it again does nothing.
func (s *Store) Begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begin()
}

func (s *Store) begin() error {
	if s.session != nil {
		return nil
	}
	// A folder without a locked file would be garbage to another process: make it under a hidden name, lock
	// the file in it, and rename.
	dir, err := os.MkdirTemp(s.path("tmp"), hidden)
	if err != nil {
		return fmt.Errorf("making a folder for work under way: %w%s", err, hint(err))
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("making a folder for work under way: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	name := s.path("tmp", fmt.Sprintf("%d-%s", now(), strings.TrimPrefix(filepath.Base(dir), hidden)))
	if err := os.Rename(dir, name); err != nil {
		f.Close()
		return fmt.Errorf("making a folder for work under way: %w", err)
	}
	s.session = &session{dir: name, lock: f}
	return nil
}

func (se *session) close() error {
	err := os.RemoveAll(se.dir)
	return errors.Join(err, se.lock.Close())
}

// Temp makes a new folder for work under way, on the disk of the store, which goes with the process.
func (s *Store) Temp(name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(s.session.dir, name+"-")
	if err != nil {
		return "", fmt.Errorf("making a folder for work under way: %w%s", err, hint(err))
	}
	return dir, nil
}

// sweep removes the folders of processes that are no more, after unmounting what they left mounted.
func (s *Store) sweep() error {
	entries, err := os.ReadDir(s.path("tmp"))
	if errors.Is(err, fs.ErrNotExist) {
		return s.create()
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := s.sweepSession(s.path("tmp", e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// sweepSession removes the session folder dir unless its process lives, which it reports.
func (s *Store) sweepSession(dir string) (alive bool, err error) {
	if strings.HasPrefix(filepath.Base(dir), hidden) && isNew(dir) {
		return false, nil // its lock may be there and not yet taken
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Either somebody is making it this very moment, or was killed between two system calls.
		if isNew(dir) {
			return false, nil
		}
	case err != nil:
		return false, err
	default:
		defer f.Close()
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return true, nil
		}
	}
	if err := unmountBelow(dir); err != nil {
		return false, err
	}
	return false, os.RemoveAll(dir)
}

// hidden begins the name of a session's folder that somebody is making.
const hidden = ".new-"

// isNew says whether somebody may be making dir this very moment, or it is gone already.
func isNew(dir string) bool {
	st, err := os.Stat(dir)
	return err != nil || time.Since(st.ModTime()) < time.Minute
}

// unmountBelow detaches all that is mounted below dir, innermost first.
func unmountBelow(dir string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil // no /proc: then nothing of ours could be mounted either
	}
	var targets []string
	for line := range strings.Lines(string(data)) {
		// mountinfo: ID parent major:minor root mount-point …, with octal escapes (proc(5)).
		if fields := strings.Fields(line); len(fields) > 4 {
			if target := unescapeOctal(fields[4]); strings.HasPrefix(target, dir+"/") {
				targets = append(targets, target)
			}
		}
	}
	for _, target := range slices.Backward(targets) {
		if err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmounting %s: %w", target, err)
		}
	}
	return nil
}

func unescapeOctal(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// oldestSession is when the longest-running process that uses the store, other than this one, began; the
// zero time if there is none. What was used since then must not be pruned.
func (s *Store) oldestSession() (int64, error) {
	entries, err := os.ReadDir(s.path("tmp"))
	if err != nil {
		return 0, err
	}
	oldest := int64(0)
	for _, e := range entries {
		dir := s.path("tmp", e.Name())
		if s.session != nil && dir == s.session.dir {
			continue
		}
		began, _, ok := strings.Cut(e.Name(), "-")
		t, err := strconv.ParseInt(began, 10, 64)
		if !ok || err != nil {
			continue
		}
		alive, err := s.sweepSession(dir)
		if err != nil {
			return 0, err
		}
		if alive && (oldest == 0 || t < oldest) {
			oldest = t
		}
	}
	return oldest, nil
}

// Lock waits until no other process holds the lock of this name, and takes it until release is called.
// Builds lock a cache key while they run its step, so that two builds never run the same step.
func (s *Store) Lock(ctx context.Context, name string) (release func(), err error) {
	path := s.path("locks", name)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, fmt.Errorf("locking %s: %w%s", name, err, hint(err))
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			// The one who held it may have removed the file meanwhile: then this lock is on a file without a name.
			var held, named unix.Stat_t
			if unix.Fstat(int(f.Fd()), &held) == nil && unix.Stat(path, &named) == nil && held.Ino == named.Ino {
				return func() {
					os.Remove(path)
					f.Close()
				}, nil
			}
		}
		f.Close()
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// now is the time in the unit in which meta.db keeps times.
func now() int64 { return time.Now().UnixMilli() }
