// Package identity decides as whom this process writes and reads the files of images. A layer's files belong to any
// owner, and some are devices; what of it a process can put on a disk, and how, depends on its rights. All that
// depends on them is here: owners, devices, whiteouts, attributes. Modes and times do not, and are set where files
// are made.
package identity

import (
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Owner is a user and a group by number: in an image, or on this machine's disk.
type Owner struct{ UID, GID int }

// Owners says how the owners of an image's files stand on the disk.
type Owners interface {
	// Disk is the owner on the disk of what belongs to an owner of an image; an error where there is none.
	Disk(Owner) (Owner, error)
	// Image is the owner in an image of what belongs to an owner on the disk.
	Image(Owner) Owner
}

// Same is the identity of root: all owners are on the disk as in the image.
type Same struct{}

// Disk implements Owners.
func (Same) Disk(o Owner) (Owner, error) { return o, nil }

// Image implements Owners.
func (Same) Image(o Owner) Owner { return o }

// Identity is as whom a process handles the files of images. It can be used by several goroutines.
type Identity struct {
	owners Owners
	self   Owner // of the files that this process makes
	place  place
}

// New returns the identity of this process with other owners on the disk. In a user name space with too few numbers the
// owners are noted beside the files instead (Marked).
func New(owners Owners) *Identity {
	id := &Identity{owners: owners, self: Owner{os.Geteuid(), os.Getegid()}, place: here()}
	if id.place.marked() {
		id.owners = noted{}
	}
	return id
}

var current atomic.Pointer[Identity]

// Current is the identity of this process: that of its user in its user name space, until Use says another.
func Current() *Identity {
	if id := current.Load(); id != nil {
		return id
	}
	current.CompareAndSwap(nil, New(Same{}))
	return current.Load()
}

// Use makes an identity the process's, and returns what takes it back. It is called before any file is made.
func Use(id *Identity) (restore func()) {
	before := current.Swap(id)
	return func() { current.Store(before) }
}

// OwnerOf is the owner in an image of a file on the disk.
func (id *Identity) OwnerOf(st *unix.Stat_t) Owner {
	return id.owners.Image(Owner{int(st.Uid), int(st.Gid)})
}

// OnDisk is the owner on the disk of what belongs to an owner of an image; an error where there is none.
func (id *Identity) OnDisk(o Owner) (Owner, error) {
	d, err := id.owners.Disk(o)
	if err == nil && !id.place.has(d) {
		err = &OwnerError{o, id.place.ids}
	}
	return d, err
}

// OwnNew gives an open file, which this process has made, to an owner of an image.
func (id *Identity) OwnNew(fd int, o Owner) error {
	d, err := id.OnDisk(o)
	if err != nil || d == id.self {
		if note, ok := id.NoteOf(o); err == nil && ok {
			return unix.Fsetxattr(fd, OwnerXattr, []byte(note), 0)
		}
		return err
	}
	return unix.Fchown(fd, d.UID, d.GID)
}

// Own gives what has a name in the open directory at to an owner of an image. Links are not followed.
func (id *Identity) Own(at int, name string, o Owner) error {
	if id.Marked() {
		return noteOwner(at, name, o)
	}
	d, err := id.OnDisk(o)
	if err != nil {
		return err
	}
	return unix.Fchownat(at, name, d.UID, d.GID, unix.AT_SYMLINK_NOFOLLOW)
}

// OwnPath gives a file to an owner of an image. Links are not followed.
func (id *Identity) OwnPath(path string, o Owner) error {
	if err := id.Own(unix.AT_FDCWD, filepath.Clean(path), o); err != nil {
		return &os.PathError{Op: "chown", Path: path, Err: err}
	}
	return nil
}

// Device makes a device, or a named pipe, that only this process can open until it has its owner and mode. kind is
// S_IFCHR, S_IFBLK or S_IFIFO, without numbers.
//
// In a user name space no devices can be made (user_namespaces(7)): there an empty file stands for one, with an
// attribute that says which (ReadMark). No device opens in a container of ours anyway.
func (id *Identity) Device(at int, name string, kind, major, minor uint32) error {
	if !id.place.mapped || kind == unix.S_IFIFO {
		return unix.Mknodat(at, name, kind|0o600, int(unix.Mkdev(major, minor)))
	}
	fd, err := unix.Openat(at, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return id.MarkDevice(fd, Device{kind == unix.S_IFBLK, major, minor})
}

// Whiteout makes what hides a name of the layers below: a character device 0/0, which anybody may make.
func (id *Identity) Whiteout(at int, name string) error {
	return unix.Mknodat(at, name, unix.S_IFCHR, 0)
}

// MarkOpaque makes a directory hide all that the layers below have in it. The last component of path is not followed.
func (id *Identity) MarkOpaque(path string) error {
	return unix.Lsetxattr(path, id.OpaqueMark(), []byte("y"), 0)
}

// SetXattr sets an extended attribute of an image. The last component of path is not followed.
func (id *Identity) SetXattr(path, name, value string) error {
	return unix.Lsetxattr(path, id.diskXattr(name), []byte(value), 0)
}

// SetXattrNew sets an extended attribute of an image on an open file.
func (id *Identity) SetXattrNew(fd int, name, value string) error {
	return unix.Fsetxattr(fd, id.diskXattr(name), []byte(value), 0)
}
