// Package tracefs serves layers to overlayfs through FUSE, and notes what is asked of them. It takes layers as views of
// their tables of contents, with something to read their files from; it gives a directory for each, which overlayfs takes
// as a lower layer, and at the end what was asked (package layer/observed).
//
// Names and attributes come from memory, contents from the layer's tar or tree. Nothing ever changes, so the kernel asks each
// thing once: entries, attributes and names that are not there are good for an hour, OPEN, OPENDIR and FLUSH are answered with
// ENOSYS, after which the kernel asks none of them again (fuse.h, FUSE_NO_OPEN_SUPPORT) and keeps the pages of files. A file that is
// read costs one LOOKUP and one READ. Extended attributes are asked for each time: with ENOSYS, a process would see another error
// than on a disk.
package tracefs

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
)

// ErrUnavailable says that FUSE cannot be used: the kernel lacks it, or this process may not use it.
var ErrUnavailable = errors.New("FUSE is not available")

// device is what the kernel talks to FUSE servers through.
const device = "/dev/fuse"

// maxRead is how many bytes the kernel asks for at most: as many as it does without being told otherwise (Linux 4.20).
const maxRead = 1 << 20

// Contents is where the files of a layer are read from.
type Contents interface {
	// ReadAt reads what a File entry has at an offset; fewer bytes than p holds only at the end of the file.
	ReadAt(e *layer.Entry, p []byte, offset int64) (int, error)
	io.Closer
}

// Layer is a layer that is served.
type Layer struct {
	Recorder *observed.Recorder
	Contents Contents
	// Below is the entry that shows at the path of a directory that the layer has no entry for; nil if there is none.
	Below func(path string) *layer.Entry
}

// Mount is what serves layers.
type Mount struct {
	dir      string
	attached bool
	fs       *fileSystem
	done     chan struct{} // closed when the kernel asks no more
}

// Available says why FUSE cannot be used by this process; nil if it seems that it can.
func Available() error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return f.Close()
}

// Serve mounts layers below the directory dir, which is made. Dirs are what overlayfs takes. The contents are closed when the kernel
// needs them no more, and when Serve fails.
//
// Once an overlay is mounted on them, Detach takes the mount away: the overlay keeps what it is made of. So nothing is left to
// be unmounted but the overlay itself, whose end is the end of the server too. Where this process dies, the kernel answers whoever
// still asks with an error, unless a thread of this process waits for an answer itself (docs/observed.md).
func Serve(dir string, layers []Layer) (m *Mount, err error) {
	fs := newFileSystem(layers)
	defer func() {
		if err != nil {
			fs.close()
		}
	}()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("serving layers: %w", err)
	}
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: opening %s: %w", ErrUnavailable, device, err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,allow_other,default_permissions,max_read=%d",
		fd, os.Geteuid(), os.Getegid(), maxRead)
	// Read-only, so that reading a file makes nothing stale; no devices, which an overlay never opens here.
	flags := uintptr(unix.MS_RDONLY | unix.MS_NOATIME | unix.MS_NOSUID | unix.MS_NODEV)
	if err := unix.Mount("strata", dir, "fuse.strata", flags, options); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%w: mounting: %w", ErrUnavailable, err)
	}
	m = &Mount{dir: dir, attached: true, fs: fs, done: make(chan struct{})}
	server, err := fuse.NewServer(fs, "/dev/fd/"+strconv.Itoa(fd), &fuse.MountOptions{
		MaxWrite: maxRead, MaxReadAhead: maxRead, DisableReadDirPlus: true, EnableSymlinkCaching: true,
		ExplicitDataCacheControl: true, DisableSplice: true,
		Name: "strata", Logger: log.New(io.Discard, "", 0),
	})
	if err != nil { // which has closed the descriptor
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrUnavailable, err), m.Detach())
	}
	go func() {
		defer close(m.done)
		server.Serve()
		fs.close()
	}()
	m.readAhead()
	return m, nil
}

// readAhead has the kernel read files of up to maxRead bytes at once. Without it, it asks more often.
func (m *Mount) readAhead() {
	// Without asking the server, which is this process: if it is killed while it waits for itself, it waits for ever.
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, m.dir, unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st) != nil {
		return
	}
	name := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", st.Dev_major, st.Dev_minor)
	_ = os.WriteFile(name, []byte(strconv.Itoa(maxRead>>10)), 0)
}

// Dir is the directory of a layer, by its place among those that are served.
func (m *Mount) Dir(i int) string { return filepath.Join(m.dir, strconv.Itoa(i)) }

// Detach takes the mount off its directory. A second call does nothing.
func (m *Mount) Detach() error {
	if !m.attached {
		return nil
	}
	m.attached = false
	if err := unix.Unmount(m.dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmounting served layers: %w", err)
	}
	return os.Remove(m.dir)
}

// Err is the first error that somebody was given who read a file: what they did is not what they do with the files that there are.
func (m *Mount) Err() error {
	if err := m.fs.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Done is closed when the last who used the layers has unmounted them.
func (m *Mount) Done() <-chan struct{} { return m.done }

// errno is the number of an error; EIO where it has none.
func errno(err error) fuse.Status {
	var n syscall.Errno
	if errors.As(err, &n) {
		return fuse.Status(n)
	}
	return fuse.EIO
}
