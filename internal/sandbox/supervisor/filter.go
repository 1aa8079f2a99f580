package supervisor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// rule is a system call that the kernel asks about.
type rule struct {
	number uint32
	answer func(*call) answer
	only   condition
}

// condition is that an argument, of which the lower half counts, has one of these bits. The zero value holds always.
type condition struct {
	argument int
	bits     uint32
}

// ErrUnsupported says that this machine's architecture has no table of system calls here.
var ErrUnsupported = errors.New("there is no table of this architecture's system calls")

// Where the fields of struct seccomp_data are. All architectures that have a table are little-endian.
const (
	dataNumber   = 0
	dataArch     = 4
	dataArgument = 16
)

// Supported says that this machine's architecture has a table of system calls here.
func Supported() bool { return len(rules) > 0 }

// Filter is a program for seccomp(2) that asks about the calls, and allows all others. The programs of other
// architectures that a machine runs, 32 bits for one, are answered by the kernel.
func (o *Options) Filter() ([]byte, error) {
	asked := rules
	if o.User == nil {
		asked = deviceRules()
	}
	return filter(asked, o.User != nil)
}

// deviceRules are those of the calls that make devices.
func deviceRules() []rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return !slices.Contains(deviceCalls, r.number) })
}

// filter asks about the calls of rules. keeps says that the limit in which users are kept is to stay as it is.
func filter(rules []rule, keeps bool) ([]byte, error) {
	if len(rules) == 0 {
		return nil, ErrUnsupported
	}
	allow := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	ask := bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF}
	// Whom a process stands for is kept as one of its limits (users.go), which it thinks it changes.
	keep := bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO}
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: dataArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: nativeArch, SkipTrue: 1},
		allow,
		bpf.LoadAbsolute{Off: dataNumber, Size: 4},
	}
	for _, r := range rules {
		if r.only.bits == 0 {
			program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: r.number, SkipTrue: 1}, ask)
			continue
		}
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: r.number, SkipTrue: 4},
			bpf.LoadAbsolute{Off: uint32(dataArgument + 8*r.only.argument), Size: 4},
			bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: r.only.bits, SkipTrue: 1},
			ask, allow,
		)
	}
	if keeps {
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_PRLIMIT64, SkipTrue: 5},
			bpf.LoadAbsolute{Off: dataArgument + 8*1, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: kept, SkipTrue: 2},
			bpf.LoadAbsolute{Off: dataArgument + 8*2, Size: 4}, // the lower half of the new limit's address
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 4},
			allow,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_SETRLIMIT, SkipTrue: 3},
			bpf.LoadAbsolute{Off: dataArgument, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: kept, SkipTrue: 1},
			keep,
		)
	}
	program = append(program, allow)
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, fmt.Errorf("making the filter for users and owners: %w", err)
	}
	var out bytes.Buffer
	for _, i := range raw {
		if err := binary.Write(&out, binary.NativeEndian, unix.SockFilter{Code: i.Op, Jt: i.Jt, Jf: i.Jf, K: i.K}); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}
