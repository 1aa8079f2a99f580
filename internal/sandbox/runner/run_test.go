package runner

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n"
	group  = "root:x:0:\nann:x:1000:\nstaff:x:50:ann\naudio:x:29:ann,bob\n"
)

// What a container prints, and its exit code.
func TestRun(t *testing.T) {
	r := busyboxRoot(t, map[string]string{"etc/passwd": passwd, "etc/group": group})
	for _, test := range []struct {
		name   string
		spec   Spec
		script string
		want   string
		code   int
	}{
		{name: "output", script: "echo out; echo err >&2", want: "out\nerr\n"},
		{name: "exit code", script: "exit 42", code: 42},
		{name: "signal", script: "sh -c 'kill -9 $$'; exit $?", want: "Killed\n", code: 137},
		{name: "default environment", script: "env | grep -v '^PWD\\|^SHLVL' | sort",
			want: "HOME=/root\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"},
		{name: "environment", spec: Spec{Env: []string{"PATH=/bin", "A=1", "A=b c", "HOME=/h"}}, script: "echo $PATH $A $HOME", want: "/bin b c /h\n"},
		{name: "home of a user", spec: Spec{User: "ann"}, script: "echo $HOME", want: "/home/ann\n"},
		{name: "home of a number", spec: Spec{User: "4711"}, script: "echo $HOME", want: "/\n"},
		{name: "root", script: "id", want: "uid=0(root) gid=0(root) groups=0(root)\n"},
		{name: "name", spec: Spec{User: "ann"}, script: "id -u; id -g; id -G", want: "1000\n1000\n1000 29 50\n"},
		{name: "name and group", spec: Spec{User: "ann:staff"}, script: "id -u; id -G", want: "1000\n50\n"},
		{name: "number of a name", spec: Spec{User: "1000"}, script: "id -u; id -G", want: "1000\n1000 29 50\n"},
		{name: "unknown numbers", spec: Spec{User: "4711:42"}, script: "id -u; id -G", want: "4711\n42\n"},
		{name: "unknown number", spec: Spec{User: "4711"}, script: "id -u; id -g", want: "4711\n0\n"},
		{name: "working directory", spec: Spec{Dir: "/etc"}, script: "pwd", want: "/etc\n"},
		{name: "missing working directory", spec: Spec{Dir: "/a/b", User: "ann"}, script: "pwd; stat -c '%U %a' /a/b", want: "/a/b\nroot 755\n"},
		{name: "missing working directory, read-only", spec: Spec{Dir: "/r/b", ReadOnly: true}, script: "pwd", want: "/r/b\n"},
		{name: "host name", spec: Spec{Machine: Machine{Hostname: "there"}}, script: "hostname; cat /etc/hostname; grep -c there /etc/hosts", want: "there\nthere\n1\n"},
		{name: "stdin", spec: Spec{Streams: Streams{Stdin: strings.NewReader("from outside")}}, script: "cat", want: "from outside"},
		{name: "no stdin", script: "wc -c", want: "0\n"},
		{name: "read-only root", spec: Spec{ReadOnly: true}, script: "touch /x 2>&1; touch /dev/shm/x && echo ok", want: "touch: /x: Read-only file system\nok\n"},
		{name: "process 1", script: "echo $$", want: "1\n"},
		{name: "no descriptors", script: "ls /proc/1/fd; true", want: "0\n1\n2\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, code := r.sh(t, test.spec, test.script)
			if diff := cmp.Diff(test.want, got); diff != "" || code != test.code {
				t.Errorf("exit code %d, want %d; output (-want +got):\n%s", code, test.code, diff)
			}
		})
	}
}

// A program that cannot be started, or a sandbox that cannot be made.
func TestRunErrors(t *testing.T) {
	r := busyboxRoot(t, map[string]string{"etc/passwd": passwd, "plain": "no program"})
	for _, test := range []struct {
		name string
		spec Spec
		code int
		text string
	}{
		{"not in the PATH", Spec{Args: []string{"nothere"}}, ExitNotFound, `exec: "nothere": executable file not found in $PATH`},
		{"no such file", Spec{Args: []string{"/nothere"}}, ExitNotFound, `exec: "/nothere": stat /nothere: no such file or directory`},
		{"not executable", Spec{Args: []string{"/plain"}}, ExitNotExecutable, `exec: "/plain": permission denied`},
		{"directory", Spec{Args: []string{"/etc"}}, ExitNotExecutable, `exec: "/etc": is a directory`},
		{"unknown user", Spec{Args: []string{"true"}, User: "bob"}, ExitSandbox, "unable to find user bob"},
		{"working directory is a file", Spec{Args: []string{"true"}, Dir: "/plain"}, ExitSandbox, "start the container: mkdir /plain: not a directory"},
		{"no command", Spec{}, ExitSandbox, "no command"},
		{"unknown network", Spec{Args: []string{"true"}, Network: "lan"}, ExitSandbox, `unknown network lan`},
		{"missing bind", Spec{Args: []string{"true"}, Binds: []Bind{{Source: "/nothere", Target: "/x"}}}, ExitSandbox, "/nothere"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, code, err := r.run(t, test.spec)
			if err == nil || !strings.Contains(err.Error(), test.text) || code != test.code {
				t.Errorf("got %d, %v; want %d, %s", code, err, test.code, test.text)
			}
		})
	}
}

// A program that is there, and that the kernel does not execute, is a process that ends with 255, and says why.
func TestRunUnexecuted(t *testing.T) {
	r := busyboxRoot(t, map[string]string{"bin/script": "#!/bin/nothere\n", "bin/text": "no program", "bin/private": "#!/bin/sh\n", "etc/passwd": passwd})
	for name, mode := range map[string]os.FileMode{"script": 0o755, "text": 0o755, "private": 0o700} {
		must(t, os.Chmod(filepath.Join(r.lower, "bin", name), mode))
	}
	for name, want := range map[string]string{
		"/bin/script": "exec /bin/script: no such file or directory\n", "script": "exec /bin/script: no such file or directory\n",
		"/bin/text": "exec /bin/text: exec format error\n", "text": "exec /bin/text: exec format error\n",
	} {
		out, code, err := r.run(t, Spec{Args: []string{name}})
		if out != want || code != 255 || err != nil {
			t.Errorf("%s: %q, exit code %d, %v; want %q", name, out, code, err, want)
		}
	}
	out, code, err := r.run(t, Spec{Args: []string{"echo", strings.Repeat("x", 200_000)}})
	if out != "exec /bin/echo: argument list too long\n" || code != 255 || err != nil {
		t.Errorf("a long argument: %q, exit code %d, %v", out, code, err)
	}
	if _, code, err := r.run(t, Spec{Args: []string{"private"}, User: "1000"}); code != ExitNotFound || err == nil {
		t.Errorf("another user's program: exit code %d, %v", code, err)
	}
	code, err = Run(t.Context(), Spec{Rootfs: r.merged, StateDir: t.TempDir(), Args: []string{"script"}})
	if code != 255 || err != nil {
		t.Errorf("without a stream: exit code %d, %v", code, err)
	}
}

// Writers that are equal share a pipe, which keeps the order; others get what is theirs.
func TestRunStreams(t *testing.T) {
	r := busyboxRoot(t, nil)
	var out, errs bytes.Buffer
	if _, code := r.sh(t, Spec{Streams: Streams{Stdout: &out, Stderr: &errs}}, "echo out; echo err >&2"); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if out.String() != "out\n" || errs.String() != "err\n" {
		t.Errorf("got %q and %q", out.String(), errs.String())
	}
}

// A pipe for input that nobody writes to or closes must not keep Run from returning.
func TestRunOpenStdin(t *testing.T) {
	r := busyboxRoot(t, nil)
	in, keep, err := os.Pipe()
	must(t, err)
	defer in.Close()
	defer keep.Close()
	if got, _ := r.sh(t, Spec{Streams: Streams{Stdin: in}}, "echo done"); got != "done\n" {
		t.Errorf("got %q", got)
	}
}

// Binds are seen where they should be, and not written where they should not.
func TestRunBinds(t *testing.T) {
	r := busyboxRoot(t, nil)
	host := t.TempDir()
	must(t, os.WriteFile(filepath.Join(host, "file"), []byte("host"), 0o644))
	got, _ := r.sh(t, Spec{Binds: []Bind{
		{Source: host, Target: "/rw/here"},
		{Source: host, Target: "/ro", ReadOnly: true},
		{Source: filepath.Join(host, "file"), Target: "/one", ReadOnly: true},
	}}, "cat /one /rw/here/file; echo; touch /ro/x; touch /rw/here/x && echo written")
	if want := "hosthost\ntouch: /ro/x: Read-only file system\nwritten\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := os.Stat(filepath.Join(host, "x")); err != nil {
		t.Error(err)
	}
	expectTree(t, r.upper, nil)
}
