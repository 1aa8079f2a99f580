//go:build amd64 || arm64

package supervisor

import "golang.org/x/sys/unix"

// rules are the system calls that are asked about.
var rules []rule

func init() {
	created := func(argument int) condition { return condition{argument, creates} }
	rules = append(oldRules(),
		rule{unix.SYS_GETUID, get(func(c *Credentials) uint32 { return c.uid.real }), condition{}},
		rule{unix.SYS_GETEUID, get(func(c *Credentials) uint32 { return c.uid.effective }), condition{}},
		rule{unix.SYS_GETGID, get(func(c *Credentials) uint32 { return c.gid.real }), condition{}},
		rule{unix.SYS_GETEGID, get(func(c *Credentials) uint32 { return c.gid.effective }), condition{}},
		rule{unix.SYS_GETRESUID, getThree(uids), condition{}},
		rule{unix.SYS_GETRESGID, getThree(gids), condition{}},
		rule{unix.SYS_GETGROUPS, getGroups, condition{}},
		rule{unix.SYS_SETUID, user.set(one), condition{}},
		rule{unix.SYS_SETGID, group.set(one), condition{}},
		rule{unix.SYS_SETREUID, user.set(two), condition{}},
		rule{unix.SYS_SETREGID, group.set(two), condition{}},
		rule{unix.SYS_SETRESUID, user.set(three), condition{}},
		rule{unix.SYS_SETRESGID, group.set(three), condition{}},
		rule{unix.SYS_SETFSUID, user.setFiles, condition{}},
		rule{unix.SYS_SETFSGID, group.setFiles, condition{}},
		rule{unix.SYS_SETGROUPS, setGroups, condition{}},

		rule{unix.SYS_FCHOWN, changeOwner(at(0), noPath, 1, always(unix.AT_EMPTY_PATH)), condition{}},
		rule{unix.SYS_FCHOWNAT, changeOwner(at(0), 1, 2, inFlags(4)), condition{}},
		rule{unix.SYS_FSTAT, tellStatus(at(0), noPath, 1, always(unix.AT_EMPTY_PATH)), condition{}},
		rule{unix.SYS_NEWFSTATAT, tellStatus(at(0), 1, 2, inFlags(3)), condition{}},
		rule{unix.SYS_STATX, tellStatx, condition{}},
		rule{unix.SYS_LISTXATTR, listAttributes(cwd, 0, always(0)), condition{}},
		rule{unix.SYS_LLISTXATTR, listAttributes(cwd, 0, always(unix.AT_SYMLINK_NOFOLLOW)), condition{}},
		rule{unix.SYS_FLISTXATTR, listAttributes(at(0), noPath, always(unix.AT_EMPTY_PATH)), condition{}},

		rule{unix.SYS_OPENAT, open(at(0), 1, 2, 3), created(2)},
		rule{unix.SYS_OPENAT2, openHow, condition{}},
		rule{unix.SYS_MKDIRAT, makeDirectory(at(0), 1), condition{}},
		rule{unix.SYS_SYMLINKAT, makeLink(at(1), 2), condition{}},
		rule{unix.SYS_MKNODAT, makeNode(at(0), 1), condition{}},
		rule{unix.SYS_EXECVE, execute(cwd, 0, always(0)), condition{}},
		rule{unix.SYS_EXECVEAT, execute(at(0), 1, inFlags(4)), condition{}},
	)
}
