package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/docker/go-units"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Room is what a file system has left, as statfs(2) counts it.
type Room struct {
	Free, Size      int64 // in bytes
	Inodes, Entries int64 // free inodes, and all; Entries is 0 where the file system makes them as it needs them, as btrfs does
	Where           string
}

// RoomAt measures the file system of path.
func RoomAt(path string) (*Room, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return nil, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return &Room{
		Free: int64(st.Bavail) * st.Bsize, Size: int64(st.Blocks) * st.Bsize,
		Inodes: int64(st.Ffree), Entries: int64(st.Files), Where: fileSystem(path),
	}, nil
}

// fewInodes are as good as none.
const fewInodes = 16

func (r *Room) lacksInodes() bool { return r.Entries > 0 && r.Inodes < fewInodes }

// Full is how many bytes of a file system are free at most where it counts as full. A step that fills it by writes of
// 64 KiB leaves some free.
const Full = 1 << 18

// full says that there is no room for a small file or folder.
func (r *Room) full() bool { return r.lacksInodes() || r.Free < Full }

// Fits says whether the file system of the folder dir takes a file of size bytes and a few more, by trying: root may
// have more than statfs counts.
func Fits(dir string, size int64) bool {
	room, err := RoomAt(dir)
	if err != nil || room.lacksInodes() {
		return err != nil
	}
	// A file without a name, of which nothing stays if this process is killed.
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) { // open(2)
		return room.Free > size
	}
	if err == nil {
		f := os.NewFile(uintptr(fd), dir)
		err = errors.Join(allocate(f, size), f.Close())
	}
	return !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT)
}

// String says what is short.
func (r *Room) String() string {
	if r.lacksInodes() {
		return fmt.Sprintf("the file system %s has no inodes left for files (%d of %d are free)", r.Where, r.Inodes, r.Entries)
	}
	return fmt.Sprintf("the file system %s has no space left (%s of %s are free)",
		r.Where, units.HumanSize(float64(r.Free)), units.HumanSize(float64(r.Size)))
}

// fileSystem is the name of the file system of path for people: where it is mounted, its type and its device.
func fileSystem(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	var best *mountinfo.Info
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(path))
	if err != nil {
		return "of " + path
	}
	for _, m := range mounts {
		if best == nil || len(m.Mountpoint) >= len(best.Mountpoint) { // of two at one place, the later one is on top
			best = m
		}
	}
	if best == nil {
		return "of " + path
	}
	return fmt.Sprintf("%s (%s on %s)", best.Mountpoint, best.FSType, best.Source)
}

// ReadOnly says that nothing can be written to an existing folder: its file system is mounted read-only, or
// the person has no right to.
func ReadOnly(dir string) bool {
	err := unix.Access(dir, unix.W_OK)
	return errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES)
}

// ReadOnlyError is what writing to a store gives that cannot be written to.
type ReadOnlyError struct{ Root string }

func (e *ReadOnlyError) Error() string {
	return fmt.Sprintf("the store %s is read-only, it can be looked at only; make it writable, for instance with: mount -o remount,rw %s, or set STRATA_ROOT to another folder",
		e.Root, mountPoint(e.Root))
}

// Is has errors.Is find syscall.EROFS.
func (e *ReadOnlyError) Is(target error) bool { return target == syscall.EROFS }

func mountPoint(path string) string {
	where, _, _ := strings.Cut(fileSystem(path), " (")
	return strings.TrimPrefix(where, "of ")
}
