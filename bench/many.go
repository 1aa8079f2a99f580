package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// How many there are of what a build can have many of.
const (
	manyStages = 40
	manySteps  = 100

	smallFiles = 200_000
	smallBytes = 100_000_000

	writtenBytes = 500_000_000
)

// writtenDockerfile has a RUN that makes bytes which do not compress.
var writtenDockerfile = fmt.Sprintf("FROM busybox\nRUN head -c %d /dev/urandom >/written\n", writtenBytes)

// writeStages writes stages of two steps each that do not need each other, and one that has something of each.
func writeStages(dir string) error {
	var stages, last strings.Builder
	for i := range manyStages {
		fmt.Fprintf(&stages, "FROM busybox AS s%[1]d\nRUN echo %[1]d >/a\nRUN cat /a /a >/b\n", i)
		fmt.Fprintf(&last, "COPY --from=s%[1]d /b /out/%[1]d\n", i)
	}
	return writeDockerfile(dir, stages.String()+"FROM busybox\n"+last.String())
}

func writeSteps(dir string) error {
	var text strings.Builder
	text.WriteString("FROM busybox\n")
	for i := range manySteps {
		fmt.Fprintf(&text, "RUN echo %[1]d >/%[1]d\nENV V%[1]d=%[1]d\n", i)
	}
	return writeDockerfile(dir, text.String())
}

// manyScenarios are builds of very many steps, and of very many files, made in cache when they are first needed. A
// daemon holds much memory after the latter, so they come last.
func manyScenarios(binary, cache, work string) ([]*scenario, error) {
	files, steps := filepath.Join(cache, fmt.Sprintf("files-%d-%d", smallFiles, smallBytes)), filepath.Join(work, "steps")
	if err := writeSteps(steps); err != nil {
		return nil, err
	}
	// made has the files made first.
	made := func(do func(context.Context, builder, *scenario) error) func(context.Context, builder, *scenario) error {
		return func(ctx context.Context, b builder, s *scenario) error {
			return errors.Join(makeFiles(files, smallFiles, smallBytes), do(ctx, b, s))
		}
	}
	return []*scenario{
		{name: "100 × RUN and ENV: nothing changed", reach: 30 * time.Millisecond, context: steps, before: buildOnce,
			limit: processStart(binary, "--version")},
		{name: "COPY 200,000 small files: first", reach: 4 * time.Second, context: files, before: made(forget), limit: tarSum(files)},
		{name: "COPY 200,000 small files: nothing changed", reach: 400 * time.Millisecond, context: files, before: made(buildOnce),
			limit: statFiles(files)},
		{name: "COPY 200,000 small files: one file changed", reach: 1500 * time.Millisecond, context: files,
			before: made(editAfter(nameOf(smallFiles / 2))), limit: hashing(smallBytes)},
	}, nil
}

// in has copies of scenarios that a strata with a store of its own builds: the others take minutes for the first
// build of each.
func (s *strata) in(all []*scenario) []*scenario {
	var own []*scenario
	for _, of := range all {
		c := *of
		c.by = s
		own = append(own, &c)
	}
	return own
}
