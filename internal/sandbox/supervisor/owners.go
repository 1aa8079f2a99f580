package supervisor

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/identity"
)

// ownerOf is whose an open file is: what is noted, or what the kernel says.
func (s *Supervisor) ownerOf(fd int, st *unix.Stat_t) identity.Owner {
	if o, ok := s.noted(self(fd), fd); ok {
		return o
	}
	return identity.Owner{UID: int(st.Uid), GID: int(st.Gid)}
}

// noted is what is noted of the owner of the file path, which is open as fd where that is not -1.
func (s *Supervisor) noted(path string, fd int) (identity.Owner, bool) {
	var note [32]byte
	if n, err := unix.Getxattr(path, identity.OwnerXattr, note[:]); err == nil {
		return identity.ParseOwner(string(note[:n]))
	}
	if fd < 0 || s.Ledger.Empty() {
		return identity.Owner{}, false
	}
	return s.Ledger.Lookup(fd, "")
}

// note notes whose an open file is.
func (s *Supervisor) note(fd int, st *unix.Stat_t, o identity.Owner) error {
	if identity.HasNote(st.Mode) {
		err := identity.Note(self(fd), o)
		if !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	return s.Ledger.Note(fd, "", o)
}

// changeOwner answers chown and its kin. The IDs are in the arguments from first on.
func changeOwner(f from, path, first int, flags func(*call) int) func(*call) answer {
	return func(c *call) answer {
		fd, err := c.target(f, path, flags(c))
		if err != nil {
			return fail(err)
		}
		defer unix.Close(fd)
		if err := c.giveAway(fd, uint32(c.argument[first]), uint32(c.argument[first+1])); err != nil {
			return fail(err)
		}
		return answer{}
	}
}

// noPath stands for the argument of a call that takes a descriptor only.
const noPath = -1

// target opens what a call that takes flags of fstatat(2) names.
func (c *call) target(f from, path, flags int) (int, error) {
	name := ""
	if path != noPath {
		var err error
		if name, err = c.text(path); err != nil {
			return -1, err
		}
		if name == "" && flags&unix.AT_EMPTY_PATH == 0 {
			return -1, unix.ENOENT
		}
	}
	restore, err := c.place.as(c.pid)
	if err != nil {
		return -1, err
	}
	defer restore()
	return c.file(f, name, flags&unix.AT_SYMLINK_NOFOLLOW == 0)
}

// giveAway gives an open file to other owners, by the rules of chown(2).
func (c *call) giveAway(fd int, uid, gid uint32) error {
	who, err := c.users.of(int(c.pid))
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	was := c.ownerOf(fd, &st)
	next := was
	if uid != unchanged {
		next.UID = int(uid)
	}
	if gid != unchanged {
		next.GID = int(gid)
	}
	if !c.may(who, "CAP_CHOWN") && (int(who.uid.files) != was.UID || next.UID != was.UID || next.GID != was.GID && !who.in(uint32(next.GID))) {
		return unix.EPERM
	}
	if !c.waits() {
		return unix.ESRCH
	}
	// The file stays root's of the name space; the kernel sees to all else that chown does: whether the file may be
	// changed at all, its time, its set-user-ID bit and its capabilities.
	if err := unix.Fchownat(fd, "", root(uid), root(gid), unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	return c.note(fd, &st, next)
}

// root is root where an ID is given, and -1 where not.
func root(id uint32) int {
	if id == unchanged {
		return -1
	}
	return 0
}

// tellStatus answers stat and its kin for files whose owner is noted.
func tellStatus(f from, path, into int, flags func(*call) int) func(*call) answer {
	return tell(f, path, flags, func(c *call, fd int, o identity.Owner, d *identity.Device) answer {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return fail(err)
		}
		st.Uid, st.Gid = uint32(o.UID), uint32(o.GID)
		if d != nil {
			st.Mode = st.Mode&^unix.S_IFMT | kindOf(d)
			st.Rdev = unix.Mkdev(d.Major, d.Minor)
		}
		if err := c.write(c.argument[into], bytesOf(&st)); err != nil {
			return fail(err)
		}
		return answer{}
	})
}

// tellStatx answers statx.
func tellStatx(c *call) answer {
	return tell(at(0), 1, inFlags(2), func(c *call, fd int, o identity.Owner, d *identity.Device) answer {
		var st unix.Statx_t
		flags := int(c.argument[2])&^unix.AT_SYMLINK_NOFOLLOW | unix.AT_EMPTY_PATH
		if err := unix.Statx(fd, "", flags, int(c.argument[3]), &st); err != nil {
			return fail(err)
		}
		st.Uid, st.Gid = uint32(o.UID), uint32(o.GID)
		if d != nil {
			st.Mode = st.Mode&^unix.S_IFMT | uint16(kindOf(d))
			st.Rdev_major, st.Rdev_minor = d.Major, d.Minor
		}
		if err := c.write(c.argument[4], bytesOf(&st)); err != nil {
			return fail(err)
		}
		return answer{}
	})(c)
}

// tell has write tell of a file whose owner is noted. Of all others the kernel tells.
func tell(f from, path int, flags func(*call) int, write func(*call, int, identity.Owner, *identity.Device) answer) func(*call) answer {
	return func(c *call) answer {
		if path == noPath && c.Ledger.Empty() { // without opening it
			if _, ok := c.noted(f.name(c), -1); !ok {
				return pass
			}
		}
		fd, err := c.target(f, path, flags(c))
		if err != nil {
			return pass
		}
		defer unix.Close(fd)
		o, ok := c.noted(self(fd), fd)
		if !ok {
			return pass
		}
		return write(c, fd, o, deviceOf(fd))
	}
}

// deviceOf is the device that an open file stands for, nil if it is what it is.
func deviceOf(fd int) *identity.Device {
	var note [64]byte
	n, err := unix.Getxattr(self(fd), identity.DeviceXattr, note[:])
	if err != nil {
		return nil
	}
	d, ok := identity.ParseDevice(string(note[:n]))
	if !ok {
		return nil
	}
	return &d
}

func kindOf(d *identity.Device) uint32 {
	if d.Block {
		return unix.S_IFBLK
	}
	return unix.S_IFCHR
}

// listAttributes answers listxattr and its kin, so that the notes are not copied from file to file.
func listAttributes(f from, path int, flags func(*call) int) func(*call) answer {
	return func(c *call) answer {
		fd, err := c.target(f, path, flags(c))
		if err != nil {
			return pass
		}
		defer unix.Close(fd)
		var buf [4096]byte
		n, err := unix.Listxattr(self(fd), buf[:])
		if err != nil {
			return pass
		}
		var shown strings.Builder
		for name := range strings.SplitAfterSeq(string(buf[:n]), "\x00") {
			if name != identity.OwnerXattr+"\x00" && name != identity.DeviceXattr+"\x00" {
				shown.WriteString(name)
			}
		}
		switch room := c.argument[2]; {
		case shown.Len() == n:
			return pass
		case room != 0 && room < uint64(shown.Len()):
			return fail(unix.ERANGE)
		case room != 0 && shown.Len() > 0:
			if err := c.write(c.argument[1], []byte(shown.String())); err != nil {
				return fail(err)
			}
		}
		return answer{value: int64(shown.Len())}
	}
}

// Flags of a call: those in an argument, or always the same.
func inFlags(argument int) func(*call) int {
	return func(c *call) int { return int(uint32(c.argument[argument])) }
}

func always(flags int) func(*call) int { return func(*call) int { return flags } }
