package main

import (
	"cmp"
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
	// dockerfile is the path of one that is not the context's own.
	dockerfile string
	noCache    bool
	before     func(context.Context, builder, *scenario) error
	limit      *limit // what the machine needs for the same; nil where nobody measures it
	// by, if not nil, is measured in the place of the contender: a strata with another store.
	by builder
	// command, if not nil, is measured in the place of a build of the context, for one contender only.
	command func(context.Context) *exec.Cmd
}

const (
	manyFiles = 20_000
	manyBytes = 433_000_000
)

// makeScenarios makes the inputs: large ones in cache, where the next run finds them, and small ones in
// work. The three scenarios of the large context build on each other in their order.
func makeScenarios(ctx context.Context, binary, cache, work string) ([]*scenario, error) {
	root, err := testbed.Root()
	if err != nil {
		return nil, err
	}
	echoes, stages, written := filepath.Join(work, "echoes"), filepath.Join(work, "stages"), filepath.Join(work, "written")
	if err := writeEchoes(echoes); err != nil {
		return nil, err
	}
	if err := writeStages(stages); err != nil {
		return nil, err
	}
	if err := writeDockerfile(written, writtenDockerfile); err != nil {
		return nil, err
	}
	read := filepath.Join(work, "read.Dockerfile")
	text := fmt.Sprintf("FROM busybox\nCOPY . /files/\nRUN sha256sum /files/%s >/sum\n", nameOf(manyFiles/2))
	if err := os.WriteFile(read, []byte(text), 0o644); err != nil {
		return nil, err
	}
	files := filepath.Join(cache, fmt.Sprintf("files-%d-%d", manyFiles, manyBytes))
	if err := makeFiles(files, manyFiles, manyBytes); err != nil {
		return nil, err
	}
	busybox := filepath.Join(work, "busybox")
	if err := unpackBusybox(ctx, busybox); err != nil {
		return nil, err
	}
	start := processStart(binary, "--version")
	return []*scenario{
		{name: "lesson app, nothing changed", reach: 12 * time.Millisecond, limit: start,
			context: filepath.Join(root, "examples", "lesson-app"), before: buildOnce},
		{name: "20 × `RUN echo`", reach: 250 * time.Millisecond, context: echoes, noCache: true, limit: nameSpaces(20, busybox)},
		{name: "COPY 20,000 files, 433 MB: first", reach: 2500 * time.Millisecond, context: files, before: forget, limit: tarSum(files)},
		{name: "COPY 20,000 files, 433 MB: nothing changed", reach: 70 * time.Millisecond, context: files, before: buildOnce, limit: statFiles(files)},
		{name: "COPY 20,000 files, 433 MB: one file changed", reach: 400 * time.Millisecond, context: files,
			before: editAfter(nameOf(manyFiles / 2)), limit: hashing(manyBytes)},
		{name: "COPY 20,000 files, 433 MB, one file changed, a RUN that reads it", reach: 1500 * time.Millisecond, context: files, dockerfile: read,
			before: editAfter(nameOf(manyFiles / 2)), limit: inTurn(hashing(manyBytes), nameSpaces(1, busybox))},
		{name: "40 stages × 2 RUN, 40 COPY --from: first", reach: 800 * time.Millisecond, context: stages, before: forget,
			limit: nameSpaces(2*manyStages, busybox)},
		{name: "40 stages × 2 RUN, 40 COPY --from: nothing changed", reach: 30 * time.Millisecond, context: stages, before: buildOnce,
			limit: start},
		{name: "RUN that writes 500 MB", reach: 2200 * time.Millisecond, context: written, before: forget,
			limit: writing(writtenBytes, filepath.Join(work, "dd"), busybox)},
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
	if s.by != nil {
		b = s.by
	}
	if s.before != nil {
		if err := s.before(ctx, b, s); err != nil {
			return measurement{}, err
		}
	}
	var cmd *exec.Cmd
	if s.command != nil {
		cmd = s.command(ctx)
	} else {
		cmd = b.build(ctx, s)
	}
	if d, ok := b.(daemon); ok {
		return measureDaemon(d, cmd)
	}
	return measure(cmd)
}

// file is the path of the Dockerfile.
func (s *scenario) file() string {
	return cmp.Or(s.dockerfile, filepath.Join(s.context, "Dockerfile"))
}

// tagOf names the image after the context, so that the scenarios of one context share its cache.
func tagOf(s *scenario) string {
	return "bench/" + strings.ToLower(filepath.Base(s.context))
}

func buildOnce(ctx context.Context, b builder, s *scenario) error {
	cached := *s
	cached.noCache = false
	_, err := measure(b.build(ctx, &cached))
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
