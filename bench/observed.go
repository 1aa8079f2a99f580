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

// unobserved is what strata is called that does not observe what its steps read.
const unobserved = "unobserved"

// observedScenarios are those in which an edit is of a file that a RUN does not read.
func (s *strata) observedScenarios(work string) ([]*scenario, error) {
	root, err := testbed.Root()
	if err != nil {
		return nil, err
	}
	app, ten := filepath.Join(work, "edited-app"), filepath.Join(work, "ten")
	if err := os.CopyFS(app, os.DirFS(filepath.Join(root, "examples", "lesson-app"))); err != nil {
		return nil, err
	}
	if err := writeFiles(ten, manyFiles, manyBytes/10); err != nil {
		return nil, err
	}
	read := "FROM busybox\nCOPY . /files/\nRUN cat"
	for i := range 10 {
		read += " /files/" + nameOf(i*700)
	}
	if err := writeDockerfile(ten, read+" | sha256sum > /sum\n"); err != nil {
		return nil, err
	}
	return []*scenario{
		{name: "lesson app, one source file changed", reach: 80 * time.Millisecond, context: app, before: editAfter("main.py"),
			limit: processStart(s.binary, "--version")},
		{name: "COPY 20,000 files, 43 MB, a RUN that reads ten, one other changed", context: ten, before: editAfter(nameOf(manyFiles / 2)),
			limit: hashing(manyBytes / 10)},
	}, nil
}

// editAfter builds, and then gives one file of the context contents that it never had.
func editAfter(name string) func(context.Context, builder, *scenario) error {
	return func(ctx context.Context, b builder, s *scenario) error {
		if err := buildOnce(ctx, b, s); err != nil {
			return err
		}
		text := fmt.Sprintf("# changed at %s\n", time.Now().Format(time.RFC3339Nano))
		return os.WriteFile(filepath.Join(s.context, name), []byte(text), 0o644)
	}
}

// toolsImage is Debian with compilers and package managers.
const toolsImage = "bench/tools"

// tool is a RUN in a copied tree of 20,000 files, of which most are read by none.
type tool struct{ name, run string }

var tools = []tool{
	{"pip install", "python3 -m venv /venv && /venv/bin/pip install --no-cache-dir bottle -r py/requirements.txt"},
	{"npm ci", "cd js && npm ci --offline --no-audit --no-fund"},
	{"go build", "cd go && GOFLAGS=-mod=mod GOCACHE=/tmp/go go build -o /tmp/prog ."},
	{"javac", "mkdir /out && find java -name '*.java' > /tmp/list && javac -d /out @/tmp/list"},
	{"gcc", "cd c && for f in */*.c; do gcc -O1 -I. -c $f -o /tmp/o.o || exit 1; done"},
}

// toolScenarios are a RUN of each tool, which runs each time, after a COPY that is cached.
func (s *strata) toolScenarios(ctx context.Context, work string) ([]*scenario, error) {
	base, err := testbed.Debian(ctx, "gcc", "libc6-dev", "golang-go", "default-jdk-headless", "npm")
	if err != nil {
		return nil, err
	}
	if err := run(s.command(ctx, "import", base, toolsImage)); err != nil {
		return nil, err
	}
	tree := filepath.Join(work, "tree")
	if err := writeSources(tree); err != nil {
		return nil, err
	}
	var all []*scenario
	for _, t := range tools {
		text := fmt.Sprintf("FROM %s\nWORKDIR /src\nCOPY . .\nARG N\nRUN %s\n", toolsImage, t.run)
		file := filepath.Join(work, strings.ReplaceAll(t.name, " ", "-")+".Dockerfile")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return nil, err
		}
		build := func(ctx context.Context) *exec.Cmd {
			return s.command(ctx, "build", "--network", "none", "-q", "-f", file, "--build-arg", fmt.Sprint("N=", time.Now().UnixNano()), tree)
		}
		before := func(ctx context.Context, _ builder, _ *scenario) error { return run(build(ctx)) }
		all = append(all, &scenario{name: t.name + " in a copied tree of 20,000 files", command: build, before: before})
	}
	return all, nil
}
