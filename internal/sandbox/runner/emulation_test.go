package runner

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strata-build/strata/internal/sandbox/binfmt"
	"github.com/strata-build/strata/internal/sandbox/binfmt/binfmttest"
)

// foreignArch is one that this machine has to emulate, with a program of it.
const foreignArch = "arm64"

func needsEmulation(t *testing.T) {
	if binfmt.Native(foreignArch) {
		t.Skip("this machine runs the programs of the test itself")
	}
}

func TestEmulation(t *testing.T) {
	needsEmulation(t)
	if binfmt.Emulator(foreignArch) == "" {
		t.Skip("needs QEMU: apt-get install qemu-user-static")
	}
	r := busyboxRoot(t, nil)
	must(t, os.WriteFile(filepath.Join(r.merged, "hello"), binfmttest.ARM64("hello from arm64\n"), 0o755))
	out, code, err := r.run(t, Spec{Arch: foreignArch, Args: []string{"/hello"}})
	if err != nil || code != 0 || out != "hello from arm64\n" {
		t.Errorf("a program of another architecture: %q, exit code %d, %v", out, code, err)
	}
	out, code = r.sh(t, Spec{Arch: foreignArch, User: "1000:1000"}, "/hello; id -u; /hello")
	if code != 0 || out != "hello from arm64\n1000\nhello from arm64\n" {
		t.Errorf("started by a program of this one, as another user: %q, exit code %d", out, code)
	}
	// Nobody else gets the handler.
	if registered(foreignArch, r.merged) {
		t.Skip("the machine has a handler of its own")
	}
	if out, code := r.sh(t, Spec{}, "/hello 2>/dev/null || echo not here"); !strings.Contains(out, "not here") {
		t.Errorf("in a container of this machine's architecture: %q, exit code %d", out, code)
	}
}

// A container with an emulator is as closed as any other, and every user is who it is outside.
func TestEmulationSandbox(t *testing.T) {
	needsEmulation(t)
	if binfmt.Emulator(foreignArch) == "" {
		t.Skip("needs QEMU: apt-get install qemu-user-static")
	}
	script := `
grep -E 'CapBnd|CapEff|Seccomp:' /proc/self/status
cat /proc/kcore | wc -c
touch /sys/x 2>/dev/null || echo sys is read-only
echo 1 2>/dev/null > /proc/sys/kernel/hostname || echo proc/sys is read-only
mount -t tmpfs x /tmp 2>/dev/null || echo no mounts
unshare -U true 2>/dev/null || echo no user name spaces
echo x > /f && chown 70000:1234 /f && chmod 4755 /f && stat -c '%u:%g %a' /f
`
	plain, code := busyboxRoot(t, nil).sh(t, Spec{}, script)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, plain)
	}
	r := busyboxRoot(t, nil)
	emulated, code := r.sh(t, Spec{Arch: foreignArch}, script)
	if code != 0 || emulated != plain {
		t.Errorf("with an emulator:\n%s\nwithout:\n%s", emulated, plain)
	}
	// The machine's own mounts below /sys, its cgroups for one, are neither seen nor written to.
	below := `for d in $(grep -o ' /sys/[^ ]*' /proc/self/mounts); do ls -A $d 2>/dev/null; mkdir $d/strata 2>/dev/null && echo $d can be written; done; true`
	if out, code := r.sh(t, Spec{Arch: foreignArch}, below); code != 0 || out != "" {
		t.Errorf("below /sys, with an emulator: exit code %d: %s", code, out)
	}
	st, err := os.Stat(filepath.Join(r.upper, "f"))
	must(t, err)
	if st.Mode() != 0o755|os.ModeSetuid {
		t.Errorf("the file's mode is %s outside", st.Mode())
	}
}

func TestNoEmulator(t *testing.T) {
	needsEmulation(t)
	t.Setenv("PATH", t.TempDir())
	r := rootfs{merged: t.TempDir()}
	if registered(foreignArch, r.merged) {
		t.Skip("the machine has a handler of its own")
	}
	must(t, os.WriteFile(filepath.Join(r.merged, "hello"), binfmttest.ARM64("hello\n"), 0o755))
	must(t, os.WriteFile(filepath.Join(r.merged, "other"), []byte("#!/bin/sh\n"), 0o755))
	for _, args := range [][]string{{"/hello"}, {"hello"}} {
		_, err := emulate(Spec{Rootfs: r.merged, Arch: foreignArch, Args: args, Env: []string{"PATH=/none:/"}})
		if missing := (*EmulationError)(nil); !errors.As(err, &missing) || !strings.Contains(err.Error(), "qemu-user-static") {
			t.Errorf("%s: %v", args, err)
		}
	}
	// What an image says of itself need not be so.
	if e, err := emulate(Spec{Rootfs: r.merged, Arch: foreignArch, Args: []string{"/other"}}); e != nil || err != nil {
		t.Errorf("a script: %v, %v", e, err)
	}
}
