// Package install tries the packages where nothing else of strata is: in a Debian root file system with nothing but
// apt.
package install

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strata-build/strata/test/testbed"
)

var dist = flag.String("dist", "", "the folder with the packages that make packages made; without it nothing is tried")

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// make test-install runs it.
func TestInstall(t *testing.T) {
	if *dist == "" {
		t.Skip("needs packages: make test-install")
	}
	base, err := exec.Command("./debian").Output()
	if err != nil {
		t.Fatalf("making a Debian root file system: %v", err)
	}
	busybox, err := testbed.Busybox(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	python, err := testbed.Debian(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	module, err := testbed.Root()
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := exec.Command("go", "env", "GOPROXY").Output()
	if err != nil {
		t.Fatal(err)
	}
	inside, err := filepath.Abs("inside")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "script",
		Setup: func(env *testscript.Env) error {
			root := filepath.Join(env.WorkDir, "root")
			if err := unpack(strings.TrimSpace(string(base)), root); err != nil {
				return err
			}
			env.Setenv("ROOT", root)
			env.Setenv("MODULE", module)
			env.Setenv("GOPROXY", strings.TrimSpace(string(proxy)))
			env.Setenv("PYTHON", python)
			env.Setenv("BUSYBOX", busybox)
			env.Setenv("BASE", strings.TrimSpace(string(base)))
			env.Setenv("ARCH", runtime.GOARCH)
			return os.CopyFS(filepath.Join(root, "dist"), os.DirFS(*dist))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// inside COMMAND...: runs it in the root file system.
			"inside": func(ts *testscript.TestScript, neg bool, args []string) {
				err := ts.Exec(inside, append([]string{ts.Getenv("ROOT")}, args...)...)
				if failed := err != nil; failed != neg {
					ts.Fatalf("inside %v: %v", args, err)
				}
			},
		},
	})
}

func unpack(tar, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return exec.Command("tar", "-C", dir, "--numeric-owner", "-xpf", tar).Run()
}
