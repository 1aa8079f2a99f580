// Package real builds the examples of examples/real as people build their own: once, again, and after an edit. Then it
// runs what came out, makes more edits, and compares what the cache makes of them with builds without it.
package real

import (
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

var (
	all     = flag.Bool("all", false, "build every example, not only the quick ones, and make five changes of each")
	edited  = flag.Bool("changes", true, "with -all, make the changes")
	tableIn = flag.String("table", "", "put the table of what came of the changes into this `file`")
	rowsIn  = flag.String("rows", "", "keep the rows of the table in this `file`, for a run with the other examples")
	basesIn = flag.String("bases", "", "copy the `store` in which test/real/bases has made base images, which takes minutes")

	packagesIn = flag.String("packages", "", "put the table of what the images have installed into this `file`")

	uncached = flag.Bool("uncached", false, "compare what comes of all changes, not only where a step was a hit by what it had read")
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

func TestReal(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the network and two minutes: run without -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("strata builds as root only")
	}
	dir := t.TempDir()
	binary, err := testbed.Build(t.Context(), dir)
	check(t, err)
	store := filepath.Join(dir, "store")
	goProgram, err = exec.LookPath("go") // it may not be on the path of the next line but one
	check(t, err)
	goProxy = strings.TrimSpace(command(t, "", goProgram, "env", "GOPROXY"))
	t.Setenv("PATH", testbed.Path(binary))
	t.Setenv("STRATA_ROOT", store)
	t.Setenv("HOME", dir)
	t.Setenv("BUILDKIT_PROGRESS", "plain")
	t.Setenv("STRATA_OBSERVE", "")     // as everybody has it
	t.Setenv("STRATA_NETWORK", "host") // where the indexes are, and from where what is run is reached

	if *basesIn != "" {
		command(t, "", "cp", "-a", *basesIn, store)
	}
	documented(t)
	var made time.Duration
	var times []string
	var rows []row
	var installed []inventory
	for _, e := range examples {
		if !e.quick && !*all {
			continue
		}
		t.Run(e.name, func(t *testing.T) {
			start := time.Now()
			if *basesIn == "" {
				command(t, "", "./bases", e.bases...)
			}
			made += time.Since(start)
			b := newBench(t, e, store)
			b.buildAll()
			e.runs(b)
			installed = append(installed, b.compareInstalled()...)
			if *all && *edited {
				rows = append(rows, b.changeAll()...)
			}
			times = append(times, b.times())
		})
	}
	fmt.Printf("%-16s %6.1f s\n%s\n", "base images", made.Seconds(), strings.Join(times, "\n"))
	fmt.Print(inventories(installed))
	if *packagesIn != "" && !t.Failed() {
		writeTable(t, *packagesIn, packagesBegins, inventories(installed))
	}
	if *rowsIn != "" && !t.Failed() {
		rows = keepRows(t, *rowsIn, rows)
	}
	if len(rows) > 0 {
		fmt.Print(table(rows))
	}
	if *tableIn != "" && !t.Failed() {
		writeTable(t, *tableIn, tableBegins, table(rows))
	}
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
	cmd := exec.CommandContext(t.Context(), name, args...)
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
