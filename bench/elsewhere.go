package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	if err := writeDockerfile(e.pulled(), "FROM "+base+"\nRUN true\n"); err != nil {
		return err
	}
	if err := writeDockerfile(e.written(), writtenDockerfile); err != nil {
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

func (e *elsewhere) repository(name string) string { return e.registry.Address + "/bench/" + name }

func (e *elsewhere) tag(tag string) string { return e.repository("app") + ":" + tag }

// pulled and written are contexts with nothing but a Dockerfile.
func (e *elsewhere) pulled() string  { return e.context + "-pulled" }
func (e *elsewhere) written() string { return e.context + "-written" }

// scenarios are those of an empty store, and of a layer that is made and pushed.
func (e *elsewhere) scenarios() []*scenario {
	return []*scenario{
		{name: "empty store, all in the registry's cache: build, push a new tag", reach: 150 * time.Millisecond,
			command: e.build, before: e.restore, limit: e.twoStarts()},
		{name: "the same, one source file changed", command: e.build, before: e.change},
		{name: "empty store: pull a base of 65 MB, RUN true", reach: 700 * time.Millisecond, before: e.restore,
			command: func(ctx context.Context) *exec.Cmd { return e.strata.build(ctx, e.pulled(), "bench/pulled", false) },
			limit:   getImage(e.registry.Address, testbed.PythonImage)},
		{name: "RUN that writes 500 MB, and push", reach: 3 * time.Second, before: e.refill,
			command: func(ctx context.Context) *exec.Cmd { return e.buildAndPush(ctx, e.written(), e.repository("written")) },
			limit:   writingAndCopying(writtenBytes, e.context+"-dd")},
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

func (e *elsewhere) buildAndPush(ctx context.Context, dir, tag string, flags ...string) *exec.Cmd {
	script := `strata=$1 tag=$2; shift 2; "$strata" build -q --network host -t "$tag" "$@" && "$strata" push -q "$tag"`
	cmd := exec.CommandContext(ctx, "sh", slices.Concat([]string{"-c", script, "sh", e.strata.binary, tag}, flags, []string{dir})...)
	cmd.Env = append(os.Environ(), "STRATA_ROOT="+e.strata.root)
	return cmd
}

// refill gives the store the base images, and nothing else.
func (e *elsewhere) refill(ctx context.Context, _ builder, _ *scenario) error {
	return e.strata.forget(ctx, "")
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
