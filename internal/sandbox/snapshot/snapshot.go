// Package snapshot mounts a chain of layers, each a tree on disk, as one root file system.
//
// It knows overlayfs and bind mounts only. Which layers, where they rest and when they are laid out as trees is
// the store's business.
package snapshot

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxLowers is the number of layers that overlayfs takes (OVL_MAX_STACK).
const MaxLowers = 500

// ErrNoOverlay says that this kernel has no overlayfs to offer.
var ErrNoOverlay = errors.New("this kernel has no overlayfs, which strata mounts layers with; load it with: modprobe overlay")

// Options says how to mount. Without ReadOnly both Upper and Work are needed: directories of one file system, Work
// empty and used for one mount only. With ReadOnly, Upper is the topmost lower, and Work is not used.
type Options struct {
	Upper, Work string
	ReadOnly    bool
}

// Mount mounts lowers, the topmost first, at target, with Upper on top unless ReadOnly is set. Changes go to Upper in a
// form that is a lower layer in its turn: no redirects, no metadata-only copies, no index (they would name files of
// other layers).
//
// The mount is volatile: nothing is ever synced to disk, and the mark that overlayfs leaves of that is in Work.
// Duplicate lowers are mounted once, at their topmost place. No lowers give Upper itself; a single one read-only is a
// read-only bind mount, in which a whiteout, should the lowest layer have any, is visible as a device.
//
// The mount is private: what is mounted in it shows nowhere else. Whether it shows itself in other mount name spaces is
// decided by the mount that target is on; who wants it hidden calls Open, and attaches it in a name space of their own.
func Mount(target string, lowers []string, o Options) error {
	fd, err := Open(lowers, o)
	if err != nil {
		return fmt.Errorf("mounting layers at %s: %w", target, err)
	}
	defer unix.Close(fd)
	if err := Attach(fd, target); err != nil {
		return fmt.Errorf("mounting layers at %s: %w", target, err)
	}
	return nil
}

// Open is Mount without a place: it returns a mount that is attached nowhere, which paths can be opened in with the *at
// calls, and which goes away when the descriptor is closed. Attach gives it its place.
func Open(lowers []string, o Options) (fd int, err error) {
	if o.ReadOnly && o.Upper != "" {
		lowers, o.Upper = append([]string{o.Upper}, lowers...), ""
	}
	lowers = distinct(lowers)
	switch {
	case len(lowers) > MaxLowers:
		return -1, fmt.Errorf("the image has %d layers, more than the %d that overlayfs takes; squash some", len(lowers), MaxLowers)
	case !o.ReadOnly && (o.Upper == "" || o.Work == ""):
		return -1, errors.New("a writable mount needs an upper and a work directory")
	case len(lowers) == 0 && o.ReadOnly:
		return openEmpty()
	case len(lowers) == 0:
		return openBind(o.Upper, false)
	case len(lowers) == 1 && o.ReadOnly:
		return openBind(lowers[0], true)
	}
	return openOverlay(lowers, o)
}

// Attach mounts what Open returned at target. The descriptor stays open.
func Attach(fd int, target string) error {
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return explain("attaching the mount", err)
	}
	private := &unix.MountAttr{Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, private); err != nil && !errors.Is(err, unix.ENOSYS) {
		return explain("making the mount private", errors.Join(err, unix.Unmount(target, unix.MNT_DETACH)))
	}
	return nil
}

// Unmount takes away what Mount put at target. A mount that is still in use is detached, and goes when its last user
// does. No mount at target is not an error.
func Unmount(target string) error {
	err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(target, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("unmounting %s: %w", target, err)
}

// distinct drops all but the first of equal paths: overlayfs refuses a directory that is there twice, and
// the lower one would not show.
func distinct(paths []string) []string {
	seen := make(map[string]bool, len(paths))
	out := make([]string, 0, len(paths))
	for _, p := range paths {
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}

// openEmpty gives an empty read-only root.
func openEmpty() (int, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, explain("opening tmpfs", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "mode", "0755"); err != nil {
		return -1, explain("configuring tmpfs", err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, explain("creating tmpfs", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return -1, explain("mounting tmpfs", err)
	}
	return fd, nil
}

func openBind(dir string, readOnly bool) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, explain("binding "+dir, err)
	}
	if !readOnly {
		return fd, nil
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		unix.Close(fd)
		return -1, explain("making the mount read-only", err)
	}
	return fd, nil
}

// explain says what can be done about an error of the kernel's.
func explain(what string, err error) error {
	switch {
	case errors.Is(err, unix.ENODEV):
		return ErrNoOverlay
	case errors.Is(err, unix.EPERM) && os.Geteuid() != 0:
		return fmt.Errorf("%s: %w; mounting needs root, or a user name space (strata info)", what, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: %w; mounting needs CAP_SYS_ADMIN, which a container has with --privileged", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// short gives a path that the mount API takes literally, with what to close afterwards: at most 255 bytes, without a
// backslash.
func short(path string) (string, func(), error) {
	if len(path) < 256 && !strings.ContainsAny(path, `\:,`) {
		return path, func() {}, nil
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), func() { unix.Close(fd) }, nil
}
