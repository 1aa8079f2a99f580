package runner

import "golang.org/x/sys/unix"

const auditArchNative = unix.AUDIT_ARCH_X86_64

var pathCalls = map[int]pathCall{
	unix.SYS_OPEN:       {kind: anOpen, act: (*answerer).open, path: 0, flags: 1, buf: -1, size: -1},
	unix.SYS_OPENAT:     {kind: anOpen, act: (*answerer).open, path: 1, flags: 2, buf: -1, size: -1},
	unix.SYS_OPENAT2:    {kind: anOpen, act: (*answerer).open, path: 1, flags: 2, buf: -1, size: 3},
	unix.SYS_STAT:       {act: (*answerer).stat, path: 0, flags: -1, buf: 1, size: -1},
	unix.SYS_LSTAT:      {act: (*answerer).stat, path: 0, flags: noFollowAlways, buf: 1, size: -1},
	unix.SYS_NEWFSTATAT: {act: (*answerer).stat, path: 1, flags: 3, buf: 2, size: -1},
	unix.SYS_STATX:      {act: (*answerer).statx, path: 1, flags: 2, buf: 4, size: 3},
	unix.SYS_STATFS:     {act: (*answerer).statfs, path: 0, flags: -1, buf: 1, size: -1},
	unix.SYS_READLINK:   {kind: aReadlink, act: (*answerer).readlink, path: 0, flags: -1, buf: 1, size: 2},
	unix.SYS_READLINKAT: {kind: aReadlink, act: (*answerer).readlink, path: 1, flags: -1, buf: 2, size: 3},
	unix.SYS_ACCESS:     {act: (*answerer).access, path: 0, flags: 1, buf: -1, size: -1},
	unix.SYS_FACCESSAT:  {act: (*answerer).access, path: 1, flags: 2, buf: -1, size: -1},
	unix.SYS_FACCESSAT2: {act: (*answerer).access, path: 1, flags: 2, buf: -1, size: -1},
	unix.SYS_EXECVE:     {kind: anExecute, act: (*answerer).execute, path: 0, flags: -1, buf: -1, size: -1},
	unix.SYS_EXECVEAT:   {kind: anExecute, act: (*answerer).execute, path: 1, flags: -1, buf: -1, size: -1},
}
