package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

// protectRoot sets the options under which a container sees its root file system: without devices
// (see deviceMounts) unless it is insecure, and read-only if s says so. Everything that is made in
// it has to be there by now. libcontainer can do the second only, and would undo the first with it.
// What it returns undoes both.
func protectRoot(s Spec) (restore func() error, err error) {
	var before unix.Statfs_t
	if err := unix.Statfs(s.Rootfs, &before); err != nil {
		return nil, fmt.Errorf("look at the root file system: %w", err)
	}
	// statfs(2) and mount(2) have these flags in common.
	kept := uintptr(before.Flags) & (unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC |
		unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME)
	flags := kept
	if !s.Insecure {
		flags |= unix.MS_NODEV
	}
	if s.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	if err := remount(s.Rootfs, flags); err != nil {
		return nil, err
	}
	return func() error { return remount(s.Rootfs, kept) }, nil
}

func remount(path string, flags uintptr) error {
	if err := unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|flags, ""); err != nil {
		return fmt.Errorf("set the mount options of the root file system %s: %w", path, err)
	}
	return nil
}

// makeDir makes the working directory. libcontainer would, but not in a read-only file system.
func makeDir(s Spec) error {
	// The image decides what is a symlink here; this follows it as the container would.
	path, err := securejoin.SecureJoin(s.Rootfs, s.Dir)
	if err != nil {
		return fmt.Errorf("working directory %s: %w", s.Dir, err)
	}
	root, err := os.OpenRoot(s.Rootfs)
	if err != nil {
		return fmt.Errorf("open the root file system: %w", err)
	}
	defer root.Close()
	name := strings.TrimPrefix(strings.TrimPrefix(path, filepath.Clean(s.Rootfs)), "/")
	if name == "" {
		return nil
	}
	for i, c := range name + "/" {
		if c != '/' {
			continue
		}
		if err := makeIn(root, name[:i]); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make the working directory %s: %w", s.Dir, err)
		}
	}
	if st, err := root.Stat(name); err == nil && !st.IsDir() {
		return fmt.Errorf("make the working directory %s: %w", s.Dir, unix.ENOTDIR)
	}
	return nil
}
