package runner

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/store/orphans"
)

// stepCgroups are the cgroups of containers that there are on this machine.
func stepCgroups(t *testing.T) []string {
	t.Helper()
	var found []string
	must(t, filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), orphans.Prefix) {
			found = append(found, path)
		}
		return nil // others make and remove theirs meanwhile
	}))
	return found
}

// cgroupsOf are those of the container whose state is in stateDir.
func cgroupsOf(t *testing.T, stateDir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(stateDir, orphans.Prefix+"*"))
	must(t, err)
	return slices.DeleteFunc(stepCgroups(t), func(path string) bool {
		return !slices.ContainsFunc(names, func(name string) bool { return filepath.Base(name) == filepath.Base(path) })
	})
}

// What a step leaves running ends with its first process, and what it mounted or made of cgroups goes with it.
func TestNothingOutlivesAStep(t *testing.T) {
	const daemons = `
		sleep 1000 &
		nohup sleep 1001 >/dev/null 2>&1 &
		setsid sleep 1002 &
		(setsid sh -c 'sleep 1003 & trap "" TERM HUP INT; sleep 1004' &)
		echo ready; read line; true`
	for _, test := range []struct {
		name, script string
		spec         Spec
	}{
		{name: "as root", script: daemons},
		{name: "as a user", script: daemons, spec: Spec{User: "nobody"}},
		{name: "host network", script: daemons, spec: Spec{Network: NetworkHost}},
		{name: "no network", script: daemons, spec: Spec{Network: NetworkNone}},
		{name: "read-only", script: daemons, spec: Spec{ReadOnly: true}},
		{name: "insecure", script: "mkdir -p /m; mount -t tmpfs x /m; for g in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $g/left && sh -c 'echo $$ >'$g'/left/cgroup.procs; sleep 1005' & done 2>/dev/null; " + daemons,
			spec: Spec{Rights: Rights{Insecure: true}}},
		{name: "limits", script: daemons, spec: Spec{Machine: Machine{Limits: Limits{Memory: 64 << 20}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := busyboxRoot(t, map[string]string{"etc/passwd": "nobody:x:65534:65534::/:/bin/sh\n"})
			stateDir := t.TempDir()
			var during []string
			running := 0
			in, answer := io.Pipe()
			look := writerFunc(func() {
				during, running = cgroupsOf(t, stateDir), r.processes(t)
				answer.Close()
			})
			test.spec.Rootfs, test.spec.StateDir = r.merged, stateDir
			test.spec.Args = []string{"/bin/sh", "-c", test.script}
			test.spec.Streams = Streams{Stdout: look, Stdin: in}
			if code, err := Run(context.Background(), test.spec); code != 0 || err != nil {
				t.Fatalf("exit code %d, %v", code, err)
			}
			if running < 2 {
				t.Errorf("%d processes ran, want the step and its daemons: the test sees nothing", running)
			}
			if n := r.processes(t); n != 0 {
				t.Errorf("%d processes are left", n)
			}
			if len(during) == 0 {
				t.Log("no cgroup can be made here")
			}
			for _, path := range during {
				if _, err := os.Stat(path); err == nil {
					t.Errorf("the cgroup %s is left", path)
				}
			}
			left, err := filepath.Glob("/sys/fs/cgroup/*/left")
			must(t, err)
			for _, path := range append(left, "/sys/fs/cgroup/left") {
				if os.Remove(path) == nil {
					t.Errorf("the cgroup %s is left, which the step made", path)
				}
			}
			mounts, err := os.ReadFile("/proc/self/mounts")
			must(t, err)
			if n := strings.Count(string(mounts), r.merged); n != 1 {
				t.Errorf("%d mounts under the root file system, want the one of the test", n)
			}
		})
	}
}

// killedBuilder is a builder that was killed while its step ran, and what it left.
type killedBuilder struct {
	rootfs
	t        *testing.T
	stateDir string
	cgroups  []string
}

// killBuilder starts a builder (see builder), waits for the step's first line, which is "started", and kills it; before that its guard.
func killBuilder(t *testing.T, user, script string, alsoGuard bool) killedBuilder {
	t.Helper()
	// The set-user-ID bit of busybox is honoured in the container.
	r := busyboxRoot(t, map[string]string{"etc/passwd": "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"})
	must(t, os.Chmod(filepath.Join(r.lower, "bin/busybox"), 0o755|os.ModeSetuid))
	exe, err := os.Executable()
	must(t, err)
	k := killedBuilder{rootfs: r, t: t, stateDir: t.TempDir()}
	cmd := exec.Command(exe, builderArg, r.merged, k.stateDir, user, script)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = orphans.End(k.stateDir) })
	if _, err := io.ReadFull(out, make([]byte, len("started\n"))); err != nil {
		t.Fatal(err)
	}
	if r.processes(t) == 0 {
		t.Error("no process of the container was found while it ran: the test sees nothing")
	}
	k.cgroups = cgroupsOf(t, k.stateDir)
	if alsoGuard {
		pid := guardOf(t, cmd.Process.Pid)
		must(t, unix.Kill(pid, unix.SIGKILL))
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	return k
}

// guardOf finds the guard that the process parent started.
func guardOf(t *testing.T, parent int) int {
	t.Helper()
	for _, pid := range procs(t) {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.Contains(string(status), fmt.Sprintf("PPid:\t%d\n", parent)) && strings.Contains(string(args), guardArg) {
			return pid
		}
	}
	t.Fatal("there is no guard")
	return 0
}

func procs(t *testing.T) []int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	must(t, err)
	var pids []int
	for _, dir := range dirs {
		var pid int
		if _, err := fmt.Sscan(filepath.Base(dir), &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// steps whose first process the kernel forgets to end with its builder: by the time of their first line it has.
var unboundSteps = []struct{ name, user, script string }{
	{"set-user-ID program of a user", "nobody", "echo started; exec sleep 1000"},
	{"su", "", "exec su nobody -s /bin/sh -c 'echo started; exec sleep 1000'"},
	{"limits", "limits", "exec su nobody -s /bin/sh -c 'echo started; exec sleep 1000'"},
	{"insecure", "insecure", "for g in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $g/left; done 2>/dev/null; exec su nobody -s /bin/sh -c 'echo started; exec sleep 1000'"},
}

// A builder that is killed takes its container along, whatever the container's first process executed.
func TestKilledBuilderOfUnboundSteps(t *testing.T) {
	for _, test := range unboundSteps {
		t.Run(test.name, func(t *testing.T) {
			k := killBuilder(t, test.user, test.script, false)
			waitFor(t, "no process and no cgroup of the container is left", k.isGone)
		})
	}
}

// Where its guard was killed too, whoever looks next ends the container.
func TestKilledGuard(t *testing.T) {
	for _, test := range unboundSteps {
		t.Run(test.name, func(t *testing.T) {
			k := killBuilder(t, test.user, test.script, true)
			if n := k.processes(t); n == 0 {
				t.Error("the kernel ended the container: the test sees nothing")
			}
			must(t, orphans.End(k.stateDir))
			if n := k.processes(t); n != 0 {
				t.Errorf("%d processes are left", n)
			}
			waitFor(t, "no process and no cgroup of the container is left", k.isGone)
		})
	}
}

// A guard that somebody killed is replaced.
func TestGuardIsReplaced(t *testing.T) {
	r := busyboxRoot(t, nil)
	r.sh(t, Spec{}, "true")
	first := guardOf(t, os.Getpid())
	must(t, unix.Kill(first, unix.SIGKILL))
	waitFor(t, "the guard has ended", func() bool { return unix.Kill(first, 0) != nil })
	if out, code := r.sh(t, Spec{}, "echo on"); out != "on\n" || code != 0 {
		t.Errorf("%q, exit code %d", out, code)
	}
	if guardOf(t, os.Getpid()) == first {
		t.Error("it still is the first")
	}
}

func (k killedBuilder) isGone() bool {
	for _, path := range k.cgroups {
		if _, err := os.Stat(path); err == nil {
			return false
		}
	}
	return k.processes(k.t) == 0
}
