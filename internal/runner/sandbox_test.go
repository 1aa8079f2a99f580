package runner

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What the sandbox holds: the promises of the README, seen from within.
func TestSandbox(t *testing.T) {
	r := busyboxRoot(t, map[string]string{"etc/passwd": passwd})
	for _, test := range []struct {
		name, script, want string
		spec               Spec
	}{
		{name: "capabilities", script: "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f2",
			want: "00000000a80425fb\n00000000a80425fb\n00000000a80425fb\n"},
		{name: "capabilities of a user", spec: Spec{User: "ann"}, script: "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | cut -f2",
			want: "0000000000000000\n0000000000000000\n0000000000000000\n00000000a80425fb\n0000000000000000\n"},
		{name: "seccomp", script: "grep -E '^(Seccomp|NoNewPrivs)' /proc/self/status", want: "NoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t1\n"},
		{name: "seccomp of a user", spec: Spec{User: "ann"}, script: "grep -E '^Seccomp:' /proc/self/status", want: "Seccomp:\t2\n"},
		{name: "seccomp forbids", script: "unshare -n true", want: "unshare: unshare(0x40000000): Operation not permitted\n"},
		{name: "masked file", script: "head -c1 /proc/kcore 2>/dev/null | wc -c; wc -c < /proc/keys; wc -c < /proc/interrupts", want: "0\n0\n0\n"},
		{name: "masked directory", script: "ls /sys/firmware /proc/acpi | grep -v :", want: "\n"},
		{name: "read-only proc", script: "echo x > /proc/sys/kernel/domainname",
			want: "/bin/sh: can't create /proc/sys/kernel/domainname: Read-only file system\n"},
		{name: "read-only sysfs", script: "grep -E ' /sys(/fs/cgroup/[a-z]+)? (sysfs|cgroup|cgroup2) ' /proc/self/mounts | grep -vc ' ro,'", want: "0\n"},
		{name: "devices", script: "cd /dev; ls | grep -v core; echo x > null && head -c3 zero | wc -c && head -c3 urandom | wc -c; ls -l null | cut -c1-10",
			want: "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n3\n3\ncrw-rw-rw-\n"},
		{name: "the host's device nodes stay as they are", script: "chmod 600 /dev/null", want: "chmod: /dev/null: Read-only file system\n"},
		{name: "no other devices", script: "for d in /dev /tmp /; do mkdir -p $d; mknod $d/disk c 1 5; cat $d/disk; rm $d/disk; done",
			want: "cat: can't open '/dev/disk': Permission denied\ncat: can't open '/tmp/disk': Permission denied\n" +
				"cat: can't open '//disk': Permission denied\n"},
		{name: "no other devices, read-only", spec: Spec{ReadOnly: true}, script: "mknod /dev/disk c 1 5; cat /dev/disk",
			want: "cat: can't open '/dev/disk': Permission denied\n"},
		{name: "mount propagation", script: "grep -c 'shared:\\|master:' /proc/self/mountinfo", want: "0\n"},
		{name: "shm", script: "df -k /dev/shm | tail -n1 | awk '{print $2}'", want: "65536\n"},
		{name: "resolv.conf is read-only", script: "echo x >> /etc/resolv.conf", want: "/bin/sh: can't create /etc/resolv.conf: Read-only file system\n"},
		{name: "no network", spec: Spec{Network: NetworkNone}, script: "ls /sys/class/net; ip -o addr show lo | grep -c 127.0.0.1", want: "lo\n1\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, _ := r.sh(t, test.spec, test.script)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHostNetwork(t *testing.T) {
	r := busyboxRoot(t, nil)
	interfaces, err := net.Interfaces()
	must(t, err)
	got, _ := r.sh(t, Spec{}, "ls /sys/class/net; cat /etc/resolv.conf")
	for _, i := range interfaces {
		if !strings.Contains("\n"+got, "\n"+i.Name+"\n") {
			t.Errorf("interface %s is missing in %q", i.Name, got)
		}
	}
	if resolv, err := os.ReadFile("/etc/resolv.conf"); err == nil && !strings.HasSuffix(got, string(resolv)) {
		t.Errorf("the container's resolv.conf is not the host's: %q", got)
	}
}
