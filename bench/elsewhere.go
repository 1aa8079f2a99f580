package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/strata-build/strata/test/testbed"
)

// elsewhere is a registry with the Python base and an image of the lesson's app that carries its cache, for strata on a
// machine that has nothing. The other builders are not asked: to empty the store of one with a daemon is another matter.
type elsewhere struct {
	registry *testbed.Registry
	context  string // the app, on the registry's base
	strata   *strata
}

// startElsewhere starts the registry and publishes base and app.
func startElsewhere(ctx context.Context, s *strata, work string) (*elsewhere, error) {
	registry, err := testbed.StartRegistry(ctx, filepath.Join(work, "registry"))
	if err != nil {
		return nil, err
	}
	e := &elsewhere{
		registry: registry,
		context:  filepath.Join(work, "elsewhere"),
		strata:   &strata{binary: s.binary, base: s.base, root: filepath.Join(work, "published")},
	}
	if err := e.publish(ctx); err != nil {
		registry.Stop()
		return nil, err
	}
	e.strata.root = filepath.Join(work, "empty")
	return e, nil
}

func (e *elsewhere) publish(ctx context.Context) error {
	root, err := testbed.Root()
	if err != nil {
		return err
	}
	if err := os.CopyFS(e.context, os.DirFS(filepath.Join(root, "examples", "lesson-app"))); err != nil {
		return err
	}
	file := filepath.Join(e.context, "Dockerfile")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	base := e.registry.Address + "/" + testbed.PythonImage
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), testbed.PythonImage, base, 1)), 0o644); err != nil {
		return err
	}
	if err := e.strata.forget(ctx, ""); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"tag", testbed.PythonImage, base},
		{"push", "-q", base},
		{"build", "--network", "host", "-q", "-t", e.tag("cached"), e.context},
		{"push", "-q", e.tag("cached")},
	} {
		if err := run(e.strata.command(ctx, args...)); err != nil {
			return err
		}
	}
	return nil
}

func (e *elsewhere) tag(tag string) string { return e.registry.Address + "/bench/app:" + tag }

// scenarios are those of an empty store.
func (e *elsewhere) scenarios() []*scenario {
	return []*scenario{
		{name: "empty store, all in the registry's cache: build, push a new tag", reach: 150 * time.Millisecond,
			command: e.build, before: e.restore},
		{name: "the same, one source file changed", command: e.build, before: e.change},
	}
}

// build is a build and a push in one shell.
func (e *elsewhere) build(ctx context.Context) *exec.Cmd {
	script := fmt.Sprintf("%[1]s build -q --network host --cache-from %[2]s -t %[3]s %[4]s && %[1]s push -q %[3]s",
		e.strata.binary, e.tag("cached"), e.tag("new"), e.context)
	cmd := exec.CommandContext(ctx, "sh", "-c", script)
	cmd.Env = append(os.Environ(), "STRATA_ROOT="+e.strata.root)
	return cmd
}

// restore empties the store, and takes back what change did.
func (e *elsewhere) restore(context.Context, builder, *scenario) error {
	if err := os.RemoveAll(filepath.Join(e.context, "changed.py")); err != nil {
		return err
	}
	return os.RemoveAll(e.strata.root)
}

// change empties the store, and gives the app a file that it never had.
func (e *elsewhere) change(context.Context, builder, *scenario) error {
	text := "# " + time.Now().Format(time.RFC3339Nano) + "\n"
	if err := os.WriteFile(filepath.Join(e.context, "changed.py"), []byte(text), 0o644); err != nil {
		return err
	}
	return os.RemoveAll(e.strata.root)
}
