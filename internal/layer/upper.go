package layer

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Mounted is a merged state whose layers are the lower directories of an overlay, the topmost first: its files have
// the times that are on the disk, which are finer than a table's. A layer that is no directory, but the index of a
// tar, has "": its times are those of its table. A directory that is there no more is passed over.
type Mounted struct {
	*Stack
	Dirs []string
}

// Capabilities adds ModTime to those of the Stack.
func (m Mounted) Capabilities() Capabilities {
	can := m.Stack.Capabilities()
	can.ModTime = m.modTime
	return can
}

func (m Mounted) modTime(path string) time.Time {
	if at, ok := m.tableTime(path); ok {
		return at
	}
	for i, dir := range m.Dirs {
		if dir == "" || i > 0 && dir == m.Dirs[i-1] { // which stands for several layers
			continue
		}
		root, err := openRoot(dir)
		if err != nil {
			continue // it was there only as long as the overlay
		}
		at, err := modTimeBeneath(root, path)
		unix.Close(root)
		if !errors.Is(err, fs.ErrNotExist) {
			return at
		}
	}
	return time.Time{}
}

// tableTime is the time of a path that comes from a layer without a directory.
func (m Mounted) tableTime(path string) (time.Time, bool) {
	c := &cursors{}
	i, err := m.find(context.Background(), c, path) // what is below was read before it was mounted
	if err != nil {
		return time.Time{}, false
	}
	at := m.index[i]
	if dir := len(m.Dirs) - 1 - int(at.layer); at.layer < 0 || dir < 0 || m.Dirs[dir] != "" {
		return time.Time{}, false
	}
	return time.Unix(m.peek(c, i).ModTime, 0), true
}

// modTimeBeneath is the time of a path under root; the zero time with an error.
func modTimeBeneath(root int, path string) (time.Time, error) {
	fd, err := openBeneath(root, path, unix.O_PATH)
	if err != nil {
		return time.Time{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return time.Time{}, err
	}
	return time.Unix(st.Mtim.Unix()), nil
}

// newUpperComparer compares an upper directory with what is below it. Times are compared to the nanosecond, where the
// lower one is known; else only those without nanoseconds are equal, which a tar gave.
func newUpperComparer(ctx context.Context, root int, below Tree) *comparer {
	return &comparer{
		ctx: ctx, below: below,
		sum: func(ctx context.Context, e *Entry) (digest.Digest, error) {
			read := *e
			open := func(context.Context, *Entry) (io.ReadCloser, error) { return openFileBeneath(root, e.Path) }
			err := sumFiles(ctx, []*Entry{&read}, open)
			return read.Digest, err
		},
		sameTime: func(path string) (bool, error) {
			now, err := modTimeBeneath(root, path)
			if err != nil {
				return false, err
			}
			if modTime := below.Capabilities().ModTime; modTime != nil {
				if lower := modTime(path); !lower.IsZero() {
					return lower.Equal(now), nil
				}
			}
			return now.Nanosecond() == 0, nil
		},
	}
}

// removeUnchanged removes entries from an upper directory; the directories that they are in keep their times.
// Directories stay if they hold something that is in no table, such as a socket.
func removeUnchanged(root int, unchanged []*Entry) error {
	for _, e := range slices.Backward(unchanged) { // what a directory holds goes before it
		if err := removeBeneath(root, e); err != nil {
			return &fs.PathError{Op: "remove", Path: e.Path, Err: err}
		}
	}
	return nil
}

func removeBeneath(root int, e *Entry) error {
	dir, err := openBeneath(root, Parent(e.Path), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return err
	}
	flags := 0
	if e.Type == Dir {
		flags = unix.AT_REMOVEDIR
	}
	switch err := unix.Unlinkat(dir, path.Base(e.Path), flags); {
	case flags != 0 && (errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST)):
		return nil
	case err != nil:
		return err
	}
	return unix.UtimesNanoAt(dir, ".", []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}
