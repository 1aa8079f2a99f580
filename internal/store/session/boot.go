package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/orphans"
)

// unknownBoot stands for a boot ID that cannot be read, and is like no other.
const unknownBoot = "-"

// bootID names the time from the machine's last start to its next. What was written since is at least
// in the kernel's memory (random(4), "boot_id").
func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if id := strings.TrimSpace(string(data)); err == nil && id != "" {
		return id
	}
	return unknownBoot
}

// The boot ID is kept as the target of a symbolic link, in the store's folder and in each session's: a
// link is a name, and reaches the disk in the order of names.

func bootLink(dir string) string { return filepath.Join(dir, "boot") }

// isOfThisBoot says whether a folder's link names the present boot.
func (s *Session) isOfThisBoot(dir string) bool {
	id, err := os.Readlink(bootLink(dir))
	return err == nil && id == s.boot && id != unknownBoot
}

// BeforeThisBoot says that nobody has opened the store in the folder root since the machine was started.
func BeforeThisBoot(root string) bool {
	id, err := os.Readlink(bootLink(root))
	return err != nil || id != bootID() || id == unknownBoot
}

// Restarted says that nobody has looked yet, since the machine was started, at what the store lost
// when it stopped.
func (s *Session) Restarted() bool { return !s.readOnly && !s.isOfThisBoot(s.root) }

// Interrupted returns the paths that were marked as not on the disk when the machine stopped.
func (s *Session) Interrupted() ([]string, error) {
	dirs, err := s.interrupted()
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, dir := range dirs {
		names, err := markNames(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			paths = append(paths, s.markedPath(name))
		}
	}
	return paths, nil
}

// interrupted returns the folders of sessions of other boots.
func (s *Session) interrupted() ([]string, error) {
	entries, err := os.ReadDir(s.tmp())
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		dir := filepath.Join(s.tmp(), e.Name())
		if !disk.Exists(bootLink(dir)) || s.isOfThisBoot(dir) {
			continue
		}
		if alive, err := disk.InUse(dir); alive || err != nil {
			continue // no lock outlives the machine: its boot ID cannot be read
		}
		dirs = append(dirs, dir)
	}
	return dirs, nil
}

func markNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(marksOf(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// Recovered notes that what Interrupted gave was verified, and that what was set aside is gone for good.
func (s *Session) Recovered() error {
	dirs, err := s.interrupted()
	if err != nil {
		return err
	}
	if len(dirs) > 0 {
		if err := disk.Sync(s.root); err != nil {
			return err
		}
	}
	for _, dir := range dirs {
		// Nothing runs on or stays mounted over a start of the machine, but where its boot ID cannot be read this may be the same one.
		if orphans.EndBelow(dir) != nil {
			continue // what does not end yet keeps the folder for the next who comes
		}
		if err := unmountBelow(dir); err != nil {
			return err
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	guard, err := lockTmp(s.tmp(), unix.LOCK_SH)
	if err != nil {
		return fmt.Errorf("noting that the store was verified: %w", err)
	}
	defer guard.Close()
	next := filepath.Join(s.tmp(), making+"boot")
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(s.boot, next); err != nil {
		return fmt.Errorf("noting that the store was verified: %w", err)
	}
	return os.Rename(next, bootLink(s.root))
}
