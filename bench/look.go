package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/strata-build/strata/test/testbed"
)

// look is an image in a store, and the same image saved, to be looked at.
type look struct {
	strata, empty *strata
	archive       string
}

// startLook builds the lesson's app in a store of its own and saves it.
func startLook(ctx context.Context, s *strata, work string) (*look, error) {
	l := &look{
		strata:  &strata{binary: s.binary, base: s.base, root: filepath.Join(work, "look")},
		empty:   &strata{binary: s.binary, base: s.base, root: filepath.Join(work, "look-empty")},
		archive: filepath.Join(work, "look.tar"),
	}
	if err := l.strata.forget(ctx, ""); err != nil {
		return nil, err
	}
	root, err := testbed.Root()
	if err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"build", "--network", "host", "-q", "-t", "bench/look", filepath.Join(root, "examples", "lesson-app")},
		{"save", "-o", l.archive, "bench/look"},
	} {
		if err := run(l.strata.command(ctx, args...)); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// scenarios are the verbs, on an image in the store; and the analysis of a saved one, which dive does, too.
func (l *look) scenarios() []*scenario {
	verb := func(name string, args ...string) *scenario {
		return &scenario{name: "look: " + name, reach: 50 * time.Millisecond, command: func(ctx context.Context) *exec.Cmd {
			return l.strata.command(ctx, args...)
		}}
	}
	all := []*scenario{
		verb("log", "log", "bench/look"),
		verb("show", "show", "bench/look"),
		verb("blame of a file", "blame", "bench/look", "/app/main.py"),
		verb("du", "du", "bench/look"),
		verb("what the explorer reads for its first screen", "explore", "--ci", "--highestUserWastedPercent", "disabled", "bench/look"),
		{name: "look: a saved image, new to the store", before: l.forget, command: func(ctx context.Context) *exec.Cmd {
			return l.empty.command(ctx, "explore", "--ci", "--highestUserWastedPercent", "disabled", "docker-archive:"+l.archive)
		}},
	}
	if self, err := os.Executable(); err == nil {
		all = append(all, l.pages(self)...)
	}
	if dive, err := exec.LookPath("dive"); err == nil {
		all = append(all, &scenario{name: fmt.Sprintf("look: a saved image, by dive (%s)", filepath.Base(dive)), command: func(ctx context.Context) *exec.Cmd {
			return exec.CommandContext(ctx, dive, "--ci", "--highestUserWastedPercent", "1", "docker-archive://"+l.archive)
		}})
	}
	return all
}

// forget empties the store that knows nothing of the archive.
func (l *look) forget(ctx context.Context, _ builder, _ *scenario) error {
	if err := os.RemoveAll(l.empty.root); err != nil {
		return err
	}
	return run(l.empty.command(ctx, "images", "-q"))
}
