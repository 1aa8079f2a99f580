// Package equal holds builds of Dockerfiles by Docker against ours: each case in cases/ is built by
// BuildKit and by strata, and the two images' file systems and configs have to be the same.
//
// A case is a txtar archive: the context's files and, above them, lines of the form "key: value":
//
//	build: arguments for both builders
//	base: a file of the context that is built first, as an image of that name
//	prepare: a shell command run in the context, for what a txtar cannot hold
//	newer: a path at which Docker 20.10 differs, since BuildKit does as we do only after it; and why
//	serve: a folder of the context that a web server has while both build; files below its folder git are repositories.
//	  SERVER in files and arguments stands for its address
//	context: what is built instead of the context's folder
//	reference: where the rule comes from, for a syntax that Docker 20.10 lacks
//
// A case with a reference is built by strata only, and compared with two sections of its own instead:
//
//	-- expected --
//	what the image has and its base has not, or not like that; see human.go for the form of its lines
//	-- expected-config --
//	what is to be in the image's config: "Env: [...]", "history: COPY …"; see expectedconfig.go
//
// The base is the image, among those that stand ready and the case's own, whose layers the image begins with. To
// write such a case, leave the section empty: the failure shows what there is, to be checked against the reference.
package equal

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/tools/txtar"

	"github.com/strata-build/strata/test/testbed"
)

var every = flag.Int("every", 8, "build only every so manieth case, unless -run names some; make equal builds all")

// asUser has strata build without root: what it builds has to be the same.
var asUser = flag.Bool("user", false, "have strata build as an ordinary user with subordinate IDs")

// builders are the two sides: the strata binary with its store, and a Docker daemon.
type builders struct {
	strata string
	store  string
	docker *testbed.Docker
	user   *testbed.User // who strata builds as, nil for root

	standing map[string]*image // the base images that have been read so far, by name
}

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

func TestEqual(t *testing.T) {
	if testing.Short() {
		t.Skip("needs dockerd and some minutes: run without -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("strata and dockerd build as root only")
	}
	cases, err := filepath.Glob("cases/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	b, started := newBuilders(t), time.Now().Add(-time.Minute) // a tar has whole seconds, a context its files before the builds
	if strings.Contains(flag.Lookup("test.run").Value.String(), "/") {
		*every = 1
	}
	for i, file := range cases {
		if i%*every != 0 {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			c := readCase(t, file)
			if c.reference != "" {
				b.checkExpected(t, name, c)
				return
			}
			want, got := b.byBoth(t, name, c)
			if diff := cmp.Diff(want.config, got.config, cmpopts.EquateEmpty(), unexported); diff != "" {
				t.Errorf("config (-docker +strata):\n%s", diff)
			}
			for _, name := range paths(want.tree, got.tree) {
				difference := difference(name, want.tree, got.tree, started)
				if _, expected := c.newer[name]; expected != (difference != "") {
					t.Errorf("%s: %s %s", name, difference, c.newer[name])
				}
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
	store, err := testbed.MakeStore(ctx, binary, filepath.Join(dir, "store"), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.ImportDebian(ctx, binary); err != nil {
		t.Fatal(err)
	}
	b := &builders{strata: binary, store: store.Root, docker: docker, standing: map[string]*image{}}
	if *asUser {
		if b.user, err = testbed.NewUser(filepath.Join(dir, "user"), 65536); err != nil {
			t.Fatal(err)
		}
		store, err = testbed.MakeUserStore(ctx, binary, store, b.user, testbed.BusyboxImage, testbed.DebianImage)
		if err != nil {
			t.Fatal(err)
		}
		b.store = store.Root
	}
	return b
}

// command is strata on the store.
func (b *builders) command(ctx context.Context, args ...string) *exec.Cmd {
	if b.user != nil {
		return b.user.Command(ctx, append([]string{"STRATA_ROOT=" + b.store, b.strata}, args...)...)
	}
	cmd := exec.CommandContext(ctx, b.strata, args...)
	cmd.Env = append(os.Environ(), "STRATA_ROOT="+b.store)
	return cmd
}

// A buildCase is one Dockerfile with its context.
type buildCase struct {
	context string
	source  string // what is given to build; "" for context
	base    string
	args    []string
	newer   map[string]string // path to why
	// reference says where the expected result comes from, "" for what Docker builds.
	reference      string
	expected       string
	hasExpected    bool // an empty listing says that nothing was added
	expectedConfig string
}

func readCase(t *testing.T, file string) buildCase {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := buildCase{context: t.TempDir(), newer: map[string]string{}}
	for _, f := range archive.Files {
		switch f.Name {
		case "expected":
			c.expected, c.hasExpected = string(f.Data), true
			continue
		case "expected-config":
			c.expectedConfig = string(f.Data)
			continue
		}
		name := filepath.Join(c.context, f.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	served := ""
	for line := range strings.Lines(string(archive.Comment)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "build":
			c.args = strings.Fields(value)
		case "base":
			c.base = value
		case "context":
			c.source = value
		case "serve":
			served = value
		case "newer":
			name, why, _ := strings.Cut(value, ": ")
			c.newer[name] = why
		case "reference":
			c.reference = value
		case "prepare":
			cmd := exec.Command("sh", "-ec", value)
			cmd.Dir = c.context
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", value, err, out)
			}
		}
	}
	if served != "" {
		c.serve(t, served)
	}
	if (c.reference != "") != (c.hasExpected || c.expectedConfig != "") {
		t.Fatal("a reference and what is expected go together")
	}
	return c
}

// byBoth has the two build a case at the same time.
func (b *builders) byBoth(t *testing.T, name string, c buildCase) (docker, strata *image) {
	done := make(chan struct{})
	t.Cleanup(func() { <-done }) // before its files are removed
	go func() {
		defer close(done)
		docker = b.byDocker(t, name, c)
	}()
	strata = b.byStrata(t, name, c)
	if <-done; docker == nil {
		t.FailNow()
	}
	return docker, strata
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
	if b.user != nil {
		if err := b.user.Give(c.context); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) {
		t.Helper()
		if b.user != nil && args[0] == "save" {
			if err := b.user.Give(filepath.Dir(args[2])); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := b.command(t.Context(), args...).CombinedOutput(); err != nil {
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
	source := c.source
	if source == "" {
		source = c.context
	} else if i := slices.Index(c.args, "-f"); i >= 0 {
		args[slices.Index(args, "-f")+1] = c.args[i+1] // it is in the context
	}
	run(slices.Concat(command, args, []string{"-t", tag, source})...)
	archive := filepath.Join(t.TempDir(), file)
	run("save", "-o", archive, tag)
	image, err := readImage(archive)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// difference tells what is not the same at a path of two trees, if anything. Times count where they are older than the
// builds, of all but directories: Docker's have the time at which something was put into them.
func difference(name string, docker, strata tree, started time.Time) string {
	want, inDocker := docker[name]
	got, inStrata := strata[name]
	switch {
	case !inDocker:
		return fmt.Sprintf("only in strata's image: %+v", got)
	case !inStrata:
		return fmt.Sprintf("only in docker's image: %+v", want)
	default:
		if diff := cmp.Diff(want, got, unexported); diff != "" {
			return "(-docker +strata):\n" + diff
		}
		if a, b := want.modTime, got.modTime; got.Type != "directory" && !a.Equal(b) && (a.Before(started) || b.Before(started)) {
			return fmt.Sprintf("time (-docker +strata):\n-\t%s\n+\t%s", a.UTC(), b.UTC())
		}
		return ""
	}
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
