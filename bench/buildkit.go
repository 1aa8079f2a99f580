package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"

	"github.com/strata-build/strata/test/testbed"
)

// buildkit is a buildkitd of the bench's own, with buildctl as its client. It exports each image into its own store
// of contents, with layers that are not compressed, as strata's store has them; what it pushes has the compression
// that is its default.
type buildkit struct {
	daemon *testbed.BuildKit
	dir    string
	built  string // its version
}

// setUpBuildKit starts the daemon, with the base images in a registry, and gives it the rows that have one.
func setUpBuildKit(ctx context.Context, s *strata, work string) (contender, error) {
	e := s.elsewhere
	b := &buildkit{dir: filepath.Join(work, "buildkit")}
	c := contender{builder: b}
	for _, image := range []string{testbed.BusyboxImage, testbed.PythonImage} {
		name := e.registry.Address + "/library/" + image
		for _, args := range [][]string{{"tag", image, name}, {"push", "-q", name}} {
			if err := run(e.published.command(ctx, args...)); err != nil {
				return c, err
			}
		}
	}
	var err error
	if b.daemon, err = testbed.StartBuildKit(ctx, b.dir, e.registry.Address); err != nil {
		return c, err
	}
	if err := writeDockerfile(b.warm(), "FROM busybox\nRUN true\n"); err != nil {
		return c, err
	}
	if b.built, err = b.revision(ctx); err != nil {
		return c, err
	}
	c.scenarios, err = b.pushing(ctx, e)
	c.scenarios = append(c.scenarios, s.many...)
	return c, err
}

// warm is the context of a build that leaves the base unpacked.
func (b *buildkit) warm() string { return filepath.Join(b.dir, "warm") }

func (b *buildkit) name() string { return "buildkitd" }

func (b *buildkit) version(context.Context) string { return b.built }

func (b *buildkit) revision(ctx context.Context) (string, error) {
	out, err := b.daemon.Command(ctx, "debug", "info").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("asking buildkitd for its version: %w\n%s", err, out)
	}
	var version string
	if _, err := fmt.Sscanf(string(out), "BuildKit: github.com/moby/buildkit %s", &version); err != nil {
		return "", fmt.Errorf("buildctl debug info says %q: %w", out, err)
	}
	return version, nil
}

func (b *buildkit) close() {
	if b.daemon != nil {
		b.daemon.Stop()
	}
}

func (b *buildkit) build(ctx context.Context, s *scenario) *exec.Cmd {
	return b.solve(ctx, s, "type=image,compression=uncompressed,name=docker.io/"+tagOf(s))
}

// solve is a build with an output.
func (b *buildkit) solve(ctx context.Context, s *scenario, output string, flags ...string) *exec.Cmd {
	args := []string{"build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local", "context=" + s.context,
		"--local", "dockerfile=" + filepath.Dir(s.file()), "--opt", "filename=" + filepath.Base(s.file()), "--output", output}
	if s.noCache {
		args = append(args, "--no-cache")
	}
	return b.daemon.Command(ctx, append(args, flags...)...)
}

// empty takes away everything, the base images too.
func (b *buildkit) empty(ctx context.Context) error {
	return run(b.daemon.Command(ctx, "prune", "--all"))
}

func (b *buildkit) forget(ctx context.Context, _ string) error {
	return errors.Join(b.empty(ctx), run(b.build(ctx, &scenario{context: b.warm()})))
}

// pushing publishes an image that carries its cache, and has the rows in which a registry takes part.
func (b *buildkit) pushing(ctx context.Context, e *elsewhere) ([]*scenario, error) {
	repository := func(name string) string { return e.repository("buildkit/" + name) }
	push := func(name string) string { return "type=image,push=true,name=" + repository(name) }
	inline := []string{"--export-cache", "type=inline"}
	app := &scenario{context: e.context}
	if err := run(b.solve(ctx, app, push("app:cached"), inline...)); err != nil {
		return nil, err
	}
	cached := func(ctx context.Context) *exec.Cmd {
		return b.solve(ctx, app, push("app:new"), append(inline, "--import-cache", "type=registry,ref="+repository("app:cached"))...)
	}
	written := func(ctx context.Context) *exec.Cmd {
		return b.solve(ctx, &scenario{context: e.written()}, push("written"))
	}
	emptied := func(prepare func() error) func(context.Context, builder, *scenario) error {
		return func(ctx context.Context, _ builder, _ *scenario) error { return errors.Join(prepare(), b.empty(ctx)) }
	}
	return []*scenario{
		{name: rowCached, command: cached, before: emptied(e.restoreApp)},
		{name: rowCachedEdit, command: cached, before: emptied(e.changeApp)},
		{name: rowPull, context: e.pulled(), before: emptied(e.restoreApp)},
		{name: rowPush, command: written, before: forget},
	}, nil
}

func (b *buildkit) forgetPeak() error    { return b.daemon.ForgetPeak() }
func (b *buildkit) peak() (int64, error) { return b.daemon.Peak() }
