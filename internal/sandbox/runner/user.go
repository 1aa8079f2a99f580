package runner

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// maxUserFile bounds what is read of an image's /etc/passwd and /etc/group.
const maxUserFile = 16 << 20

// lookupUser resolves a USER of an image, as Docker does: names in the image's own /etc/passwd and
// /etc/group, numbers as they are (with the groups of the name that the number has, if any), "" as root.
func lookupUser(rootfs, spec string) (*user.ExecUser, error) {
	passwd, err := openUserFile(rootfs, "/etc/passwd")
	if err != nil {
		return nil, err
	}
	defer passwd.Close()
	group, err := openUserFile(rootfs, "/etc/group")
	if err != nil {
		return nil, err
	}
	defer group.Close()
	found, err := user.GetExecUser(spec, nil, passwd.reader(), group.reader())
	if err != nil {
		return nil, fmt.Errorf("%w: USER has to name one of the image's users, or a number", err)
	}
	return found, nil
}

// userFile is a regular file of the image, or nothing.
type userFile struct{ file *os.File }

// openUserFile follows symlinks inside of rootfs only, and never blocks on a FIFO or reads a device.
func openUserFile(rootfs, name string) (userFile, error) {
	handle, err := pathrs.OpenInRoot(rootfs, name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return userFile{}, nil
	}
	if err != nil {
		return userFile{}, fmt.Errorf("open the image's %s: %w", name, err)
	}
	defer handle.Close()
	if info, err := handle.Stat(); err != nil || !info.Mode().IsRegular() {
		return userFile{}, fmt.Errorf("the image's %s is not a regular file", name)
	}
	file, err := pathrs.Reopen(handle, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return userFile{}, fmt.Errorf("open the image's %s: %w", name, err)
	}
	return userFile{file}, nil
}

// reader is nil, not a nil *os.File, where there is no file: GetExecUser tells the two apart.
func (f userFile) reader() io.Reader {
	if f.file == nil {
		return nil
	}
	return io.LimitReader(f.file, maxUserFile)
}

func (f userFile) Close() {
	if f.file != nil {
		f.file.Close()
	}
}
