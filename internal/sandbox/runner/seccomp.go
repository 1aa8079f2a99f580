package runner

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// seccompFilter is Docker's default profile for the default capabilities as a program for the kernel.
//
// libcontainer would compile the profile anew in every container's init, which takes 14 ms of the 33 ms that a
// step then takes. Here it is compiled once per process, beside the start of the first container, and handed
// over to the init finished (see lastSteps).
var seccompFilter = sync.OnceValues(func() ([]byte, error) {
	program, err := compileProfile()
	if err != nil {
		return nil, fmt.Errorf("compile the default seccomp profile: %w", err)
	}
	return program, nil
})

func compileProfile() ([]byte, error) {
	caps := capabilities()
	spec, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{
		Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
	}})
	if err != nil {
		return nil, err
	}
	profile, err := specconv.SetupSeccomp(spec)
	if err != nil {
		return nil, err
	}
	filter, err := newFilter(profile)
	if err != nil {
		return nil, err
	}
	defer filter.Release()
	for _, call := range profile.Syscalls {
		if err := addRule(filter, profile, call); err != nil {
			return nil, fmt.Errorf("rule for %s: %w", call.Name, err)
		}
	}
	stub, err := enosysStub(profile)
	if err != nil {
		return nil, err
	}
	rules, err := export(filter)
	if err != nil {
		return nil, err
	}
	return append(stub, rules...), nil
}

func newFilter(profile *configs.Seccomp) (*libseccomp.ScmpFilter, error) {
	action, err := scmpAction(profile.DefaultAction, profile.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	filter, err := libseccomp.NewFilter(action)
	if err != nil {
		return nil, err
	}
	for _, name := range profile.Architectures {
		arch, err := libseccomp.GetArchFromString(name)
		if err != nil {
			return nil, err
		}
		if err := filter.AddArch(arch); err != nil {
			return nil, err
		}
	}
	_ = filter.SetOptimize(2) // a binary tree in place of a list; libseccomp before 2.5 has none
	return filter, nil
}

// addRule adds one system call of the profile. One that this libseccomp does not know is left out, as runc does.
func addRule(filter *libseccomp.ScmpFilter, profile *configs.Seccomp, call *configs.Syscall) error {
	number, err := libseccomp.GetSyscallFromName(call.Name)
	if err != nil {
		return nil
	}
	action, err := scmpAction(call.Action, call.ErrnoRet)
	if err != nil {
		return err
	}
	if byDefault, err := scmpAction(profile.DefaultAction, profile.DefaultErrnoRet); err != nil || action == byDefault {
		return err
	}
	var conditions []libseccomp.ScmpCondition
	used := map[uint]bool{}
	alternatives := false
	for _, arg := range call.Args {
		condition, err := scmpCondition(arg)
		if err != nil {
			return err
		}
		conditions = append(conditions, condition)
		alternatives = alternatives || used[arg.Index]
		used[arg.Index] = true
	}
	if !alternatives {
		return filter.AddRuleConditional(number, action, conditions)
	}
	// Several conditions on one argument are alternatives, by runc's reading (libcontainer/seccomp, matchCall).
	for _, condition := range conditions {
		if err := filter.AddRuleConditional(number, action, []libseccomp.ScmpCondition{condition}); err != nil {
			return err
		}
	}
	return nil
}

func scmpAction(action configs.Action, errno *uint) (libseccomp.ScmpAction, error) {
	code := int16(unix.EPERM)
	if errno != nil {
		code = int16(*errno)
	}
	switch action {
	case configs.Allow:
		return libseccomp.ActAllow, nil
	case configs.Errno:
		return libseccomp.ActErrno.SetReturnCode(code), nil
	}
	return libseccomp.ActInvalid, fmt.Errorf("action %d is not one of the default profile's", action)
}

func scmpCondition(arg *configs.Arg) (libseccomp.ScmpCondition, error) {
	op, ok := map[configs.Operator]libseccomp.ScmpCompareOp{
		configs.EqualTo:              libseccomp.CompareEqual,
		configs.NotEqualTo:           libseccomp.CompareNotEqual,
		configs.GreaterThan:          libseccomp.CompareGreater,
		configs.GreaterThanOrEqualTo: libseccomp.CompareGreaterEqual,
		configs.LessThan:             libseccomp.CompareLess,
		configs.LessThanOrEqualTo:    libseccomp.CompareLessOrEqual,
		configs.MaskEqualTo:          libseccomp.CompareMaskedEqual,
	}[arg.Op]
	if !ok {
		return libseccomp.ScmpCondition{}, fmt.Errorf("unknown comparison %d", arg.Op)
	}
	return libseccomp.MakeCondition(arg.Index, op, arg.Value, arg.ValueTwo)
}

// export has libseccomp write the program into a file in memory.
func export(filter *libseccomp.ScmpFilter) ([]byte, error) {
	fd, err := unix.MemfdCreate("seccomp", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "seccomp")
	defer file.Close()
	if err := filter.ExportBPF(file); err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(file)
}

// enosysStub goes in front of the program: system calls younger than the profile get ENOSYS, not EPERM, so that
// a C library tries its older ones. It is what runc's libcontainer/seccomp/patchbpf does.
func enosysStub(profile *configs.Seccomp) ([]byte, error) {
	var program []bpf.Instruction
	for _, name := range profile.Architectures {
		arch, err := libseccomp.GetArchFromString(name)
		if err != nil {
			return nil, err
		}
		audit, known := auditArch(arch)
		last := lastSyscall(profile, arch)
		if !known || last == 0 {
			continue
		}
		// An x32 program runs on amd64 and has this bit in its numbers.
		const x32 = 1 << 30
		other := bpf.JumpTest(bpf.JumpBitsSet)
		if arch == libseccomp.ArchX32 {
			other = bpf.JumpBitsNotSet
		}
		program = append(program,
			bpf.LoadAbsolute{Off: 4, Size: 4}, // struct seccomp_data: arch
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: audit, SkipTrue: 4},
			bpf.LoadAbsolute{Off: 0, Size: 4}, // nr
			bpf.JumpIf{Cond: other, Val: x32, SkipTrue: 2},
			bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: last, SkipTrue: 1},
			bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		)
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, i := range raw {
		if err := binary.Write(&out, binary.NativeEndian, unix.SockFilter{Code: i.Op, Jt: i.Jt, Jf: i.Jf, K: i.K}); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

func auditArch(arch libseccomp.ScmpArch) (uint32, bool) {
	audit, ok := map[libseccomp.ScmpArch]uint32{
		libseccomp.ArchAMD64:   unix.AUDIT_ARCH_X86_64,
		libseccomp.ArchX32:     unix.AUDIT_ARCH_X86_64,
		libseccomp.ArchX86:     unix.AUDIT_ARCH_I386,
		libseccomp.ArchARM64:   unix.AUDIT_ARCH_AARCH64,
		libseccomp.ArchARM:     unix.AUDIT_ARCH_ARM,
		libseccomp.ArchPPC64LE: unix.AUDIT_ARCH_PPC64LE,
		libseccomp.ArchRISCV64: unix.AUDIT_ARCH_RISCV64,
	}[arch]
	return audit, ok
}

// lastSyscall is the largest number of a system call that the profile mentions.
func lastSyscall(profile *configs.Seccomp, arch libseccomp.ScmpArch) uint32 {
	var last libseccomp.ScmpSyscall
	for _, call := range profile.Syscalls {
		if number, err := libseccomp.GetSyscallFromNameByArch(call.Name, arch); err == nil {
			last = max(last, number)
		}
	}
	return uint32(last)
}
