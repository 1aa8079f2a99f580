package binfmt

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Open gives binfmt_misc of this process's user name space, wherever or whether it is mounted. The mount is nobody's and
// goes when the folder is closed.
func Open() (*os.Root, error) {
	fsfd, err := unix.Fsopen("binfmt_misc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open binfmt_misc: %w", err)
	}
	defer unix.Close(fsfd)
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return nil, fmt.Errorf("open binfmt_misc: %w", err)
	}
	mount, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return nil, fmt.Errorf("open binfmt_misc: %w", err)
	}
	defer unix.Close(mount)
	return os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", mount))
}
