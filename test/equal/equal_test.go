// Package equal holds builds of Dockerfiles by Docker against ours: each case in cases/ is built by
// BuildKit and by strata, and the two images' file systems and configs have to be the same.
//
// A case is a txtar archive: the context's files and, above them, lines of the form "key: value":
//
//	build: arguments for both builders
//	base: a file of the context that is built first, as an image of that name
//	prepare: a shell command run in the context, for what a txtar cannot hold
package equal

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/tools/txtar"

	"github.com/strata-build/strata/test/testbed"
)

// builders are the two sides: the strata binary with its store, and a Docker daemon.
type builders struct {
	strata string
	store  string
	docker *testbed.Docker
}

func TestEqual(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("strata and dockerd build as root only")
	}
	cases, err := filepath.Glob("cases/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	b := newBuilders(t)
	for _, file := range cases {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			c := readCase(t, file)
			want, got := b.byDocker(t, name, c), b.byStrata(t, name, c)
			if diff := cmp.Diff(want.config, got.config, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("config (-docker +strata):\n%s", diff)
			}
			for _, difference := range differences(want.tree, got.tree) {
				t.Error(difference)
			}
		})
	}
}

func newBuilders(t *testing.T) *builders {
	ctx := context.Background()
	dir := t.TempDir()
	binary, err := testbed.Build(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	docker, err := testbed.StartDocker(ctx, filepath.Join(dir, "docker"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(docker.Stop)
	if err := docker.ImportBases(ctx); err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(dir, "store")
	if _, err := testbed.MakeStore(ctx, binary, store, true); err != nil {
		t.Fatal(err)
	}
	return &builders{strata: binary, store: store, docker: docker}
}

// A buildCase is one Dockerfile with its context.
type buildCase struct {
	context string
	base    string
	args    []string
}

func readCase(t *testing.T, file string) buildCase {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := buildCase{context: t.TempDir()}
	for _, f := range archive.Files {
		name := filepath.Join(c.context, f.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(string(archive.Comment)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "build":
			c.args = strings.Fields(value)
		case "base":
			c.base = value
		case "prepare":
			cmd := exec.Command("sh", "-ec", value)
			cmd.Dir = c.context
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", value, err, out)
			}
		}
	}
	return c
}

func (b *builders) byDocker(t *testing.T, name string, c buildCase) *image {
	run := func(args ...string) {
		t.Helper()
		if out, err := b.docker.Run(t.Context(), args...); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return build(t, name, c, "docker.tar", []string{"--network", "host"}, run)
}

func (b *builders) byStrata(t *testing.T, name string, c buildCase) *image {
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), b.strata, args...)
		cmd.Env = append(os.Environ(), "STRATA_ROOT="+b.store)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("strata %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return build(t, name, c, "strata.tar", nil, run)
}

// build builds and saves a case by one of the two, whose commands are the same, and reads the image.
func build(t *testing.T, name string, c buildCase, file string, flags []string, run func(...string)) *image {
	t.Helper()
	command := append([]string{"build"}, flags...)
	if c.base != "" {
		run(slices.Concat(command, []string{"-t", c.base, "-f", filepath.Join(c.context, c.base), c.context})...)
	}
	tag := "equal/" + name
	args := slices.Clone(c.args)
	if i := slices.Index(args, "-f"); i >= 0 { // both take it from the working directory
		args[i+1] = filepath.Join(c.context, args[i+1])
	}
	run(slices.Concat(command, args, []string{"-t", tag, c.context})...)
	archive := filepath.Join(t.TempDir(), file)
	run("save", "-o", archive, tag)
	image, err := readImage(archive)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// differences lists, path by path, what is not the same in two trees.
func differences(docker, strata tree) []string {
	var list []string
	for _, name := range paths(docker, strata) {
		want, inDocker := docker[name]
		got, inStrata := strata[name]
		switch {
		case !inDocker:
			list = append(list, fmt.Sprintf("%s: only in strata's image: %+v", name, got))
		case !inStrata:
			list = append(list, fmt.Sprintf("%s: only in docker's image: %+v", name, want))
		case !cmp.Equal(want, got):
			list = append(list, fmt.Sprintf("%s (-docker +strata):\n%s", name, cmp.Diff(want, got)))
		}
	}
	return list
}

func paths(trees ...tree) []string {
	var names []string
	for _, t := range trees {
		for name := range t {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
