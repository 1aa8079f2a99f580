// Package tracefs serves layers to overlayfs through FUSE, and notes what is asked of them. It takes layers as their
// tables of contents, with the tar or the tree that their files are read from; it gives a directory for each, which
// overlayfs takes as a lower layer, and at the end what was asked (package layer/observed).
//
// Names and attributes come from memory, contents from the layer's tar or tree. Nothing ever changes, so the kernel
// asks each thing once: entries, attributes and names that are not there are good for an hour, OPEN, OPENDIR and FLUSH
// are answered with ENOSYS, after which the kernel asks none of them again (fuse.h, FUSE_NO_OPEN_SUPPORT) and keeps the
// pages of files. So are extended attributes where no file has any (xattr.go). A file that is read costs one LOOKUP and
// one READ, and less where a step walks through all files (ahead.go).
//
// The layers are served by a process of its own, the server (server.go), which never touches what it serves. A process
// that did both would wait for itself in the kernel: killed at that moment, it could not end, and what it serves
// neither.
package tracefs

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
)

// ErrUnavailable says that FUSE cannot be used: the kernel lacks it, or this process may not use it.
var ErrUnavailable = errors.New("FUSE is not available")

// ErrFailed says that somebody was given an error who read a file, or that the server has ended: what they did is not
// what they do with the files that there are.
var ErrFailed = errors.New("files could not be served")

// device is what the kernel talks to FUSE servers through.
const device = "/dev/fuse"

// Layer is a layer that is served.
type Layer struct {
	TOC  *layer.TOC
	View *observed.View // of TOC
	// Files is the layer's tar, at whose Offsets the files are, or the directory of its tree.
	Files *os.File
	// Below has the entries that show at the directories that TOC has none for. Where it has none either, such a
	// directory is 0755 and belongs to root.
	Below *layer.TOC
	// Bring, if not nil, sees to it that a part of Files is there before it is read: size bytes from at on. Where it
	// fails, so does the reading. It is called from several goroutines, until the Mount is closed.
	Bring func(at, size int64) error
}

// Mount is what serves layers.
type Mount struct {
	dir      string
	attached bool
	views    []*observed.View
	server   *net.UnixConn // to what of the server serves this mount
	lists    *net.UnixConn // from it, what is to be listed
	wants    *net.UnixConn // from it, what is to be brought
}

// Available says why FUSE cannot be used by this process; nil if it seems that it can.
func Available() error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return f.Close()
}

// Serve serves layers below the directory dir, which is made. Dirs are what overlayfs takes. The layers' files stay the
// caller's to close. Who has the Mount closes it.
//
// Once an overlay is mounted on them, Detach takes the mount away: the overlay keeps what it is made of. So nothing is
// left to be unmounted but the overlay itself. Where this process dies, or the server, the kernel answers whoever still
// asks with an error.
func Serve(dir string, layers []Layer) (*Mount, error) {
	if err := Available(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("serving layers: %w", err)
	}
	m := &Mount{dir: dir}
	if err := m.serve(layers); err != nil {
		return nil, errors.Join(err, m.Detach(), m.Close())
	}
	m.readAhead()
	return m, nil
}

func (m *Mount) serve(layers []Layer) (err error) {
	if m.server, err = connect(); err != nil {
		return fmt.Errorf("%w: starting the process that serves layers: %w", ErrUnavailable, err)
	}
	for i := range layers {
		if err := m.offer(&layers[i]); err != nil {
			return fmt.Errorf("%w: serving layers: %w", ErrUnavailable, err)
		}
		m.views = append(m.views, layers[i].View)
	}
	at, err := unix.Open(m.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("serving layers: %w", err)
	}
	defer unix.Close(at)
	lists, theirs, err := pair()
	if err != nil {
		return fmt.Errorf("serving layers: %w", err)
	}
	defer theirs.Close()
	wants, theirWants, err := pair()
	if err != nil {
		lists.Close()
		return fmt.Errorf("serving layers: %w", err)
	}
	defer theirWants.Close()
	m.attached, m.lists, m.wants = true, lists, wants // perhaps: an answer that does not come leaves that open
	go bringWants(wants, layers)
	if _, err := ask(m.server, request{What: mountThem}, at, int(theirs.Fd()), int(theirWants.Fd())); err != nil {
		return fmt.Errorf("%w: mounting: %w", ErrUnavailable, err)
	}
	root, err := unix.Open(m.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("serving layers: %w", err)
	}
	go listDirectories(lists, root)
	return nil
}

// offer gives the server a layer.
func (m *Mount) offer(l *Layer) error {
	toc, err := tocFile(l.TOC)
	if err != nil {
		return err
	}
	defer toc.Close()
	below, err := tocFile(l.Below)
	if err != nil {
		return err
	}
	defer below.Close()
	_, err = ask(m.server, request{What: takeLayer, Lazy: l.Bring != nil}, int(toc.Fd()), int(below.Fd()), int(l.Files.Fd()))
	return err
}

// readAhead has the kernel read files of up to maxRead bytes at once. Without it, it asks more often.
func (m *Mount) readAhead() {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, m.dir, unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st) != nil {
		return
	}
	name := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", st.Dev_major, st.Dev_minor)
	_ = os.WriteFile(name, []byte(strconv.Itoa(maxRead>>10)), 0)
}

// Dir is the directory of a layer, by its place among those that are served.
func (m *Mount) Dir(i int) string { return filepath.Join(m.dir, strconv.Itoa(i)) }

// Detach takes the mount off its directory, and removes that. A second call does nothing.
func (m *Mount) Detach() error {
	if m.attached {
		m.attached = false
		// EINVAL: nothing came to be mounted there.
		if err := unix.Unmount(m.dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmounting served layers: %w", err)
		}
	}
	if err := os.Remove(m.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unmounting served layers: %w", err)
	}
	return nil
}

// Asked is what was asked of each layer until now, in their order. The error is an ErrFailed.
func (m *Mount) Asked() ([]*observed.Recorder, error) {
	files, err := ask(m.server, request{What: tellAsked})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	defer closeAll(files)
	if len(files) != 1 {
		return nil, fmt.Errorf("%w: the process that serves them answered with %d files", ErrFailed, len(files))
	}
	recorders := make([]*observed.Recorder, len(m.views))
	for i, v := range m.views {
		recorders[i] = observed.NewRecorder(v)
	}
	if err := readAsked(files[0], recorders); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return recorders, nil
}

// Close has the server forget the mount when the last who uses the layers has unmounted them. A second call does
// nothing.
func (m *Mount) Close() error {
	if m.server == nil {
		return nil
	}
	err := m.server.Close()
	m.server = nil
	if m.lists != nil {
		err = errors.Join(err, m.lists.Close(), m.wants.Close())
	}
	return err
}
