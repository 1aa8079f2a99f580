package supervisor

import (
	"errors"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/identity"
)

// What root makes is root's, as it is on the disk. What another user makes, or what is made in a directory that gives
// its group on, is made by the supervisor, which notes whose it is.

// maxLinks is how many links the kernel follows in a path (MAXSYMLINKS).
const maxLinks = 40

// spot is where something is to be made.
type spot struct {
	dir   int // open, for no more than names in it
	name  string
	owner identity.Owner
}

func (p *spot) close() { unix.Close(p.dir) }

// spot finds where a call makes something, with the root of the process taken on until done; ok is false where the
// kernel may make it.
func (c *call) spot(f from, argument int) (p *spot, done func(), ok bool) {
	name, err := c.text(argument)
	if err != nil || name == "" {
		return nil, nil, false
	}
	restore, err := c.place.as(c.pid)
	if err != nil {
		return nil, nil, false
	}
	from, closeFrom, err := c.directory(f, name)
	if err != nil {
		restore()
		return nil, nil, false
	}
	defer closeFrom()
	if p = c.in(from, name); p == nil {
		restore()
		return nil, nil, false
	}
	return p, func() { p.close(); restore() }, true
}

// in is the spot of a path that is taken from an open directory; nil where the kernel may make what is made there.
func (c *call) in(from int, name string) *spot {
	dir, base := path.Split(strings.TrimRight(name, "/"))
	if base == "" || base == "." || base == ".." {
		return nil
	}
	if dir == "" {
		dir = "."
	}
	who, err := c.users.of(int(c.pid))
	if err != nil {
		return nil
	}
	owner := identity.Owner{UID: int(who.uid.files), GID: int(who.gid.files)}
	var st unix.Stat_t
	if owner == (identity.Owner{}) { // mostly: then the directory is not opened
		if err := unix.Fstatat(from, c.ownProc(dir), &st, 0); err != nil || st.Mode&unix.S_ISGID == 0 {
			return nil
		}
	}
	fd, err := unix.Openat(from, c.ownProc(dir), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	if err := unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_ISGID != 0 {
		owner.GID = c.ownerOf(fd, &st).GID
	}
	if owner == (identity.Owner{}) {
		unix.Close(fd)
		return nil
	}
	return &spot{fd, base, owner}
}

// mode is a mode without what the process's umask takes.
func (c *call) mode(mode uint64) uint32 {
	mask, err := strconv.ParseUint(c.status("Umask"), 8, 32)
	if err != nil {
		mask = 0o022
	}
	return uint32(mode &^ mask & 0o7777)
}

// owned notes whose what was just made at a spot is.
func (c *call) owned(p *spot) error {
	fd, err := unix.Openat(p.dir, p.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	return c.note(fd, &st, p.owner)
}

// made answers a call that has made something, or not.
func (c *call) made(p *spot, err error) answer {
	if err == nil {
		err = c.owned(p)
	}
	if err != nil {
		return fail(err)
	}
	return answer{}
}

// makeDirectory answers mkdir and mkdirat.
func makeDirectory(f from, path int) func(*call) answer {
	return func(c *call) answer {
		p, done, ok := c.spot(f, path)
		if !ok {
			return pass
		}
		defer done()
		mode := c.mode(c.argument[path+1])
		if !c.waits() {
			return fail(unix.ESRCH)
		}
		return c.made(p, unix.Mkdirat(p.dir, p.name, mode&0o1777))
	}
}

// makeLink answers symlink and symlinkat.
func makeLink(f from, path int) func(*call) answer {
	return func(c *call) answer {
		to, err := c.text(0)
		if err != nil || to == "" {
			return pass
		}
		p, done, ok := c.spot(f, path)
		if !ok {
			return pass
		}
		defer done()
		if !c.waits() {
			return fail(unix.ESRCH)
		}
		return c.made(p, unix.Symlinkat(to, p.dir, p.name))
	}
}

// makeNode answers mknod and mknodat. A device is an empty file that stands for one, which opens as such.
func makeNode(f from, path int) func(*call) answer {
	return func(c *call) answer {
		kind, number := uint32(c.argument[path+1])&unix.S_IFMT, uint64(uint32(c.argument[path+2]))
		device := (kind == unix.S_IFCHR || kind == unix.S_IFBLK) && !(kind == unix.S_IFCHR && number == 0)
		if device {
			return c.makeDevice(f, path, identity.Device{Block: kind == unix.S_IFBLK, Major: unix.Major(number), Minor: unix.Minor(number)})
		}
		if c.User == nil || kind != unix.S_IFIFO && kind != unix.S_IFREG && kind != 0 {
			return pass
		}
		p, done, ok := c.spot(f, path)
		if !ok {
			return pass
		}
		defer done()
		mode := c.mode(c.argument[path+1])
		if !c.waits() {
			return fail(unix.ESRCH)
		}
		return c.made(p, unix.Mknodat(p.dir, p.name, kind|mode, 0))
	}
}

func (c *call) makeDevice(f from, argument int, d identity.Device) answer {
	if may, err := c.mayMakeDevices(); err != nil {
		return fail(err)
	} else if !may {
		return fail(unix.EPERM)
	}
	name, err := c.text(argument)
	if err != nil {
		return fail(err)
	}
	restore, err := c.place.as(c.pid)
	if err != nil {
		return fail(err)
	}
	defer restore()
	dir, done, err := c.directory(f, name)
	if err != nil {
		return fail(err)
	}
	defer done()
	mode := c.mode(c.argument[argument+1])
	var p *spot
	if c.User != nil {
		p = c.in(dir, name)
	}
	if p != nil {
		defer p.close()
		dir, name = p.dir, p.name
	}
	if !c.waits() {
		return fail(unix.ESRCH)
	}
	fd, err := unix.Openat(dir, c.ownProc(name), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	if err := identity.Current().MarkDevice(fd, d); err != nil {
		return fail(err)
	}
	if c.User == nil {
		// The kernel gives a file to the user and group that count for files: the last of the four.
		if err := unix.Fchown(fd, c.statusNumber("Uid", 3), c.statusNumber("Gid", 3)); err != nil {
			return fail(err)
		}
	}
	if p == nil {
		return answer{}
	}
	return c.made(p, nil)
}

// open answers the calls that may make a file. flags and mode are arguments; without flags the call is creat.
func open(f from, path, flags, mode int) func(*call) answer {
	return func(c *call) answer {
		how := unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC}
		if flags != noFlags {
			how.Flags = uint64(uint32(c.argument[flags]))
		}
		how.Mode = c.argument[mode]
		return c.open(f, path, &how)
	}
}

// noFlags stands for the argument that creat has not.
const noFlags = -1

// openHow answers openat2, for what no way of looking up paths is asked of.
func openHow(c *call) answer {
	var how unix.OpenHow
	if n, err := c.read(c.argument[2], bytesOf(&how)); err != nil || n < len(bytesOf(&how)) {
		return pass
	}
	if how.Flags&creates == 0 || how.Resolve != 0 {
		return pass
	}
	return c.open(at(0), 1, &how)
}

// tmpFile is the bit of O_TMPFILE that is its own.
const tmpFile = unix.O_TMPFILE &^ unix.O_DIRECTORY

// creates are the flags with which open may make a file.
const creates = unix.O_CREAT | tmpFile

func (c *call) open(f from, argument int, how *unix.OpenHow) answer {
	if how.Flags&tmpFile != 0 {
		return c.openUnnamed(f, argument, how)
	}
	p, done, ok := c.spot(f, argument)
	if !ok {
		return pass
	}
	defer func() { done() }()
	// A link that leads to nothing makes the file where it leads to.
	for range maxLinks {
		var st unix.Stat_t
		err := unix.Fstatat(p.dir, p.name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			return c.make(p, how)
		}
		if err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK || how.Flags&(unix.O_EXCL|unix.O_NOFOLLOW) != 0 {
			return pass // it is there, or cannot be made
		}
		if unix.Fstatat(p.dir, p.name, &st, 0) == nil {
			return pass
		}
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(p.dir, p.name, buf)
		if err != nil || n == len(buf) {
			return pass
		}
		next := c.in(p.dir, string(buf[:n]))
		if next == nil {
			return pass
		}
		p.close()
		*p = *next
	}
	return pass
}

// make makes and opens a file for the process.
func (c *call) make(p *spot, how *unix.OpenHow) answer {
	mode := c.mode(how.Mode)
	if !c.waits() {
		return fail(unix.ESRCH)
	}
	fd, err := unix.Openat(p.dir, p.name, int(how.Flags)|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if errors.Is(err, unix.EEXIST) && how.Flags&unix.O_EXCL == 0 {
		return pass // another process was faster
	}
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	return c.handOver(fd, p.owner, how)
}

// openUnnamed makes a file without a name (O_TMPFILE) in a directory.
func (c *call) openUnnamed(f from, argument int, how *unix.OpenHow) answer {
	who, err := c.users.of(int(c.pid))
	if err != nil {
		return fail(err)
	}
	owner := identity.Owner{UID: int(who.uid.files), GID: int(who.gid.files)}
	if owner == (identity.Owner{}) {
		return pass
	}
	dir, err := c.target(f, argument, 0)
	if err != nil {
		return pass
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, ".", int(how.Flags)|unix.O_CLOEXEC, c.mode(how.Mode))
	if err != nil {
		return pass
	}
	defer unix.Close(fd)
	return c.handOver(fd, owner, how)
}

// handOver notes whose a new file is, and gives it to the process.
func (c *call) handOver(fd int, owner identity.Owner, how *unix.OpenHow) answer {
	var st unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &st), c.note(fd, &st, owner)); err != nil {
		return fail(err)
	}
	return c.give(fd, how.Flags&unix.O_CLOEXEC != 0)
}
