package test

import (
	"fmt"

	"github.com/rogpeppe/go-internal/testscript"
)

// buildah runs buildah with a storage of the script's own and without a container runtime, which is all that it needs
// here: buildah bud and buildah push.
func buildah(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: buildah COMMAND ARGUMENT...")
	}
	all := []string{
		"--root", ts.Getenv("WORK") + "/.buildah/root", "--runroot", ts.Getenv("WORK") + "/.buildah/run", "--storage-driver", "vfs",
		args[0], "--tls-verify=false",
	}
	if args[0] == "bud" {
		all = append(all, "--isolation", "chroot", "--layers")
	}
	err := ts.Exec("buildah", append(all, args[1:]...)...)
	if failed := err != nil; failed != neg {
		ts.Fatalf("buildah %v: %v", args, fmt.Sprint(err))
	}
}
