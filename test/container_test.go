package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strata-build/strata/test/testbed"
)

// inContainer runs a program in a container as dockerd makes it by itself, with its default profile and capabilities:
// incontainer [-user N] [-env NAME=VALUE]... program arguments... The container has the script's folder where it is,
// and a store of its own in $WORK/pod. The script has called dockerd.
func inContainer(ts *testscript.TestScript, neg bool, args []string) {
	work, root := ts.Getenv("WORK"), filepath.Join(ts.Getenv("WORK"), "pod")
	ts.Check(os.MkdirAll(root, 0o755))
	here, err := filepath.Abs(ts.MkAbs("."))
	ts.Check(err)
	run := []string{"run", "--rm", "--init", "--network", "none", "-v", work + ":" + work, "-w", here, "-e", "HOME=" + work, "-e", "STRATA_ROOT=" + root}
	for _, name := range []string{"SOURCE_DATE_EPOCH", "STRATA_OBSERVE", "DOCKER_BUILDKIT"} {
		run = append(run, "-e", name+"="+ts.Getenv(name))
	}
	for len(args) > 2 && (args[0] == "-user" || args[0] == "-env") {
		flag := map[string]string{"-user": "--user", "-env": "-e"}[args[0]]
		run, args = append(run, flag, args[1]), args[2:]
	}
	if len(args) == 0 {
		ts.Fatalf("usage: incontainer [-user N] [-env NAME=VALUE]... program arguments...")
	}
	for _, mount := range programMounts(ts) {
		run = append(run, "-v", mount)
	}
	err = ts.Exec("docker", append(append(run, testbed.DebianImage), args...)...)
	if (err != nil) != neg {
		ts.Fatalf("incontainer %v: %v", args, err)
	}
}

// programMounts show the program in a container of the same Debian, with the libraries that a base does not have.
func programMounts(ts *testscript.TestScript) []string {
	binary, err := exec.LookPath(filepath.Join(strings.Split(ts.Getenv("PATH"), ":")[0], "strata"))
	ts.Check(err)
	mounts := []string{binary + ":/usr/bin/strata:ro"}
	libraries, err := exec.CommandContext(context.Background(), "ldd", binary).Output()
	if err != nil {
		return mounts // it is linked statically
	}
	for line := range strings.Lines(string(libraries)) {
		if fields := strings.Fields(line); len(fields) > 2 && strings.HasPrefix(fields[0], "libseccomp") {
			mounts = append(mounts, fields[2]+":"+fields[2]+":ro")
		}
	}
	return mounts
}

// TestScriptInContainer has root of a container, as dockerd makes it by itself, go through a lesson that root of the
// machine goes through in TestScript, and install a package as it does.
func TestScriptInContainer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("dockerd runs as root only")
	}
	if testing.Short() {
		t.Skip("needs dockerd and a Python image: run without -short")
	}
	bed, ctx := newBed(t), context.Background()
	p := bed.params()
	p.Files = []string{"script/lesson2_cache.txtar", "container/packages.txtar"}
	p.Cmds["rootbase"], p.Cmds["rootstrata"] = p.Cmds["base"], p.Cmds["strata"]
	images := sync.OnceValues(func() (string, error) {
		root, err := bed.stores["python"]()
		if err != nil {
			return "", err
		}
		archive := filepath.Join(bed.dir, "images.tar")
		save := exec.CommandContext(ctx, bed.binary, "save", "-o", archive, testbed.DebianImage, testbed.PythonImage)
		save.Env = append(os.Environ(), "STRATA_ROOT="+root.Root)
		if out, err := save.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w\n%s", save.Args, err, out)
		}
		return archive, os.Chmod(archive, 0o644)
	})
	p.Cmds["base"] = func(ts *testscript.TestScript, _ bool, _ []string) {
		archive, err := images()
		ts.Check(err)
		ts.Check(os.Link(archive, filepath.Join(ts.Getenv("WORK"), "images.tar")))
		bed.dockerd(ts, false, nil)
		inContainer(ts, false, []string{"strata", "load", "-q", "-i", filepath.Join(ts.Getenv("WORK"), "images.tar")})
	}
	p.Cmds["strata"] = func(ts *testscript.TestScript, neg bool, args []string) {
		inContainer(ts, neg, append([]string{"strata"}, args...))
	}
	asRoot := p.Condition
	p.Condition = func(name string) (bool, error) {
		if name == "observes" {
			return false, nil
		}
		return asRoot(name)
	}
	testscript.Run(t, p)
}
