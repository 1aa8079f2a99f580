// Package test runs the transcripts in script/: what people type, and what they see.
package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strata-build/strata/internal/cache/places/placetest"
	"github.com/strata-build/strata/internal/sandbox/tracefs"
	"github.com/strata-build/strata/test/testbed"
)

// bed is what all scripts share. Each part is made when the first script asks for it.
type bed struct {
	dir    string
	binary string
	docker func() (*testbed.Docker, error)
	stores map[string]func() (*testbed.Store, error)

	mu      sync.Mutex // held while a store is made on a rung
	onRungs map[string]*testbed.Store
}

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

func newBed(t *testing.T) *bed {
	ctx := context.Background()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // a script goes on as nobody
		t.Fatal(err)
	}
	binary, err := testbed.Build(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	store := func(name string, python bool) func() (*testbed.Store, error) {
		return sync.OnceValues(func() (*testbed.Store, error) {
			return testbed.MakeStore(ctx, binary, filepath.Join(dir, "store-"+name), python)
		})
	}
	return &bed{
		onRungs: map[string]*testbed.Store{},
		dir:     dir,
		binary:  binary,
		docker: sync.OnceValues(func() (*testbed.Docker, error) {
			docker, err := testbed.StartDocker(ctx, filepath.Join(dir, "docker"))
			if err == nil {
				t.Cleanup(docker.Stop)
			}
			return docker, err
		}),
		stores: map[string]func() (*testbed.Store, error){
			"busybox": store("busybox", false),
			"python":  store("python", true),
		},
	}
}

func TestScript(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("strata builds as root only")
	}
	p := newBed(t).params()
	p.Dir = "script"
	testscript.Run(t, p)
}

// params are what all scripts have.
func (b *bed) params() testscript.Params {
	return testscript.Params{
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", testbed.Path(b.binary))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("STRATA_ROOT", filepath.Join(env.WorkDir, ".strata"))
			root, err := testbed.Root()
			env.Setenv("EXAMPLES", filepath.Join(root, "examples"))
			env.Values[objectsKey{}] = new(*placetest.ObjectServer)
			env.Values[countedKey{}] = new(*countedRegistry)
			env.Values[collectorKey{}] = new(*received)
			return err
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "emulates":
				return registeredForeign(), nil
			case "base-built": // the Python base was built in the script's store, and not loaded
				return true, nil
			case "bash-completion":
				_, err := os.Stat("/usr/share/bash-completion/bash_completion")
				return err == nil, nil
			case "loop": // file systems in files can be made and mounted
				_, makes := exec.LookPath("mkfs.ext4")
				_, mounts := os.Stat("/dev/loop-control")
				return makes == nil && mounts == nil, nil
			case "observes": // what a step reads can be observed
				return tracefs.Available() == nil, nil
			}
			return false, fmt.Errorf("no condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"strata":      program("strata"),
			"docker":      program("docker"),
			"skopeo":      program("skopeo"),
			"buildah":     buildah,
			"asuser":      asUser,
			"incontainer": inContainer,
			"base":        b.base,
			"dockerd":     b.dockerd,
			"registry":    registry,
			"queue":       queue,
			"objects":     objects,
			"counted":     counted,
			"soci":        soci,
			"badregistry": badRegistry,
			"capture":     capture,
			"tars":        tars,
			"serve":       serve,
			"foreign":     foreign,
			"screen":      screen,
			"checkblame":  checkBlame,
			"checkdiff":   checkDiff,
			"web":         web,
			"gitserver":   gitserver,
			"peers":       peers,
			"collector":   collector,
		},
	}
}

// program runs a program like exec does, under its own name: "strata build ." rather than "exec strata build .".
func program(name string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		err := ts.Exec(name, args...)
		if failed := err != nil; failed != neg {
			ts.Fatalf("%s %v: %v", name, args, fmt.Sprint(err))
		}
	}
}

// base busybox|python gives the script a store that has the named base image in it.
func (b *bed) base(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || b.stores[args[0]] == nil {
		ts.Fatalf("usage: base busybox|python")
	}
	if args[0] == "python" {
		notShort(ts, "base python")
	}
	store, err := b.stores[args[0]]()
	ts.Check(err)
	ts.Check(store.Copy(context.Background(), ts.Getenv("STRATA_ROOT")))
}

// dockerd sets DOCKER_HOST to a daemon that all scripts share: tags are to be the script's own. The
// busybox and Debian images are in it.
func (b *bed) dockerd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: dockerd")
	}
	notShort(ts, "dockerd")
	docker, err := b.docker()
	ts.Check(err)
	ts.Setenv("DOCKER_HOST", docker.Host)
	ts.Check(docker.ImportBases(context.Background()))
}

// notShort holds a script to its line [short] skip, where it runs a command that makes the script slow.
func notShort(ts *testscript.TestScript, command string) {
	if testing.Short() {
		ts.Fatalf("%s is slow: the script begins with [short] skip 'needs …: run without -short'", command)
	}
}

// registry starts a registry for this script and sets REGISTRY to its address.
func registry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: registry")
	}
	started, err := testbed.StartRegistry(context.Background(), ts.MkAbs(".registry"))
	ts.Check(err)
	ts.Defer(started.Stop)
	ts.Setenv("REGISTRY", started.Address)
}

// queue starts NATS servers, one or as many as it is told, and sets QUEUE to their URL.
func queue(ts *testscript.TestScript, neg bool, args []string) {
	servers := 1
	if len(args) == 1 {
		n, err := strconv.Atoi(args[0])
		ts.Check(err)
		servers = n
	}
	if neg || len(args) > 1 {
		ts.Fatalf("usage: queue [SERVERS]")
	}
	started, err := testbed.StartQueue(context.Background(), ts.MkAbs(".queue"), servers)
	ts.Check(err)
	ts.Defer(started.Stop)
	ts.Setenv("QUEUE", started.URL)
}

// capture NAME PATTERN [FILE] sets a variable to what the pattern's group matches first, in the last
// command's output or in a file.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: capture NAME PATTERN [FILE]")
	}
	file := "stdout"
	if len(args) == 3 {
		file = args[2]
	}
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	match := pattern.FindStringSubmatch(ts.ReadFile(file))
	if len(match) < 2 {
		ts.Fatalf("%s: no match for %s in:\n%s", file, args[1], ts.ReadFile(file))
	}
	ts.Setenv(args[0], match[1])
}
