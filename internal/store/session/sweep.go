package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/orphans"
)

// sweep removes the folders of processes that are no more, after ending the containers and unmounting what they left mounted.
func (s *Session) sweep() error {
	entries, err := os.ReadDir(s.tmp())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := s.removeDead(filepath.Join(s.tmp(), e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// removeDead removes the session folder dir unless its process lives, which it reports. What the process
// did not wait for is brought to the disk first. A folder of before the machine's last start that has
// marks stays until these were verified.
func (s *Session) removeDead(dir string) (alive bool, err error) {
	switch name := filepath.Base(dir); {
	case strings.HasPrefix(name, removing):
		return false, os.RemoveAll(dir)
	case strings.HasPrefix(name, making):
		guard, err := lockTmp(s.tmp(), unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			return false, nil // somebody is making one, perhaps this
		}
		defer guard.Close()
		return false, os.RemoveAll(dir)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// It is being removed, or was when its process was killed.
	case err != nil:
		return false, err
	default:
		defer f.Close()
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return true, nil
		}
	}
	marks, err := markNames(dir)
	if err != nil {
		return false, err
	}
	if len(marks) > 0 {
		if !s.isOfThisBoot(dir) {
			return false, nil
		}
		if err := disk.Sync(s.root); err != nil {
			return false, err
		}
	}
	if err := orphans.EndBelow(dir); err != nil {
		return false, nil // what does not end yet keeps the folder for the next who comes
	}
	if err := unmountBelow(dir); err != nil {
		return false, err
	}
	return false, os.RemoveAll(dir)
}

// lockTmp locks the folder of sessions itself, which who makes a session's folder has locked shared. Closing the file
// gives the lock back.
func lockTmp(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
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

// Oldest is when the longest-running process that uses the store, other than this one, began, in
// milliseconds since 1970; 0 if there is none. What was used since then must not be pruned.
func (s *Session) Oldest() (int64, error) {
	entries, err := os.ReadDir(s.tmp())
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	own := s.dir
	s.mu.Unlock()
	oldest := int64(0)
	for _, e := range entries {
		dir := filepath.Join(s.tmp(), e.Name())
		if dir == own {
			continue
		}
		began, _, ok := strings.Cut(e.Name(), "-")
		t, err := strconv.ParseInt(began, 10, 64)
		if !ok || err != nil {
			continue
		}
		alive, err := s.removeDead(dir)
		if err != nil {
			return 0, err
		}
		if t > db.Now() {
			t = 1 // the clock was set back since: what it used may have any time
		}
		if alive && (oldest == 0 || t < oldest) {
			oldest = t
		}
	}
	return oldest, nil
}
