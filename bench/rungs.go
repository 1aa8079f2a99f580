package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/strata-build/strata/test/testbed"
)

// benchRungs are those of docs/rootless.md beside root.
var benchRungs = []struct {
	name string
	testbed.Rung
}{
	{"subordinate IDs", testbed.Rung{User: true, Ranges: 65536}},
	{"one ID", testbed.Rung{User: true}},
	{"root in a container", testbed.Rung{Container: true}},
}

// setUpRungs makes a strata on each rung, root's first, and buildah as an ordinary user where it is installed. Each has the
// contexts in a folder of its own.
func setUpRungs(ctx context.Context, binary, work string) (all []contender, err error) {
	progress("setting up strata as root")
	base, err := testbed.MakeStore(ctx, binary, filepath.Join(work, "base"), true)
	if err != nil {
		return nil, err
	}
	root := filepath.Join(work, "rung-root")
	ours := &strata{label: "root", binary: binary, base: base, root: filepath.Join(root, "builds")}
	all, err = addRung(ctx, nil, ours, work, root)
	docker := sync.OnceValues(func() (*testbed.Docker, error) { return testbed.StartDocker(ctx, filepath.Join(work, "docker")) })
	for _, r := range benchRungs {
		if _, missing := exec.LookPath("dockerd"); err != nil || r.Container && missing != nil {
			continue
		}
		progress("setting up strata: %s", r.name)
		dir := filepath.Join(work, fmt.Sprintf("rung-%d", len(all)))
		s := &strata{label: r.name, root: filepath.Join(dir, "builds")}
		if r.Container {
			if s.daemon, err = docker(); err != nil {
				return all, err
			}
		}
		if s.base, s.binary, err = r.MakeStore(ctx, dir, binary, docker, base, testbed.BusyboxImage, testbed.PythonImage); err != nil {
			s.close()
			return all, err
		}
		all, err = addRung(ctx, all, s, work, dir)
	}
	if _, missing := exec.LookPath("buildah"); err != nil || missing != nil {
		return all, err
	}
	progress("setting up buildah as an ordinary user")
	dir := filepath.Join(work, "rung-buildah")
	b := &buildah{dir: filepath.Join(dir, "home")}
	if b.user, err = testbed.NewUser(dir, 65536); err != nil {
		return all, err
	}
	if err := b.prepare(ctx, ours); err != nil {
		return all, err
	}
	scenarios, err := rungScenarios(work, dir, nil)
	if err == nil {
		err = b.user.Give(dir)
	}
	return append(all, contender{b, scenarios}), err
}

func addRung(ctx context.Context, all []contender, s *strata, work, dir string) ([]contender, error) {
	scenarios, err := rungScenarios(work, dir, s)
	if err == nil {
		err = s.forget(ctx, "")
	}
	return append(all, contender{s, scenarios}), err
}

// rungScenarios puts links to the contexts in work into dir. Those of a strata have more.
func rungScenarios(work, dir string, s *strata) ([]*scenario, error) {
	root, err := testbed.Root()
	if err != nil {
		return nil, err
	}
	contexts := map[string]string{"app": filepath.Join(root, "examples", "lesson-app"), "echoes": filepath.Join(work, "echoes"), "read": filepath.Join(work, "read")}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for name, from := range contexts {
		how := "-al"
		if name == "app" {
			how = "-r" // it lies on another file system perhaps
		}
		if err := run(exec.Command("cp", how, from, filepath.Join(dir, name))); err != nil {
			return nil, err
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	all := []*scenario{
		{name: "lesson app, nothing changed", context: at("app"), before: buildOnce},
		{name: "20 × `RUN echo`", context: at("echoes"), noCache: true},
		{name: "COPY 20,000 files, 433 MB, and a RUN: first", context: at("read"), before: forget},
		{name: "the same, one file changed that the RUN reads", context: at("read"), before: changeFile},
	}
	if s != nil {
		all = append(all, &scenario{name: "`strata --version`, with what starts it as that user", context: at("app"), command: func(ctx context.Context) *exec.Cmd { return s.command(ctx, "--version") }})
	}
	return all, nil
}

// makeRungContexts makes the contexts that setUpRungs links to.
func makeRungContexts(work string) error {
	if err := writeEchoes(filepath.Join(work, "echoes")); err != nil {
		return err
	}
	read := filepath.Join(work, "read")
	if err := writeFiles(read, manyFiles, manyBytes); err != nil {
		return err
	}
	return writeDockerfile(read, fmt.Sprintf("FROM busybox\nCOPY . /files/\nRUN sha256sum /files/%s >/sum\n", nameOf(manyFiles/2)))
}
