package runner

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
			want: "00000000a80405fb\n00000000a80405fb\n00000000a80405fb\n"},
		{name: "capabilities beside the machine's network", spec: Spec{Network: NetworkNone}, script: "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f2",
			want: "00000000a80425fb\n00000000a80425fb\n00000000a80425fb\n"},
		{name: "capabilities of a user", spec: Spec{User: "ann"}, script: "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | cut -f2",
			want: "0000000000000000\n0000000000000000\n0000000000000000\n00000000a80405fb\n0000000000000000\n"},
		{name: "capabilities added and dropped", spec: Spec{Rights: Rights{AddCapabilities: []string{"CAP_SYS_TIME"}, DropCapabilities: []string{AllCapabilities}}},
			script: "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f2", want: strings.Repeat("0000000002000000\n", 3)},
		{name: "a capability dropped", spec: Spec{Rights: Rights{DropCapabilities: []string{"CAP_CHOWN"}}}, script: "chown 1:1 /bin 2>&1",
			want: "chown: /bin: Operation not permitted\n"},
		{name: "no new privileges", spec: Spec{Rights: Rights{NoNewPrivileges: true}}, script: "grep NoNewPrivs /proc/self/status", want: "NoNewPrivs:\t1\n"},
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
		{name: "shm of another size", spec: Spec{Machine: Machine{ShmSize: 8 << 20}}, script: "df -k /dev/shm | tail -n1 | awk '{print $2}'", want: "8192\n"},
		{name: "limits", spec: Spec{Machine: Machine{Ulimits: []Ulimit{{"nofile", 100, 200}, {"core", 0, 0}}}}, script: "ulimit -Sn; ulimit -Hn; ulimit -Hc", want: "100\n200\n0\n"},
		{name: "hosts", spec: Spec{Machine: Machine{Hosts: []Host{{"a", "10.0.0.1"}, {"b", "::2"}}}}, script: "tail -n +3 /etc/hosts", want: "10.0.0.1\ta\n::2\tb\n"},
		{name: "resolv.conf is read-only", script: "echo x >> /etc/resolv.conf", want: "/bin/sh: can't create /etc/resolv.conf: Read-only file system\n"},
		{name: "a network of its own", spec: Spec{Network: NetworkBridge, Machine: Machine{Hosts: []Host{{"me", HostGateway}}}},
			script: "ls /sys/class/net; ip -o -4 addr show eth0 | grep -c 198.19.255.2/; grep ^nameserver /etc/resolv.conf; tail -n1 /etc/hosts",
			want:   "eth0\nlo\n1\nnameserver 198.19.255.1\n198.19.255.4\tme\n"},
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

// What an insecure container has besides: all that its builder has.
func TestInsecure(t *testing.T) {
	r := busyboxRoot(t, map[string]string{"etc/passwd": passwd})
	own, err := os.ReadFile("/proc/self/status")
	must(t, err)
	_, rest, _ := strings.Cut(string(own), "CapPrm:\t")
	all, _, _ := strings.Cut(rest, "\n")
	for _, test := range []struct {
		name, script, want string
		spec               Spec
	}{
		{name: "capabilities", script: "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f2", want: strings.Repeat(all+"\n", 3)},
		{name: "capabilities of a user", spec: Spec{User: "ann"}, script: "grep -E 'Cap(Eff|Amb)' /proc/self/status | cut -f2", want: strings.Repeat(all+"\n", 2)},
		{name: "no seccomp", script: "grep -E '^Seccomp' /proc/self/status", want: "Seccomp:\t0\nSeccomp_filters:\t0\n"},
		{name: "mounts", script: "mkdir -p /m && mount -t tmpfs x /m && echo 1 >/m/f && cat /m/f", want: "1\n"},
		{name: "no masks", script: "wc -l </proc/interrupts | grep -vx 0 | wc -l; grep -c ' /proc/' /proc/self/mounts", want: "1\n0\n"},
		{name: "devices", script: "cd /dev; mknod d c 1 5; head -c1 d | wc -c; rm d; mknod /d c 1 5; head -c1 /d | wc -c; rm /d; ls kmsg fuse loop0 loop7 net/tun",
			want: "1\n1\nfuse\nkmsg\nloop0\nloop7\nnet/tun\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.spec.Insecure = true
			got, _ := r.sh(t, test.spec, test.script)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

// A container is in a cgroup below its parent, in every hierarchy where one can be made, and none is left behind.
func TestCgroupParent(t *testing.T) {
	r := busyboxRoot(t, nil)
	parent := "strata-test-" + rand.Text()
	t.Cleanup(func() {
		paths, _ := filepath.Glob("/sys/fs/cgroup/*/" + parent)
		for _, path := range append(paths, "/sys/fs/cgroup/"+parent) {
			_ = os.Remove(path)
		}
	})
	var warned string
	var during []string
	in, answer := io.Pipe()
	look := writerFunc(func() {
		during = groups(parent)
		answer.Close()
	})
	code, err := Run(context.Background(), Spec{
		Rootfs: r.merged, StateDir: t.TempDir(), Args: []string{"/bin/sh", "-c", "echo ready; read line; true"}, Machine: Machine{CgroupParent: parent},
		Hooks: Hooks{Warn: func(line string) { warned += line }}, Streams: Streams{Stdout: look, Stdin: in},
	})
	if code != 0 || err != nil {
		t.Fatalf("exit code %d, %v", code, err)
	}
	if warned != "" {
		t.Skipf("no cgroups can be made here: %s", warned)
	}
	if len(during) == 0 {
		t.Error("no process in a cgroup below the parent")
	}
	if left := groups(parent); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// groups are the files in which the kernel lists the processes of the cgroups below parent.
func groups(parent string) []string {
	hybrid, _ := filepath.Glob("/sys/fs/cgroup/*/" + parent + "/*/cgroup.procs")
	unified, _ := filepath.Glob("/sys/fs/cgroup/" + parent + "/*/cgroup.procs")
	return slices.DeleteFunc(append(hybrid, unified...), func(name string) bool {
		data, err := os.ReadFile(name)
		return err == nil && len(data) == 0
	})
}

// writerFunc is called for every write.
type writerFunc func()

func (f writerFunc) Write(p []byte) (int, error) { f(); return len(p), nil }

func TestCgroupParentThatCannotBe(t *testing.T) {
	r := busyboxRoot(t, nil)
	var warned []string
	const below = "/cgroup.procs" // a file
	got, _ := r.sh(t, Spec{Machine: Machine{CgroupParent: below}, Hooks: Hooks{Warn: func(line string) { warned = append(warned, line) }}}, "echo goes on")
	if got != "goes on\n" || len(warned) != 1 || !strings.HasPrefix(warned[0], "--cgroup-parent "+below+" is left out: ") {
		t.Errorf("output %q, warnings %q", got, warned)
	}
}

// Files that are handed over are in the container, for whom they are meant, and nowhere on the machine.
func TestFiles(t *testing.T) {
	r := busyboxRoot(t, map[string]string{"etc/passwd": passwd, "deep/there": "the image's", "link": ""})
	must(t, os.Remove(filepath.Join(r.lower, "link")))
	must(t, os.Symlink("/deep/new", filepath.Join(r.lower, "link")))
	secret := rand.Text()
	files := []File{
		{Target: "/run/secrets/a", Data: []byte(secret), Mode: 0o400},
		{Target: "/run/secrets/b", Data: []byte(secret), Mode: 0o440, UID: 1000, GID: 7},
		{Target: "/deep/there", Data: []byte("ours"), Mode: 0o555},
		{Target: "/link", Mode: 0o444},
		{Target: "/dev/d", Data: []byte("in /dev"), Mode: 0o444},
		{Target: "/tmpfs/f", Data: []byte("in a tmpfs"), Mode: 0o444},
	}
	tmpfs := []Bind{{Tmpfs: true, Target: "/tmpfs"}}
	script := "cat /run/secrets/a /deep/there /dev/d /tmpfs/f; echo; ls -ln /run/secrets /deep | awk '{print $1,$3,$4,$5,$9}'; ls -A /dev | grep strata; " +
		"echo x 2>&1 >/run/secrets/a; rm -f /run/secrets/a 2>&1"
	got, _ := r.sh(t, Spec{Files: files, Binds: tmpfs}, script)
	for _, s := range []string{secret + "oursin /devin a tmpfs\n", "-r-------- 0 0 26 a\n", "-r--r----- 1000 7 26 b\n", "-r-xr-xr-x 0 0 4 there\n", "-r--r--r-- 0 0 0 new\n", "Read-only file system", "resource busy"} {
		if !strings.Contains(got, s) {
			t.Errorf("%q is missing in:\n%s", s, got)
		}
	}
	if strings.Contains(got, "strata-files") {
		t.Errorf("the stage is left:\n%s", got)
	}
	// One who is not meant cannot read it, with a user's rights or without the sandbox.
	got, _ = r.sh(t, Spec{Files: files, Binds: tmpfs, User: "1000:7"}, "cat /run/secrets/b; cat /run/secrets/a 2>&1")
	if !strings.HasPrefix(got, secret) || !strings.Contains(got, "Permission denied") {
		t.Errorf("as a user: %s", got)
	}
	got, _ = r.sh(t, Spec{Files: files, Binds: tmpfs, Rights: Rights{Insecure: true}, ReadOnly: true}, "cat /run/secrets/a")
	if got != secret {
		t.Errorf("insecure, read-only: %s", got)
	}
	// Nothing is left in the root file system, and nothing was ever mounted on the machine.
	err := filepath.WalkDir(r.upper, func(path string, d os.DirEntry, err error) error {
		if strings.Contains(path, "secrets") || strings.HasSuffix(path, "/new") {
			t.Errorf("left behind: %s", path)
		}
		return err
	})
	must(t, err)
}

// A builder that is killed takes the files along: they were in the container only.
func TestFilesAreNotMountedOnTheMachine(t *testing.T) {
	r := busyboxRoot(t, nil)
	state := t.TempDir()
	secret := rand.Text()
	var seen string
	in, answer := io.Pipe()
	look := writerFunc(func() {
		mounts, _ := os.ReadFile("/proc/self/mountinfo")
		data, _ := os.ReadFile(filepath.Join(r.merged, "run/secrets/a"))
		found, _ := exec.Command("grep", "-rlF", secret, state, r.upper, r.merged).Output()
		seen = string(data) + string(found)
		if strings.Contains(string(mounts), "run/secrets") {
			seen += "a mount"
		}
		answer.Close()
	})
	code, err := Run(context.Background(), Spec{
		Rootfs: r.merged, StateDir: state, Args: []string{"/bin/sh", "-c", "wc -c </run/secrets/a; read line; true"},
		Env:   []string{"SECRET=" + secret},
		Files: []File{{Target: "/run/secrets/a", Data: []byte(secret), Mode: 0o400}}, Streams: Streams{Stdout: look, Stdin: in},
	})
	if code != 0 || err != nil || seen != "" {
		t.Errorf("exit code %d, %v, seen from outside: %s", code, err, seen)
	}
}
