package runner

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/test/testbed"
)

func TestMain(m *testing.M) {
	Init()
	if len(os.Args) > 1 && os.Args[1] == builderArg {
		builder(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	}
	os.Exit(testbed.Main(m))
}

// rootfs is an overlay mount whose lower layer is one static busybox.
type rootfs struct{ lower, upper, merged string }

// busyboxRoot mounts a busybox root file system; each file is put on top of it.
func busyboxRoot(t testing.TB, files map[string]string) rootfs {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers and overlay mounts need root")
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs busybox: apt-get install busybox-static")
	}
	dir := t.TempDir()
	r := rootfs{filepath.Join(dir, "lower"), filepath.Join(dir, "upper"), filepath.Join(dir, "merged")}
	bin := filepath.Join(r.lower, "bin")
	for _, d := range []string{bin, r.upper, r.merged, filepath.Join(dir, "work")} {
		must(t, os.MkdirAll(d, 0o755))
	}
	data, err := os.ReadFile(busybox)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(bin, "busybox"), data, 0o755))
	list, err := exec.Command(busybox, "--list").Output()
	must(t, err)
	for name := range strings.FieldsSeq(string(list)) {
		if name != "busybox" {
			must(t, os.Symlink("busybox", filepath.Join(bin, name)))
		}
	}
	for name, text := range files {
		path := filepath.Join(r.lower, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o644))
	}
	options := "lowerdir=" + r.lower + ",upperdir=" + r.upper + ",workdir=" + filepath.Join(dir, "work")
	must(t, unix.Mount("overlay", r.merged, "overlay", 0, options))
	t.Cleanup(func() {
		if err := unix.Unmount(r.merged, 0); err != nil {
			t.Errorf("unmount %s: %v", r.merged, err)
		}
	})
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sh runs a shell script with the rest of the Spec as given, and returns what it printed.
func (r rootfs) sh(t testing.TB, s Spec, script string) (string, int) {
	t.Helper()
	s.Args = []string{"/bin/sh", "-c", script}
	out, code, err := r.run(t, s)
	must(t, err)
	return out, code
}

func (r rootfs) run(t testing.TB, s Spec) (string, int, error) {
	t.Helper()
	var out bytes.Buffer
	s.Rootfs, s.StateDir = r.merged, t.TempDir()
	if s.Stdout == nil {
		s.Stdout, s.Stderr = &out, &out
	}
	code, err := Run(context.Background(), s)
	if left, rerr := os.ReadDir(s.StateDir); rerr != nil {
		t.Error(rerr)
	} else {
		for _, e := range left {
			if strings.HasPrefix(e.Name(), "strata-") {
				t.Errorf("%s was left in the state directory", e.Name())
			}
		}
	}
	return out.String(), code, err
}

// BenchmarkRun is a whole step but for mounting its root file system, which has the mount points as a distribution's
// has.
func BenchmarkRun(b *testing.B) {
	r := busyboxRoot(b, map[string]string{"etc/resolv.conf": "", "etc/hosts": "", "etc/hostname": ""})
	for _, dir := range []string{"proc", "sys", "dev"} {
		must(b, os.Mkdir(filepath.Join(r.upper, dir), 0o755))
	}
	run := func(b *testing.B) {
		for b.Loop() {
			if _, code, err := r.run(b, Spec{Args: []string{"/bin/true"}}); code != 0 || err != nil {
				b.Fatal(code, err)
			}
		}
	}
	b.Run("direct", run)
	b.Run("libcontainer", func(b *testing.B) {
		withoutStarter(b)
		run(b)
	})
}
