package supervisor

import "golang.org/x/sys/unix"

const nativeArch = unix.AUDIT_ARCH_AARCH64

// deviceCalls are the calls that make devices.
var deviceCalls = []uint32{unix.SYS_MKNODAT}

// oldRules are none: the architecture has the younger calls only.
func oldRules() []rule { return nil }
