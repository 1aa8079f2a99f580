package runner

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// withoutStarter has libcontainer start all containers.
func withoutStarter(t testing.TB) {
	shared.Lock()
	before, none := shared.Starter, shared.none
	shared.Starter, shared.none = nil, true
	shared.Unlock()
	t.Cleanup(func() {
		shared.Lock()
		shared.Starter, shared.none = before, none
		shared.Unlock()
	})
}

// What the container's program finds is the same, whoever starts it.
func TestDirectIsAsLibcontainer(t *testing.T) {
	r := busyboxRoot(t, map[string]string{"etc/passwd": passwd, "etc/group": group, "dir/file": "x"})
	host := t.TempDir()
	must(t, os.WriteFile(filepath.Join(host, "f"), []byte("f"), 0o600))
	const look = `
		cut -d' ' -f4- /proc/self/mountinfo | sed 's/strata-[A-Z0-9]*//; s,/tmp/[^ ]*/,,; s/,*\(lowerdir\|upperdir\|workdir\)=[^ ,]*//g' | sort
		grep -vE '^(Name|Umask|State|Tgid|Ngid|Pid|PPid|TracerPid|FDSize|Vm|Rss|Hugetlb|voluntary|nonvoluntary|Cpus|Mems|Threads|SigQ|untag|THP|HugetlbPages|NS|CoreD|Core)' /proc/self/status
		umask; pwd; env | sort; id; tty; hostname
		cat /proc/self/limits /proc/1/cgroup /proc/self/oom_score_adj
		ls -lnR /dev | sed 's/ *[A-Z][a-z][a-z] .*:[0-9]* / /'
		ls -ln / /run /etc | grep -v proc | sed 's/ *[A-Z][a-z][a-z] .*:[0-9]* / /'
		cat /proc/1/stat | cut -d' ' -f4-8
		sed 's/[0-9a-f]* .* perm/perm/; s/ _ses.*//' /proc/keys`
	for name, spec := range map[string]Spec{
		"root":       {},
		"user":       {User: "ann", Dir: "/new/dir", Env: []string{"A=1", "HOME=", "A=2"}},
		"number":     {User: "4711:7", ReadOnly: true, Network: NetworkNone},
		"network":    {Network: NetworkBridge, Rights: Rights{NoNewPrivileges: true}},
		"capability": {Rights: Rights{AddCapabilities: []string{"CAP_SYS_TIME"}}, Machine: Machine{Ulimits: []Ulimit{{"nofile", 100, 200}}}},
		"files": {Files: []File{{Target: "/run/secrets/a", Data: []byte("secret"), Mode: 0o400}, {Target: "/b", Mode: 0o555, UID: 1000, GID: 50}},
			Binds: []Bind{{Source: host, Target: "/dir", ReadOnly: true}, {Source: filepath.Join(host, "f"), Target: "/etc/f"}}},
		"below": {Binds: []Bind{{Source: host, Target: "/dir"}, {Target: "/dir/x", Tmpfs: true}, {Target: "/t", Tmpfs: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			direct, _ := r.sh(t, spec, look)
			t.Run("libcontainer", func(t *testing.T) {
				withoutStarter(t)
				want, _ := r.sh(t, spec, look)
				if diff := cmp.Diff(want, direct); diff != "" || len(want) < 1000 {
					t.Errorf("(-libcontainer +direct):\n%s", diff)
				}
			})
		})
	}
}

// The promises of the other tests hold for libcontainer, which starts what is not usual.
func TestLibcontainer(t *testing.T) {
	withoutStarter(t)
	t.Run("run", TestRun)
	t.Run("errors", TestRunErrors)
	t.Run("unexecuted", TestRunUnexecuted)
	t.Run("sandbox", TestSandbox)
	t.Run("files", TestFiles)
	t.Run("cancel", TestCancel)
}

// A starter that somebody killed takes its containers along, and is replaced.
func TestStarterIsReplaced(t *testing.T) {
	r := busyboxRoot(t, nil)
	st := sharedStarter(t.TempDir())
	if st == nil {
		t.Skip("there is no starter here")
	}
	started := &notifyWriter{seen: make(chan struct{})}
	go func() {
		<-started.seen
		st.Kill()
	}()
	code, err := Run(context.Background(), Spec{
		Rootfs: r.merged, StateDir: t.TempDir(), Streams: Streams{Stdout: started}, Args: []string{"/bin/sh", "-c", "echo started; sleep 1000"},
	})
	if err == nil {
		t.Errorf("exit code %d, and no error", code)
	}
	waitFor(t, "no process is left", func() bool { return r.processes(t) == 0 })
	if out, code := r.sh(t, Spec{}, "echo on"); out != "on\n" || code != 0 {
		t.Errorf("%q, exit code %d", out, code)
	}
	if sharedStarter(t.TempDir()) == st {
		t.Error("it still is the first")
	}
}

// The program that the starter is cannot be written by a container that executes it (CVE-2019-5736).
func TestStarterIsSealed(t *testing.T) {
	r := busyboxRoot(t, map[string]string{"script": "#!/proc/self/exe\n"})
	must(t, os.Chmod(filepath.Join(r.lower, "script"), 0o755))
	exe, err := os.Executable()
	must(t, err)
	before, err := os.Stat(exe)
	must(t, err)
	const try = `exec 7</proc/1/exe; sleep 1; echo x 2>&1 >/proc/self/fd/7; ls -l /proc/1/exe`
	if out, _ := r.sh(t, Spec{}, try); strings.Contains(out, exe) {
		t.Errorf("a container sees %s", out)
	}
	_, _, _ = r.run(t, Spec{Args: []string{"/script"}}) // it may do anything but that
	after, err := os.Stat(exe)
	must(t, err)
	if !after.ModTime().Equal(before.ModTime()) || after.Size() != before.Size() {
		t.Error("the program was changed")
	}
}
