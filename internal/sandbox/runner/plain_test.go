package runner

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// plainRoot is the root of a step where nothing can be mounted: busybox, with what plainroot puts into each.
func plainRoot(t *testing.T) rootfs {
	t.Helper()
	r := busyboxRoot(t, map[string]string{"etc/passwd": passwd, "etc/kept": "the root's"})
	for _, dir := range []string{"proc", "sys", "tmp"} {
		must(t, os.Mkdir(filepath.Join(r.merged, dir), 0o777))
		must(t, os.Chmod(filepath.Join(r.merged, dir), 0o777))
	}
	return r
}

// sh runs a shell script in it.
func (r rootfs) plainSh(t *testing.T, s Spec, script string) string {
	t.Helper()
	var out bytes.Buffer
	s.Rootfs, s.Args = r.merged, []string{"/bin/sh", "-c", script}
	s.Stdout, s.Stderr = &out, &out
	if _, err := RunPlain(context.Background(), s, nil); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// What a step finds in /proc, and that a path there leads to no other process and to nothing outside of its root.
func TestPlainProc(t *testing.T) {
	r := plainRoot(t)
	outside := t.TempDir() // its name is in both roots, the file only in the machine's
	must(t, os.WriteFile(filepath.Join(outside, "machine"), []byte("the machine's"), 0o644))
	must(t, os.Chmod(outside, 0o755))
	must(t, os.Chmod(filepath.Dir(outside), 0o755))
	must(t, os.Symlink(outside, filepath.Join(r.merged, "link")))
	must(t, os.Symlink("/etc/kept", filepath.Join(r.merged, "etc/absolute")))
	t.Setenv("SECRET_OF_STRATA", "hunter2")
	must(t, os.Mkdir(filepath.Join(r.merged, "dev"), 0o755))
	must(t, unix.Mknod(filepath.Join(r.merged, "dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, os.Chmod(filepath.Join(r.merged, "dev/null"), 0o666))
	for _, test := range []struct {
		name, script, want string
		spec               Spec
	}{
		{name: "itself", script: "readlink /proc/self/exe; readlink /proc/self/root; readlink /proc/self/cwd; cut -d' ' -f1 /proc/self/stat >/tmp/n; [ $(readlink /proc/self) -gt 1 ] && echo number",
			spec: Spec{Dir: "/etc"}, want: "/bin/busybox\n/\n/etc\nnumber\n"},
		{name: "the first process is the step's", script: "readlink /proc/1/root; tr '\\0' ' ' </proc/1/cmdline | cut -c1-10", want: "/\n/bin/sh -c\n"},
		{name: "streams", script: "echo out >/dev/stdout; echo fd >/proc/self/fd/1; echo in | cat /dev/stdin; echo here | cat /dev/fd/0", want: "out\nfd\nin\nhere\n"},
		{name: "files behind descriptors", script: "exec 3</etc; cat /proc/self/fd/3/kept; echo; cat /dev/fd/3/absolute; echo; cat /proc/self/root/etc/absolute; echo; cat /proc/self/cwd/absolute",
			spec: Spec{Dir: "/etc"}, want: strings.TrimSuffix(strings.Repeat("the root's\n", 4), "\n")},
		{name: "links behind descriptors", script: "exec 3</; for l in /proc/self/fd/3/link /proc/self/root/link /proc/self/cwd/link /proc/1/root/link /proc/thread-self/root/link; do cat $l/machine 2>/dev/null || echo none; done; readlink /proc/self/fd/3/etc/absolute",
			want: strings.Repeat("none\n", 5) + "/etc/kept\n"},
		{name: "others", script: "for p in $(ls /proc 2>/dev/null | grep '^[0-9]'); do cat /proc/$p/environ 2>/dev/null; done | grep -c hunter2; ls /proc/2/root 2>&1", want: "0\nls: /proc/2/root: No such file or directory\n"},
		{name: "children", script: "sleep 5 & grep -c . /proc/$!/stat; (sleep 5 & echo $! >/tmp/orphan); grep -c . /proc/$(cat /tmp/orphan)/stat", want: "1\n1\n"},
		{name: "a user", spec: Spec{User: "1000:7"}, script: "cat /proc/self/status | grep -E '^(Uid|Groups)'; stat -c %u /proc/self/fd; (: >/proc/sys/kernel/panic) 2>/dev/null || echo refused; cat /proc/1/root/etc/shadow 2>/dev/null || echo none",
			want: "Uid:\t1000\t1000\t1000\t1000\nGroups:\t7 \n1000\nrefused\nnone\n"},
		{name: "executes itself", script: "(exec -a echo /proc/self/exe again); cp /bin/busybox /tmp/copy; (exec -a sh /tmp/copy -c 'exec -a readlink /proc/self/exe /proc/self/exe'); exec 3</bin/busybox; (exec -a echo /proc/self/fd/3 opened)",
			want: "again\n/tmp/copy\nopened\n"},
		{name: "relative to the root", script: "cut -c1-5 proc/self/status | head -1; cat /proc/uptime >dev/null; cd /etc; cat proc/self/status 2>/dev/null || echo none", want: "Name:\nnone\n"},
		{name: "no descriptor left", script: "ulimit -n 4; exec 3</; (read line </proc/self/status) 2>&1", want: "/bin/sh: can't open /proc/self/status: Too many open files\n"},
		{name: "a device of its own", script: "exec 3</dev/null; [ $(stat -L -c %d:%i /proc/self/fd/3) = $(stat -c %d:%i $PWD/dev/null) ] && echo its own; head -c3 /dev/zero | wc -c",
			want: "its own\n3\n"},
		{name: "terminal", script: "(: </dev/tty) 2>&1", want: "/bin/sh: can't open /dev/tty: No such device or address\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, r.plainSh(t, test.spec, test.script)); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

// A step that is ended takes its secrets along, wherever it moved them, and removes nothing in their place.
func TestPlainSecrets(t *testing.T) {
	r := plainRoot(t)
	victim := t.TempDir()
	must(t, os.WriteFile(filepath.Join(victim, "s"), []byte("the machine's"), 0o644))
	secret := filepath.Join(r.merged, "secrets/s")
	must(t, os.Mkdir(filepath.Dir(secret), 0o755))
	must(t, os.WriteFile(secret, []byte("hunter2"), 0o400))
	ctx, cancel := context.WithCancel(context.Background())
	started := writerFunc(cancel)
	_, err := RunPlain(ctx, Spec{
		Rootfs: r.merged, Args: []string{"/bin/sh", "-c", "mv /secrets/s /moved; mv /secrets /away; ln -s " + victim + " /secrets; echo started; sleep 1000"},
		Streams: Streams{Stdout: started},
	}, []string{secret})
	if err == nil {
		t.Error("it was not cancelled")
	}
	if data, err := os.ReadFile(filepath.Join(r.merged, "moved")); err != nil || len(data) > 0 {
		t.Errorf("the secret is %q, %v", data, err)
	}
	if _, err := os.Stat(filepath.Join(victim, "s")); err != nil {
		t.Error(err)
	}
}

func TestOutside(t *testing.T) {
	for _, test := range []struct{ name, want string }{
		{"/proc", "/proc"},
		{"/proc/self/exe", "/proc/7/exe"},
		{"/proc/self", "/proc/7"},
		{"/proc/thread-self/comm", "/proc/7/task/8/comm"},
		{"/proc/1/root", "/proc/5/root"},
		{"/proc/12/root", "/proc/12/root"},
		{"/proc/mounts", "/proc/7/mounts"},
		{"/proc//self/./fd/../exe", "/proc/7/exe"},
		{"/proc/../etc/shadow", ""},
		{"/process", ""},
		{"/sys/fs/cgroup", "/sys/fs/cgroup"},
		{"/dev/fd/3", "/proc/7/fd/3"},
		{"/dev/stdout", "/proc/7/fd/1"},
		{"/dev/null", "/dev/null"},
		{"/dev/sda", ""},
		{"/dev/shm/x", ""},
		{"/etc/mtab", "/proc/7/mounts"},
		{"/etc/passwd", ""},
		{"proc/self", ""},
		{"", ""},
	} {
		got, ok := outside(test.name, &asker{thread: 8, process: 7}, 5)
		if got != test.want || ok != (test.want != "") {
			t.Errorf("%s: %q, %v; want %q", test.name, got, ok, test.want)
		}
	}
}

func TestSplitLink(t *testing.T) {
	for _, test := range []struct{ file, link, rest string }{
		{"/proc/7/root/etc/passwd", "/proc/7/root", "etc/passwd"},
		{"/proc/7/root", "/proc/7/root", ""},
		{"/proc/7/cwd/l", "/proc/7/cwd", "l"},
		{"/proc/7/fd/3/l/m", "/proc/7/fd/3", "l/m"},
		{"/proc/7/fd/3", "/proc/7/fd/3", ""},
		{"/proc/7/fd", "/proc/7/fd", ""},
		{"/proc/7/task/8/root/l", "/proc/7/task/8/root", "l"},
		{"/proc/7/task/8/fd/3/l", "/proc/7/task/8/fd/3", "l"},
		{"/proc/7/task/8/fd/3", "/proc/7/task/8/fd/3", ""},
		{"/proc/7/net/dev", "/proc/7/net/dev", ""},
		{"/sys/root/l", "/sys/root/l", ""},
	} {
		if link, rest := splitLink(test.file); link != test.link || rest != test.rest {
			t.Errorf("%s: %q, %q; want %q, %q", test.file, link, rest, test.link, test.rest)
		}
	}
}
