package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// File is a read-only file that a container sees and the machine never has: its contents are handed over to the
// container's init, which keeps them in a tmpfs that exists in the container's mount name space only. Whatever ends the
// builder or the container ends the file, and no other process of the machine finds it under any path of its own.
type File struct {
	Target   string // absolute path in the container; made for as long as the container runs where it is missing
	Data     []byte `json:"-"`
	Mode     uint32 // permissions
	UID, GID int
}

// stage is where the tmpfs is mounted until its files are bound to where they belong. /dev is a tmpfs of the container's.
const stage = "/dev/.strata-files"

// showFiles mounts the files. It runs in the container's init, in the container's root and name spaces, on a thread that
// is still privileged; so paths lead nowhere out of the container.
func showFiles(files []File) (err error) {
	if len(files) == 0 {
		return nil
	}
	err = raise(unix.CAP_SYS_ADMIN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_CHOWN, unix.CAP_FOWNER)
	if err != nil {
		return fmt.Errorf("raise capabilities to mount files: %w", err)
	}
	if err := os.Mkdir(stage, 0o700); err != nil {
		return fmt.Errorf("mount files: %w", err)
	}
	// Pages of a tmpfs may be swapped out, to a disk; noswap forbids it from kernel 6.4 on.
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	err = unix.Mount("tmpfs", stage, "tmpfs", flags, "mode=0700,noswap")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("tmpfs", stage, "tmpfs", flags, "mode=0700")
	}
	if err != nil {
		return fmt.Errorf("mount a tmpfs for files: %w", err)
	}
	for i, f := range files {
		if err := f.show(filepath.Join(stage, strconv.Itoa(i))); err != nil {
			return fmt.Errorf("mount on %s: %w", f.Target, err)
		}
	}
	// What is bound from it keeps the file system.
	if err := unix.Unmount(stage, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount a tmpfs for files: %w", err)
	}
	return os.Remove(stage)
}

// show writes the file to source and binds it to its target.
func (f File) show(source string) error {
	if err := os.WriteFile(source, f.Data, 0o600); err != nil {
		return err
	}
	if err := os.Chown(source, f.UID, f.GID); err != nil {
		return err
	}
	if err := os.Chmod(source, fs.FileMode(f.Mode&0o777)); err != nil {
		return err
	}
	if err := makePoint(f.Target); err != nil {
		return err
	}
	if err := unix.Mount(source, f.Target, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	flags := uintptr(unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV)
	if f.Mode&0o111 == 0 {
		flags |= unix.MS_NOEXEC
	}
	return unix.Mount("", f.Target, "", unix.MS_REMOUNT|unix.MS_BIND|flags, "")
}

// makePoint makes a mount point that lies in another mount of the container; in the root file system it is there already.
func makePoint(target string) error {
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
