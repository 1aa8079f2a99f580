package identity

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// In a user name space with one number all files are of one user on the disk, who is root in the name space. Whose a
// file is in the image is noted beside it: in an attribute, which overlayfs copies up with the file. Only files and
// directories can have one (xattr(7), "Extended user attributes"). The owners of the others, links and named pipes, are
// those of the layer's table of contents; while a step runs they are in a Ledger.

// OwnerXattr is the attribute that says whose a file is, where the owners are noted beside the files. What is root's
// has none, but devices do.
const OwnerXattr = "user.strata.owner"

// DeviceXattr is the attribute that says which device an empty file stands for.
const DeviceXattr = deviceMark

// OneID is the name (Identity.Name) of the identity of a user who is alone in a user name space.
func OneID(uid, gid int) string {
	return fmt.Sprintf("users 0=%d, groups 0=%d", uid, gid)
}

// noted are the owners on the disk where they are noted beside the files: all are root of the name space.
type noted struct{}

func (noted) Disk(Owner) (Owner, error) { return Owner{}, nil }

func (noted) Image(Owner) Owner { return Owner{} }

// Marked says that owners are noted beside the files (OwnerMark).
func (id *Identity) Marked() bool { return id.place.marked() }

// StandsForDevices says that no devices can be made here, and empty files stand for them (Device).
func (id *Identity) StandsForDevices() bool { return id.place.mapped }

// String is the form that ParseOwner reads.
func (o Owner) String() string { return fmt.Sprintf("%d %d", uint32(o.UID), uint32(o.GID)) }

// ParseOwner reads the value of an OwnerMark; false if it says no owner.
func ParseOwner(text string) (Owner, bool) {
	users, groups, _ := strings.Cut(text, " ")
	uid, err := strconv.ParseUint(users, 10, 32)
	gid, gerr := strconv.ParseUint(groups, 10, 32)
	return Owner{int(uid), int(gid)}, err == nil && gerr == nil
}

// NoteOf is the value of OwnerXattr on a file of an owner of an image; false where there is none.
func (id *Identity) NoteOf(o Owner) (value string, ok bool) {
	return o.String(), id.Marked() && o != (Owner{})
}

// MarkDevice makes an open empty file stand for a device. Where owners are noted, every device has a note, so that who
// looks for owners finds devices.
func (id *Identity) MarkDevice(fd int, d Device) error {
	err := unix.Fsetxattr(fd, deviceMark, []byte(d.String()), 0)
	if err == nil && id.Marked() {
		err = unix.Fsetxattr(fd, OwnerXattr, []byte(Owner{}.String()), 0)
	}
	return err
}

// noteOwner notes the owner of what has a name in the open directory at. What can have no note goes without.
func noteOwner(at int, name string, o Owner) error {
	path := name
	if at != unix.AT_FDCWD {
		path = fmt.Sprintf("/proc/self/fd/%d/%s", at, name)
	}
	err := note(path, o, links{unix.Lsetxattr, unix.Lgetxattr, unix.Lremovexattr})
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	var st unix.Stat_t
	if serr := unix.Lstat(path, &st); serr != nil || HasNote(st.Mode) {
		return errors.Join(err, serr)
	}
	return nil
}

// Note notes the owner of a file that can have a note (HasNote), at a path of which the last link is followed.
func Note(path string, o Owner) error {
	return note(path, o, links{unix.Setxattr, unix.Getxattr, unix.Removexattr})
}

// links are the calls that follow a link at the end of a path, or those that do not.
type links struct {
	set    func(path, name string, value []byte, flags int) error
	get    func(path, name string, value []byte) (int, error)
	remove func(path, name string) error
}

func note(path string, o Owner, call links) error {
	if o != (Owner{}) {
		return call.set(path, OwnerXattr, []byte(o.String()), 0)
	}
	if n, err := call.get(path, DeviceXattr, nil); err == nil && n > 0 {
		return call.set(path, OwnerXattr, []byte(o.String()), 0)
	}
	if err := call.remove(path, OwnerXattr); !errors.Is(err, unix.ENODATA) {
		return err
	}
	return nil
}

// HasNote says whether a file of this mode, as stat(2) has it, can have a note of its owner.
func HasNote(mode uint32) bool {
	kind := mode & unix.S_IFMT
	return kind == unix.S_IFREG || kind == unix.S_IFDIR
}
