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
// incontainer [-user N] [-network NETWORK] [-unconfined] [-env NAME=VALUE]... program arguments... The container has the
// script's folder where it is, a store of its own in $WORK/pod, and no network unless one is named. With -unconfined the
// profile permits name spaces. The script has called dockerd.
func inContainer(ts *testscript.TestScript, neg bool, args []string) {
	work, root := ts.Getenv("WORK"), filepath.Join(ts.Getenv("WORK"), "pod")
	ts.Check(os.MkdirAll(root, 0o755))
	here, err := filepath.Abs(ts.MkAbs("."))
	ts.Check(err)
	run := []string{"run", "--rm", "--init", "-v", work + ":" + work, "-w", here, "-e", "HOME=" + work, "-e", "STRATA_ROOT=" + root}
	for _, name := range []string{"SOURCE_DATE_EPOCH", "STRATA_OBSERVE", "DOCKER_BUILDKIT"} {
		run = append(run, "-e", name+"="+ts.Getenv(name))
	}
	network := "none"
	for len(args) > 2 && (args[0] == "-user" || args[0] == "-env" || args[0] == "-network" || args[0] == "-unconfined") {
		switch args[0] {
		case "-unconfined":
			run, args = append(run, "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"), args[1:]
			continue
		case "-network":
			network = args[1]
		case "-user":
			run = append(run, "--user", args[1])
		default:
			run = append(run, "-e", args[1])
		}
		args = args[2:]
	}
	run = append(run, "--network", network)
	if len(args) == 0 {
		ts.Fatalf("usage: incontainer [-user N] [-network NETWORK] [-unconfined] [-env NAME=VALUE]... program arguments...")
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
