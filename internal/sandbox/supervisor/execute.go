package supervisor

import (
	"golang.org/x/sys/unix"
)

// execute has a process stand for whom a program makes of it, before the kernel executes the program: a set-user-ID
// program's owner (execve(2)).
func execute(f from, path int, flags func(*call) int) func(*call) answer {
	return func(c *call) answer {
		who, err := c.users.of(int(c.pid))
		if err != nil {
			return pass
		}
		next := *who
		c.setIDs(&next, f, path, flags(c))
		next.uid.saved, next.uid.files = next.uid.effective, next.uid.effective
		next.gid.saved, next.gid.files = next.gid.effective, next.gid.effective
		if (next.uid != who.uid || next.gid != who.gid) && c.waits() {
			_ = c.users.set(int(c.pid), &next)
		}
		return pass
	}
}

// setIDs takes the owner of a set-user-ID program. The kernel does not heed the bits of scripts.
func (c *call) setIDs(next *Credentials, f from, path, flags int) {
	if c.NoNewPrivileges {
		return
	}
	fd, err := c.target(f, path, flags)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&(unix.S_ISUID|unix.S_ISGID) == 0 || isScript(fd) {
		return
	}
	owner := c.ownerOf(fd, &st)
	if st.Mode&unix.S_ISUID != 0 {
		next.uid.effective = uint32(owner.UID)
	}
	if st.Mode&(unix.S_ISGID|unix.S_IXGRP) == unix.S_ISGID|unix.S_IXGRP {
		next.gid.effective = uint32(owner.GID)
	}
}

// isScript says that a program, which is open for looking at only, is run by another one.
func isScript(fd int) bool {
	file, err := unix.Open(self(fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(file)
	var start [2]byte
	n, err := unix.Pread(file, start[:], 0)
	return err == nil && n == len(start) && string(start[:]) == "#!"
}
