package supervisor

import "golang.org/x/sys/unix"

const nativeArch = unix.AUDIT_ARCH_X86_64

// deviceCalls are the calls that make devices.
var deviceCalls = []uint32{unix.SYS_MKNOD, unix.SYS_MKNODAT}

// oldRules are the calls that younger architectures do not have.
func oldRules() []rule {
	follow, keep := always(0), always(unix.AT_SYMLINK_NOFOLLOW)
	return []rule{
		{unix.SYS_CHOWN, changeOwner(cwd, 0, 1, follow), condition{}},
		{unix.SYS_LCHOWN, changeOwner(cwd, 0, 1, keep), condition{}},
		{unix.SYS_STAT, tellStatus(cwd, 0, 1, follow), condition{}},
		{unix.SYS_LSTAT, tellStatus(cwd, 0, 1, keep), condition{}},
		{unix.SYS_OPEN, open(cwd, 0, 1, 2), condition{1, creates}},
		{unix.SYS_CREAT, open(cwd, 0, noFlags, 1), condition{}},
		{unix.SYS_MKDIR, makeDirectory(cwd, 0), condition{}},
		{unix.SYS_SYMLINK, makeLink(cwd, 1), condition{}},
		{unix.SYS_MKNOD, makeNode(cwd, 0), condition{}},
	}
}
