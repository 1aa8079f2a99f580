package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/strata-build/strata/test/testbed"
)

// A scenario is one row of the table: a build, and what comes before it without being measured.
type scenario struct {
	name    string
	reach   time.Duration // what strata is to reach
	context string
	noCache bool
	before  func(context.Context, builder, *scenario) error
	// command, if not nil, is measured in the place of a build of the context, for strata only.
	command func(context.Context) *exec.Cmd
}

const (
	manyFiles = 20_000
	manyBytes = 433_000_000
)

// makeScenarios makes the inputs: large ones in cache, where the next run finds them, and small ones in
// work. The three scenarios of the large context build on each other in their order.
func makeScenarios(cache, work string) ([]*scenario, error) {
	root, err := testbed.Root()
	if err != nil {
		return nil, err
	}
	echoes := filepath.Join(work, "echoes")
	if err := writeEchoes(echoes); err != nil {
		return nil, err
	}
	files := filepath.Join(cache, fmt.Sprintf("files-%d-%d", manyFiles, manyBytes))
	if err := makeFiles(files, manyFiles, manyBytes); err != nil {
		return nil, err
	}
	return []*scenario{
		{name: "lesson app, nothing changed", reach: 30 * time.Millisecond,
			context: filepath.Join(root, "examples", "lesson-app"), before: buildOnce},
		{name: "20 × `RUN echo`", reach: 800 * time.Millisecond, context: echoes, noCache: true},
		{name: "COPY 20,000 files, 433 MB: first", reach: 2500 * time.Millisecond, context: files, before: forget},
		{name: "COPY 20,000 files, 433 MB: nothing changed", reach: 150 * time.Millisecond, context: files},
		{name: "COPY 20,000 files, 433 MB: one file changed", reach: 1500 * time.Millisecond, context: files, before: changeFile},
	}, nil
}

func writeEchoes(dir string) error {
	dockerfile := "FROM busybox\n"
	for i := range 20 { // no two alike, or a builder may run one for all
		dockerfile += fmt.Sprintf("RUN echo %d\n", i)
	}
	return writeDockerfile(dir, dockerfile)
}

// choose gives the scenarios whose name has text in it.
func choose(all []*scenario, text string) []*scenario {
	return slices.DeleteFunc(all, func(s *scenario) bool { return !strings.Contains(s.name, text) })
}

func writeDockerfile(dir, text string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644)
}

// measure builds the scenario's context once with a builder.
func (s *scenario) measure(ctx context.Context, b builder) (measurement, error) {
	if s.before != nil {
		if err := s.before(ctx, b, s); err != nil {
			return measurement{}, err
		}
	}
	if s.command != nil {
		return measure(s.command(ctx))
	}
	return measure(b.build(ctx, s.context, tagOf(s), s.noCache))
}

// tagOf names the image after the context, so that the scenarios of one context share its cache.
func tagOf(s *scenario) string {
	return "bench/" + strings.ToLower(filepath.Base(s.context))
}

func buildOnce(ctx context.Context, b builder, s *scenario) error {
	_, err := measure(b.build(ctx, s.context, tagOf(s), false))
	return err
}

func forget(ctx context.Context, b builder, s *scenario) error {
	return b.forget(ctx, tagOf(s))
}

// changeFile gives one file in the middle of the context contents that it never had.
func changeFile(_ context.Context, _ builder, s *scenario) error {
	name := filepath.Join(s.context, nameOf(manyFiles/2))
	text := fmt.Sprintf("changed at %s", time.Now().Format(time.RFC3339Nano))
	return os.WriteFile(name, []byte(text), 0o644)
}
