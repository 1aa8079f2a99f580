//go:build amd64

package runner

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The compiled profile, run on system calls by an interpreter: what it allows, and how it refuses.
func TestSeccompFilter(t *testing.T) {
	program, err := compileProfile()
	must(t, err)
	raw := make([]bpf.RawInstruction, 0, len(program)/8)
	for in := bytes.NewReader(program); in.Len() > 0; {
		var i unix.SockFilter
		must(t, binary.Read(in, binary.NativeEndian, &i))
		raw = append(raw, bpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	instructions, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the program has instructions that are none")
	}
	vm, err := bpf.NewVM(instructions)
	must(t, err)

	const (
		allow  = unix.SECCOMP_RET_ALLOW
		eperm  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		enosys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
		x86_64 = unix.AUDIT_ARCH_X86_64
		i386   = unix.AUDIT_ARCH_I386
		x32    = 1 << 30
	)
	for _, test := range []struct {
		name     string
		arch, nr uint32
		arg      uint32
		want     uint32
	}{
		{"read", x86_64, 0, 0, allow},
		{"mount", x86_64, 165, 0, eperm},
		{"setns", x86_64, 308, 0, eperm},
		{"bpf", x86_64, 321, 0, eperm},
		{"clone3 has an old substitute", x86_64, 435, 0, enosys},
		{"clone", x86_64, 56, 0x11, allow},
		{"clone of a user name space", x86_64, 56, 0x10000000, eperm},
		{"personality", x86_64, 135, 0, allow},
		{"personality of 32 bits", x86_64, 135, 8, allow},
		{"personality, any", x86_64, 135, 0x1234, eperm},
		{"socket", x86_64, 41, unix.AF_INET, allow},
		{"socket of a virtual machine's host", x86_64, 41, unix.AF_VSOCK, eperm},
		{"younger than the profile", x86_64, 9999, 0, enosys},
		{"read, i386", i386, 3, 0, allow},
		{"mount, i386", i386, 21, 0, eperm},
		{"younger than the profile, i386", i386, 9999, 0, enosys},
		{"read, x32", x86_64, x32, 0, allow},
		{"younger than the profile, x32", x86_64, x32 + 9999, 0, enosys},
		{"another architecture", unix.AUDIT_ARCH_S390X, 3, 0, unix.SECCOMP_RET_KILL_THREAD},
	} {
		t.Run(test.name, func(t *testing.T) {
			// struct seccomp_data: nr, arch, instruction pointer, args. The interpreter loads big-endian words;
			// the low half of an argument comes first, as on the machine.
			data := make([]byte, 64)
			binary.BigEndian.PutUint32(data[0:], test.nr)
			binary.BigEndian.PutUint32(data[4:], test.arch)
			binary.BigEndian.PutUint32(data[16:], test.arg)
			got, err := vm.Run(data)
			must(t, err)
			if uint32(got) != test.want {
				t.Errorf("got %#x, want %#x", uint32(got), test.want)
			}
		})
	}
}
