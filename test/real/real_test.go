// Package real builds the examples of examples/real as people build their own: once, again, and after an edit. Then it
// runs what came out.
package real

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

	"github.com/strata-build/strata/test/testbed"
)

var all = flag.Bool("all", false, "build every example, not only the quick ones")

// An example is a directory of examples/real, and what is known about it.
type example struct {
	name  string
	bases []string // of test/real/bases
	quick bool     // is built in few seconds and fetches little: a part of `make test`
	args  func(*bench) []string
	// check is a stage that runs the example's own tests, "" for none.
	check string
	// edits are made one after the other, each followed by a build.
	edits []edit
	// runs looks at what was built.
	runs func(*bench)
}

// An edit replaces the first old of a file by new. The steps that then run again are those that have one of ran in
// their instruction; all others have to come from the cache.
type edit struct {
	file, old, new string
	ran            []string
}

var examples = []example{
	{
		name: "python", bases: []string{"python"}, check: "test",
		edits: []edit{
			{"quotes/__init__.py", "Simplicity is", "Simplicity is a", []string{"COPY --link quotes"}},
			{"requirements.txt", "bottle", "# the web\nbottle", []string{"pip install", "--from=venv"}},
		},
		runs: func(b *bench) {
			s := b.serve()
			s.get("/quotes/dijkstra", "Simplicity is a prerequisite")
			s.get("/quotes", `["dijkstra", "hopper", "knuth"]`)
			s.healthy()
		},
	},
	{
		name: "nginx", bases: []string{"debian"}, quick: true,
		edits: []edit{
			{"site/index.html", "is older", "is the older", []string{"COPY site .", "[site 4/4] RUN", "--from=site"}},
			{"site.conf.template", "1h", "2h", []string{"site.conf.template", "install -d", "nginx -t"}},
		},
		runs: func(b *bench) {
			s := b.serve()
			s.get("/", "What lies deeper is the older")
			if got := s.header("/style.css", "Content-Encoding", "gzip"); got != "gzip" {
				b.t.Errorf("the stylesheet comes with Content-Encoding %q", got)
			}
			if got := s.header("/style.css", "Cache-Control", ""); got != "max-age=7200" {
				b.t.Errorf("the stylesheet comes with Cache-Control %q", got)
			}
			s.healthy()
		},
	},
	{
		name: "non-root", bases: []string{"debian"}, quick: true,
		edits: []edit{{"redis.conf", "64mb", "32mb", []string{"COPY --chown=root:redis", "COPY --chmod=755", "install -d", "WORKDIR"}}},
		runs: func(b *bench) {
			if got := b.run("id", "-un"); got != "redis\n" {
				b.t.Errorf("runs as %q", got)
			}
			if got := b.run("sh", "-c", "find / -xdev -perm /6000 -type f 2>/dev/null; true"); got != "" {
				b.t.Errorf("files that give rights:\n%s", got)
			}
			s := b.serve()
			s.healthy()
			if got := b.run("redis-cli", "-p", s.port, "config", "get", "maxmemory"); got != "maxmemory\n33554432\n" {
				b.t.Errorf("redis answers %q", got)
			}
		},
	},
	{
		name: "private-index", bases: []string{"python"}, quick: true,
		args:  privateIndex,
		edits: []edit{{"invoice.py", "'total':<20", "'sum':<20", []string{"COPY --link invoice.py"}}},
		runs: func(b *bench) {
			want := "tea                       3.10\ncake                      4.25\nsum                       7.35\n"
			if got := b.run("tea=3.10", "cake=4.25"); got != want {
				b.t.Errorf("got\n%swant\n%s", got, want)
			}
			b.findsNothing("password", b.secret)
		},
	},
}

func TestReal(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("strata builds as root only")
	}
	dir := t.TempDir()
	binary, err := testbed.Build(t.Context(), dir)
	check(t, err)
	store := filepath.Join(dir, "store")
	t.Setenv("PATH", testbed.Path(binary))
	t.Setenv("STRATA_ROOT", store)
	t.Setenv("HOME", dir)
	t.Setenv("BUILDKIT_PROGRESS", "plain")

	documented(t)
	var made time.Duration
	var times []string
	for _, e := range examples {
		if !e.quick && !*all {
			continue
		}
		t.Run(e.name, func(t *testing.T) {
			start := time.Now()
			command(t, "", "./bases", e.bases...)
			made += time.Since(start)
			b := newBench(t, e, store)
			b.buildAll()
			e.runs(b)
			times = append(times, b.times())
		})
	}
	fmt.Printf("%-16s %6.1f s\n%s\n", "base images", made.Seconds(), strings.Join(times, "\n"))
}

// documented looks whether examples/real/README.md and the table above tell of every example there is.
func documented(t *testing.T) {
	t.Helper()
	dockerfiles, err := filepath.Glob("../../examples/real/*/Dockerfile")
	check(t, err)
	readme, err := os.ReadFile("../../examples/real/README.md")
	check(t, err)
	for _, dockerfile := range dockerfiles {
		name := filepath.Base(filepath.Dir(dockerfile))
		if !slices.ContainsFunc(examples, func(e example) bool { return e.name == name }) {
			t.Errorf("examples/real/%s is not tested", name)
		}
		if !strings.Contains(string(readme), "["+name+"]("+name+"/Dockerfile)") {
			t.Errorf("examples/real/README.md does not tell of %s", name)
		}
	}
}

// command runs a program in dir and returns what it prints; that it fails is the end of the test.
func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
