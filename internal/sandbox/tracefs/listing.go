package tracefs

import (
	"fmt"
	"net"
	"strconv"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// The kernel takes attributes ahead only as the answer to somebody who lists a directory, and the server may not be
// that one: a process that asks itself cannot be killed while it does. So it asks the process that has the layers
// served to list a directory, which waits for nothing else then. A list that is not made, or too late, makes the step
// wait for each name, as it would have.

// list is a directory of a mount that is to be listed.
type list struct{ Path string }

// path is the directory's below the root of the mount.
func (d directory) path() string {
	return strconv.Itoa(d.layer.place) + "/" + d.layer.recorder.View().Path(d.node)
}

// askForLists asks for lists of directories until there are no more to be made. The kernel forgets the names that it
// has of them (fuse_notify_inval_inode), or nobody would ask for them.
func (fs *fileSystem) askForLists(server *fuse.Server, c *net.UnixConn) {
	defer c.Close()
	for d := range fs.ahead.lists {
		path := d.path()
		if len(path) < maxPacket/2 && server.InodeNotify(fs.id(d.layer, d.node), 0, 0) == fuse.OK {
			_ = send(c, list{path})
		}
	}
}

// listDirectories lists what the server asks for, until it is gone or c is closed. The descriptor root, of the mount's
// root, is its own.
func listDirectories(c *net.UnixConn, root int) {
	defer unix.Close(root)
	buf := make([]byte, 64<<10)
	for {
		var l list
		files, err := receive(c, &l)
		closeAll(files)
		if err != nil {
			return
		}
		_ = listDirectory(root, l.Path, buf)
	}
}

// listDirectory has the kernel ask for all names of a directory.
func listDirectory(root int, path string, buf []byte) error {
	dir, err := unix.Openat2(root, path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return fmt.Errorf("opening a served directory: %w", err)
	}
	defer unix.Close(dir)
	for {
		n, err := unix.Getdents(dir, buf)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			return err
		}
	}
}
