//go:build amd64

package supervisor

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// What is asked about, and what is not, of a program that the kernel takes: it has no more than 255 steps to jump.
func TestFilter(t *testing.T) {
	const ask, allow, keep = unix.SECCOMP_RET_USER_NOTIF, unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_ERRNO
	devices := machine(t, &Options{})
	for number, want := range map[uint32]int{unix.SYS_MKNOD: ask, unix.SYS_MKNODAT: ask, unix.SYS_CHOWN: allow, unix.SYS_EXECVE: allow, unix.SYS_PRLIMIT64: allow} {
		data := binary.BigEndian.AppendUint32(nil, number)
		data = append(binary.BigEndian.AppendUint32(data, nativeArch), make([]byte, 56)...)
		if got, err := devices.Run(data); err != nil || got != want {
			t.Errorf("of devices only, call %d: %#x, %v, want %#x", number, got, err, want)
		}
	}
	vm := machine(t, &Options{User: NewCredentials(0, 0, nil)})
	for _, test := range []struct {
		name      string
		arch      uint32
		number    uint32
		arguments [6]uint64
		want      int
	}{
		{"chown", nativeArch, unix.SYS_CHOWN, [6]uint64{}, ask},
		{"fchownat", nativeArch, unix.SYS_FCHOWNAT, [6]uint64{}, ask},
		{"execve", nativeArch, unix.SYS_EXECVE, [6]uint64{}, ask},
		{"read", nativeArch, unix.SYS_READ, [6]uint64{}, allow},
		{"chown of 32 bits", unix.AUDIT_ARCH_I386, 182, [6]uint64{}, allow},
		{"open to read", nativeArch, unix.SYS_OPENAT, [6]uint64{0, 0, unix.O_RDONLY}, allow},
		{"open a directory", nativeArch, unix.SYS_OPENAT, [6]uint64{0, 0, unix.O_DIRECTORY | unix.O_CLOEXEC}, allow},
		{"open to make", nativeArch, unix.SYS_OPENAT, [6]uint64{0, 0, unix.O_CREAT | unix.O_WRONLY}, ask},
		{"open without a name", nativeArch, unix.SYS_OPENAT, [6]uint64{0, 0, unix.O_TMPFILE | unix.O_RDWR}, ask},
		{"open of old", nativeArch, unix.SYS_OPEN, [6]uint64{0, unix.O_CREAT}, ask},
		{"a limit", nativeArch, unix.SYS_PRLIMIT64, [6]uint64{0, unix.RLIMIT_NOFILE, 1}, allow},
		{"our limit, to read", nativeArch, unix.SYS_PRLIMIT64, [6]uint64{0, kept, 0}, allow},
		{"our limit", nativeArch, unix.SYS_PRLIMIT64, [6]uint64{0, kept, 1}, keep},
		{"our limit of old", nativeArch, unix.SYS_SETRLIMIT, [6]uint64{kept, 1}, keep},
		{"a limit of old", nativeArch, unix.SYS_SETRLIMIT, [6]uint64{unix.RLIMIT_NOFILE, 1}, allow},
	} {
		// struct seccomp_data; the machine of package bpf reads numbers as the network has them.
		data := binary.BigEndian.AppendUint32(nil, test.number)
		data = binary.BigEndian.AppendUint32(data, test.arch)
		data = append(data, make([]byte, 8)...)
		for _, a := range test.arguments {
			data = binary.BigEndian.AppendUint32(data, uint32(a))
			data = binary.BigEndian.AppendUint32(data, uint32(a>>32))
		}
		if got, err := vm.Run(data); err != nil || got != test.want {
			t.Errorf("%s: %#x, %v, want %#x", test.name, got, err, test.want)
		}
	}
}

// machine runs the filter of a container.
func machine(t *testing.T, o *Options) *bpf.VM {
	t.Helper()
	program, err := o.Filter()
	if err != nil {
		t.Fatal(err)
	}
	var raw []bpf.RawInstruction
	for r := bytes.NewReader(program); r.Len() > 0; {
		var i unix.SockFilter
		if err := binary.Read(r, binary.NativeEndian, &i); err != nil {
			t.Fatal(err)
		}
		raw = append(raw, bpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	instructions, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("it is not a program")
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}
