package erofs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
)

// ErrNoMount is the cause where this kernel, or this process, cannot mount an index.
var ErrNoMount = errors.New("EROFS cannot be mounted from files here")

// Mountable says whether this process can mount an index that is in the folder dir, by mounting an empty one there.
// That takes Linux 6.12 with CONFIG_EROFS_FS_BACKED_BY_FILE, _XATTR and _SECURITY, CAP_SYS_ADMIN in the first user
// name space, and a file system that reads by pages, which tmpfs and overlayfs do not. The error is ErrNoMount, with
// the reason.
func Mountable(dir string) error {
	f, err := os.CreateTemp(dir, "erofs-")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoMount, err)
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("%w: %w", ErrNoMount, err)
	}
	root := &layer.Entry{Type: layer.Dir, Mode: 0o755, Opaque: true, Xattrs: []layer.Xattr{{Name: "security.strata", Value: "y"}}}
	if err := Write(f, slices.Values([]Node{{Entry: root}}), nil); err != nil {
		return fmt.Errorf("%w: %w", ErrNoMount, err)
	}
	mount, err := Open(f, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoMount, err)
	}
	defer unix.Close(mount)
	top, err := unix.Openat(mount, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoMount, err)
	}
	defer unix.Close(top)
	for _, name := range []string{"trusted.overlay.opaque", "security.strata"} {
		value := make([]byte, 8)
		if n, err := unix.Fgetxattr(top, name, value); err != nil || string(value[:n]) != "y" {
			return fmt.Errorf("%w: it shows no attributes %s", ErrNoMount, name)
		}
	}
	return nil
}

// Open mounts an index with the tars that are its devices, in their order, and returns the mount, which is attached
// nowhere and goes away when the descriptor is closed. The mount keeps the index and the tars open; a path of a tar
// has at most 255 bytes. Nobody may change their bytes while it is used.
func Open(index *os.File, tars []string) (fd int, err error) {
	fs, err := unix.Fsopen("erofs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("opening EROFS: %w", err)
	}
	defer unix.Close(fs)
	set := func(key, path string) error {
		if err := unix.FsconfigSetString(fs, key, path); err != nil {
			return failure(fs, "setting "+key+" of EROFS", err)
		}
		return nil
	}
	if err := set("source", fmt.Sprintf("/proc/self/fd/%d", index.Fd())); err != nil {
		return -1, err
	}
	for _, tar := range tars {
		if err := set("device", tar); err != nil {
			return -1, err
		}
	}
	if err := unix.FsconfigSetFlag(fs, "ro"); err != nil {
		return -1, failure(fs, "setting EROFS read-only", err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, failure(fs, "mounting "+index.Name(), err)
	}
	if fd, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY); err != nil {
		return -1, failure(fs, "mounting "+index.Name(), err)
	}
	return fd, nil
}

// failure is an error of the kernel's with what it has to say about it.
func failure(fs int, what string, err error) error {
	buf := make([]byte, 1024)
	var said []string
	for {
		n, e := unix.Read(fs, buf)
		if e != nil || n <= 0 {
			break
		}
		if line, ok := bytes.CutPrefix(bytes.TrimSpace(buf[:n]), []byte("e ")); ok {
			said = append(said, string(line))
		}
	}
	if len(said) > 0 {
		what += ": " + strings.Join(said, "; ")
	}
	return fmt.Errorf("%s: %w", what, err)
}
