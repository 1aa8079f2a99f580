package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

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
	binary, err := exec.LookPath(filepath.Join(strings.Split(ts.Getenv("PATH"), ":")[0], "strata"))
	ts.Check(err)
	for _, mount := range testbed.ProgramMounts(binary) {
		run = append(run, "-v", mount)
	}
	err = ts.Exec("docker", append(append(run, testbed.DebianImage), args...)...)
	if (err != nil) != neg {
		ts.Fatalf("incontainer %v: %v", args, err)
	}
}
