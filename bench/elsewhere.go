package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/strata-build/strata/test/testbed"
)

// The rows in which a registry takes part. Docker and buildah are not asked for them: to take the base images from
// them is another matter.
const (
	rowCached     = "empty store, all in the registry's cache: build, push a new tag"
	rowCachedEdit = "the same, one source file changed"
	rowPull       = "empty store: pull a base of 65 MB, RUN true"
	rowPush       = "RUN that writes 500 MB, and push"
)

// elsewhere is a registry with the Python base and an image of the lesson's app that carries its cache, for a machine
// that has nothing.
type elsewhere struct {
	registry  *testbed.Registry
	context   string  // the app, on the registry's base
	published *strata // has what is in the registry
	strata    *strata // what is measured
	busybox   string  // busybox's file system
}

// startElsewhere starts the registry and publishes base and app.
func startElsewhere(ctx context.Context, s *strata, work string) (*elsewhere, error) {
	registry, err := testbed.StartRegistry(ctx, filepath.Join(work, "registry"))
	if err != nil {
		return nil, err
	}
	e := &elsewhere{
		registry:  registry,
		context:   filepath.Join(work, "elsewhere"),
		published: s.beside(filepath.Join(work, "published")),
		strata:    s.beside(filepath.Join(work, "empty")),
		busybox:   filepath.Join(work, "busybox"),
	}
	if err := errors.Join(unpackBusybox(ctx, e.busybox), e.publish(ctx)); err != nil {
		registry.Stop()
		return nil, err
	}
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
	if err := writeDockerfile(e.pulled(), "FROM "+base+"\nRUN true\n"); err != nil {
		return err
	}
	if err := writeDockerfile(e.written(), writtenDockerfile); err != nil {
		return err
	}
	if err := e.published.forget(ctx, ""); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"tag", testbed.PythonImage, base},
		{"push", "-q", base},
		{"build", "--network", "host", "-q", "-t", e.tag("cached"), e.context},
		{"push", "-q", e.tag("cached")},
	} {
		if err := run(e.published.command(ctx, args...)); err != nil {
			return err
		}
	}
	return nil
}

func (e *elsewhere) repository(name string) string { return e.registry.Address + "/bench/" + name }

func (e *elsewhere) tag(tag string) string { return e.repository("app") + ":" + tag }

// pulled and written are contexts with nothing but a Dockerfile.
func (e *elsewhere) pulled() string  { return e.context + "-pulled" }
func (e *elsewhere) written() string { return e.context + "-written" }

// scenarios are those of an empty store, and of a layer that is made and pushed.
func (e *elsewhere) scenarios() []*scenario {
	return []*scenario{
		{name: rowCached, reach: 40 * time.Millisecond, command: e.build, before: e.emptied(e.restoreApp), limit: e.twoStarts()},
		{name: rowCachedEdit, command: e.build, before: e.emptied(e.changeApp)},
		{name: rowPull, reach: 700 * time.Millisecond, context: e.pulled(), by: e.strata, before: e.emptied(e.restoreApp),
			limit: getImage(e.registry.Address, testbed.PythonImage)},
		{name: rowPush, reach: 3 * time.Second, by: e.strata, before: forget,
			command: e.buildPushing,
			limit:   writingAndCopying(writtenBytes, e.context+"-dd", e.busybox)},
	}
}

// twoStarts is what a build and a push cannot do without: their processes, and one question after the other.
func (e *elsewhere) twoStarts() *limit {
	start := processStart(e.strata.binary, "--version")
	return &limit{"2 × `strata --version`, GET of a manifest and its config", func(ctx context.Context) (time.Duration, error) {
		one, err := start.measure(ctx)
		if err != nil {
			return 0, err
		}
		asked, err := timed(func() error {
			manifest, err := getManifest(ctx, e.registry.Address, "bench/app:cached")
			if err != nil {
				return err
			}
			return manifest.get(ctx, manifest.Config)
		})
		return 2*one + asked, err
	}}
}

// build is a build and a push in one shell.
func (e *elsewhere) build(ctx context.Context) *exec.Cmd {
	return e.buildAndPush(ctx, e.context, e.tag("new"), "--cache-from", e.tag("cached"))
}

// buildPushing is a build that pushes what it writes.
func (e *elsewhere) buildPushing(ctx context.Context) *exec.Cmd {
	return e.strata.command(ctx, "build", "-q", "--network", "host", "--push", "-t", e.repository("written"), e.written())
}

func (e *elsewhere) buildAndPush(ctx context.Context, dir, tag string, flags ...string) *exec.Cmd {
	script := `strata=$1 tag=$2; shift 2; "$strata" build -q --network host -t "$tag" "$@" && "$strata" push -q "$tag"`
	cmd := exec.CommandContext(ctx, "sh", slices.Concat([]string{"-c", script, "sh", e.strata.binary, tag}, flags, []string{dir})...)
	cmd.Env = e.strata.command(ctx).Env
	return cmd
}

// emptied is what comes before a build in an empty store.
func (e *elsewhere) emptied(prepare func() error) func(context.Context, builder, *scenario) error {
	return func(context.Context, builder, *scenario) error {
		return errors.Join(prepare(), os.RemoveAll(e.strata.root))
	}
}

// restoreApp takes back what changeApp did.
func (e *elsewhere) restoreApp() error {
	return os.RemoveAll(filepath.Join(e.context, "changed.py"))
}

// changeApp gives the app a file that it never had.
func (e *elsewhere) changeApp() error {
	text := "# " + time.Now().Format(time.RFC3339Nano) + "\n"
	return os.WriteFile(filepath.Join(e.context, "changed.py"), []byte(text), 0o644)
}
