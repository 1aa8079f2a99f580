package runner

import "golang.org/x/sys/unix"

const auditArchNative = unix.AUDIT_ARCH_AARCH64

var pathCalls = map[int]pathCall{
	unix.SYS_OPENAT:     {kind: anOpen, act: (*answerer).open, path: 1, flags: 2, buf: -1, size: -1},
	unix.SYS_OPENAT2:    {kind: anOpen, act: (*answerer).open, path: 1, flags: 2, buf: -1, size: 3},
	unix.SYS_FSTATAT:    {act: (*answerer).stat, path: 1, flags: 3, buf: 2, size: -1},
	unix.SYS_STATX:      {act: (*answerer).statx, path: 1, flags: 2, buf: 4, size: 3},
	unix.SYS_STATFS:     {act: (*answerer).statfs, path: 0, flags: -1, buf: 1, size: -1},
	unix.SYS_READLINKAT: {kind: aReadlink, act: (*answerer).readlink, path: 1, flags: -1, buf: 2, size: 3},
	unix.SYS_FACCESSAT:  {act: (*answerer).access, path: 1, flags: 2, buf: -1, size: -1},
	unix.SYS_FACCESSAT2: {act: (*answerer).access, path: 1, flags: 2, buf: -1, size: -1},
	unix.SYS_EXECVE:     {kind: anExecute, act: (*answerer).execute, path: 0, flags: -1, buf: -1, size: -1},
	unix.SYS_EXECVEAT:   {kind: anExecute, act: (*answerer).execute, path: 1, flags: -1, buf: -1, size: -1},
}
