package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/strata-build/strata/test/testbed"
)

// A builder is one of those compared. Each has the base images and keeps what it makes in the bench's
// own directory.
type builder interface {
	name() string
	version(context.Context) string
	build(context.Context, *scenario) *exec.Cmd
	// forget takes away what was built under a tag and all caches; the base images stay.
	forget(ctx context.Context, tag string) error
	close()
}

// A daemon is a builder whose memory is not that of the process that is measured.
type daemon interface {
	forgetPeak() error
	// peak is the most memory in bytes that it held at once since forgetPeak.
	peak() (int64, error)
}

// setUp makes strata's store and starts what else is installed, or makes another strata's. What it returns is to be
// closed even when it fails.
func setUp(ctx context.Context, binary string, o options, work string) ([]contender, error) {
	progress("setting up strata")
	ours, err := setUpStrata(ctx, &strata{label: "strata", binary: binary}, o, filepath.Join(work, "strata"))
	contenders := []contender{ours}
	if err != nil {
		return contenders, err
	}
	if o.against != "" {
		other := o.other(binary)
		progress("setting up %s", other.label)
		theirs, err := setUpStrata(ctx, other, o, filepath.Join(work, "against"))
		contenders = append(contenders, theirs)
		if err != nil {
			return contenders, err
		}
	}
	if o.tools {
		return contenders, nil
	}
	progress("setting up the other builders")
	if o.asks("dockerd") {
		daemon, err := testbed.StartDocker(ctx, filepath.Join(work, "docker"))
		if err != nil {
			return contenders, err
		}
		contenders = append(contenders, contender{builder: &docker{daemon: daemon, buildkit: true}}, contender{builder: &docker{daemon: daemon}})
		if err := prepareDocker(ctx, daemon); err != nil {
			return contenders, err
		}
	}
	if o.asks("buildah") {
		b := &buildah{dir: filepath.Join(work, "buildah")}
		contenders = append(contenders, contender{builder: b})
		if err := b.prepare(ctx, ours.builder.(*strata)); err != nil {
			return contenders, err
		}
	}
	if o.asks("buildkitd") {
		c, err := setUpBuildKit(ctx, ours.builder.(*strata), work)
		contenders = append(contenders, c)
		if err != nil {
			return contenders, err
		}
	}
	return contenders, nil
}

// asks reports whether a builder is compared with: it is installed and, where some are named, among those.
func (o options) asks(program string) bool {
	if !slices.Contains(strings.Split(cmp.Or(o.beside, program), ","), program) || o.beside == "" && o.against != "" {
		return false
	}
	_, err := exec.LookPath(program)
	return err == nil
}

// other is the strata that -against names; binary is this one's.
func (o options) other(binary string) *strata {
	switch o.against {
	case unsyncedArg:
		return &strata{label: o.against, binary: binary, unsynced: true}
	case unobserved:
		return &strata{label: o.against, binary: binary, environment: []string{"STRATA_OBSERVE=off"}}
	}
	return &strata{label: o.earlier(), binary: o.against}
}

// earlier is what the other strata is called.
func (o options) earlier() string {
	if filepath.IsAbs(o.against) {
		return cmp.Or(o.compare, "before")
	}
	return o.against
}

// setUpStrata makes the stores of a strata, and a registry that has its caches.
func setUpStrata(ctx context.Context, s *strata, o options, work string) (contender, error) {
	c := contender{builder: s}
	var err error
	if s.base, err = testbed.MakeStore(ctx, s.binary, filepath.Join(work, "base"), true); err != nil {
		return c, err
	}
	s.root = filepath.Join(work, "store")
	if o.tools {
		c.scenarios, err = s.toolScenarios(ctx, work)
		return c, err
	}
	if err := s.forget(ctx, ""); err != nil {
		return c, err
	}
	e, err := startElsewhere(ctx, s, work)
	if err != nil {
		return c, err
	}
	s.elsewhere = e
	f, err := fillStore(ctx, s, work)
	if err != nil {
		return c, err
	}
	progress("the filled store's database has %d MB", f.size()>>20)
	l, err := startLook(ctx, s, work)
	if err != nil {
		return c, err
	}
	observed, err := s.observedScenarios(work)
	if err != nil {
		return c, err
	}
	cache, err := cacheDir()
	if err != nil {
		return c, err
	}
	if s.many, err = manyScenarios(s.binary, cache, work); err != nil {
		return c, err
	}
	many := s.beside(filepath.Join(work, "many"))
	if err := many.forget(ctx, ""); err != nil {
		return c, err
	}
	c.scenarios = slices.Concat(observed, e.scenarios(), []*scenario{f.scenario()}, many.in(s.many), l.scenarios(), l.packages())
	return c, nil
}

func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

func firstLine(cmd *exec.Cmd) string {
	out, err := cmd.Output()
	if err != nil {
		return err.Error()
	}
	for i, c := range out {
		if c == '\n' {
			return string(out[:i])
		}
	}
	return string(out)
}

type strata struct {
	label    string
	binary   string
	base     *testbed.Store
	root     string
	unsynced bool // its builds wait for no disk

	elsewhere *elsewhere  // whose registry is to be stopped
	many      []*scenario // those of many files and steps, for others too

	environment []string        // beside that of the bench
	daemon      *testbed.Docker // in whose containers it runs; to be stopped
}

func (s *strata) name() string { return s.label }

func (s *strata) close() {
	if s.elsewhere != nil {
		s.elsewhere.registry.Stop()
	}
	if s.daemon != nil {
		s.daemon.Stop()
	}
}

func (s *strata) version(ctx context.Context) string { return firstLine(s.command(ctx, "--version")) }

func (s *strata) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.binary, args...)
	cmd.Env = append(os.Environ(), "STRATA_ROOT="+s.root)
	cmd.Env = append(cmd.Env, s.environment...)
	if s.unsynced {
		cmd.Err = unsynced(cmd)
	}
	return cmd
}

func (s *strata) build(ctx context.Context, of *scenario) *exec.Cmd {
	return s.command(ctx, buildArgs(of, tagOf(of))...)
}

// beside is the same strata with another store, which has nothing until it is forgotten what was built there.
func (s *strata) beside(root string) *strata {
	return &strata{label: s.label, binary: s.binary, base: s.base, root: root, unsynced: s.unsynced, environment: s.environment}
}

func (s *strata) forget(ctx context.Context, _ string) error {
	if err := os.RemoveAll(s.root); err != nil {
		return err
	}
	return s.base.Copy(ctx, s.root)
}

func buildArgs(of *scenario, tag string) []string {
	args := []string{"build", "--network", "host", "-t", tag, "-f", of.file()}
	if of.noCache {
		args = append(args, "--no-cache")
	}
	return append(args, of.context)
}

type docker struct {
	daemon   *testbed.Docker
	buildkit bool
}

func prepareDocker(ctx context.Context, daemon *testbed.Docker) error {
	if err := daemon.ImportBases(ctx); err != nil {
		return err
	}
	root, err := testbed.Root()
	if err != nil {
		return err
	}
	_, err = daemon.Run(ctx, "build", "--network", "host", "-t", testbed.PythonImage, filepath.Join(root, "examples", "python-base"))
	return err
}

func (d *docker) name() string {
	if d.buildkit {
		return "docker (BuildKit)"
	}
	return "docker (classic)"
}

func (d *docker) close() {
	if d.buildkit { // the two share the daemon
		d.daemon.Stop()
	}
}

func (d *docker) version(ctx context.Context) string {
	return firstLine(d.daemon.Command(ctx, "--version"))
}

func (d *docker) build(ctx context.Context, of *scenario) *exec.Cmd {
	cmd := d.daemon.Command(ctx, buildArgs(of, d.tag(tagOf(of)))...)
	if !d.buildkit {
		cmd.Env = append(cmd.Env, "DOCKER_BUILDKIT=0")
	}
	return cmd
}

func (d *docker) tag(tag string) string {
	if d.buildkit {
		return tag + ":buildkit"
	}
	return tag + ":classic"
}

func (d *docker) forget(ctx context.Context, tag string) error {
	// The image may not be there yet; its layers are the classic builder's cache.
	_, _ = d.daemon.Run(ctx, "rmi", "--force", d.tag(tag))
	_, err := d.daemon.Run(ctx, "image", "prune", "--force")
	if d.buildkit {
		_, pruned := d.daemon.Run(ctx, "builder", "prune", "--all", "--force")
		err = errors.Join(err, pruned)
	}
	return err
}

type buildah struct {
	dir  string
	user *testbed.User // who is not root; nil for root
}

func (b *buildah) name() string { return "buildah" }

func (b *buildah) version(ctx context.Context) string { return firstLine(b.command(ctx, "--version")) }

func (b *buildah) command(ctx context.Context, args ...string) *exec.Cmd {
	global := []string{"--root", filepath.Join(b.dir, "root"), "--runroot", filepath.Join(b.dir, "run"), "--storage-driver", "overlay"}
	if b.user != nil {
		return b.user.Command(ctx, slices.Concat([]string{"XDG_RUNTIME_DIR=" + b.dir, "buildah"}, global, args)...)
	}
	return exec.CommandContext(ctx, "buildah", append(global, args...)...)
}

// prepare hands strata's base images over, as files.
func (b *buildah) prepare(ctx context.Context, s *strata) error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	for i, image := range []string{testbed.BusyboxImage, testbed.PythonImage} {
		archive := filepath.Join(b.dir, fmt.Sprintf("base-%d.tar", i))
		if err := run(s.command(ctx, "save", "-o", archive, image)); err != nil {
			return err
		}
		if err := os.Chmod(archive, 0o644); err != nil {
			return err
		}
		if err := run(b.command(ctx, "pull", "docker-archive:"+archive)); err != nil {
			return err
		}
	}
	return nil
}

func (b *buildah) build(ctx context.Context, of *scenario) *exec.Cmd {
	args := []string{"bud", "--layers", "--pull-never", "--network", "host", "-t", tagOf(of), "-f", of.file()}
	if of.noCache {
		args = append(args, "--no-cache")
	}
	return b.command(ctx, append(args, of.context)...)
}

func (b *buildah) forget(ctx context.Context, tag string) error {
	_ = b.command(ctx, "rmi", "--force", tag).Run() // it may not be there yet
	return run(b.command(ctx, "rmi", "--prune"))
}

func (b *buildah) close() {
	// Its storage is a mount point while a container lives; none should.
	_ = b.command(context.Background(), "rm", "--all").Run()
}
