// Package habits holds lines as people and scripts type them for docker, run with Debian's docker and with strata
// in its place: the exit codes have to be the same, and so does the output where it is data. The lines are in
// habits.txtar, a section for each command:
//
//	= images
//	same docker images -q app | wc -l
//	code docker build -t app app
//	new docker buildx ls ## what of it is not the same
//
// The first word says what is compared: same is exit code and standard output, code is the exit code, new is a line
// that Docker 20.10 does not know, which has to succeed with strata; differs is a line of which the exit code is
// not the same, and says why behind ##. setup prepares what follows; it is no habit. Each side has its own
// directory with the archive's files, its own registry at $REGISTRY, and keeps its images from line to line.
package habits

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/strata-build/strata/test/testbed"
)

// table is where the habits are.
const table = "habits.txtar"

// lineTime is how long a line may take on a busy machine.
const lineTime = 5 * time.Minute

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// habit is a line that people type.
type habit struct {
	section, line, mode, note string
}

// readTable reads the habits, and the files that they need.
func readTable(t *testing.T) ([]habit, []txtar.File) {
	t.Helper()
	archive, err := txtar.ParseFile(table)
	if err != nil {
		t.Fatal(err)
	}
	var all []habit
	section := ""
	for line := range strings.Lines(string(archive.Comment)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "= "); ok {
			section = name
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		h := habit{section: section}
		line, h.note, _ = strings.Cut(line, " ## ")
		h.mode, h.line, _ = strings.Cut(line, " ")
		switch h.mode {
		case "same", "code", "new", "setup":
		case "differs":
			if h.note == "" {
				t.Fatalf("%s: it does not say why it differs", h.line)
			}
		default:
			t.Fatalf("%s: no such mode", line)
		}
		all = append(all, h)
	}
	return all, archive.Files
}

// side is docker, or strata in its place.
type side struct {
	dir string
	env []string
}

// outcome is what a line gave.
type outcome struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

func TestHabits(t *testing.T) {
	if testing.Short() {
		t.Skip("needs dockerd and a minute: run without -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("strata and dockerd build as root only")
	}
	all, files := readTable(t)
	docker, strata := newSides(t, files)
	compared := 0
	for _, h := range all {
		var want, got outcome
		var both sync.WaitGroup
		if h.mode != "new" {
			both.Go(func() { want = docker.run(t.Context(), h.line) })
		}
		both.Go(func() { got = strata.run(t.Context(), h.line) })
		both.Wait()
		if h.mode != "setup" {
			compared++
		}
		t.Logf("%s: %s (%v and %v)", h.section, h.line, want.took.Round(time.Millisecond), got.took.Round(time.Millisecond))
		compare(t, h, want, got)
	}
	if compared < 100 {
		t.Errorf("only %d habits", compared)
	}
}

func compare(t *testing.T, h habit, want, got outcome) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Errorf("%s: %s\n%s\ndocker says: %sstrata says: %s", h.section, h.line, fmt.Sprintf(format, args...), want.stderr, got.stderr)
	}
	switch {
	case h.mode == "differs" && want.code == got.code:
		fail("exit code %d with both: it does not differ", got.code)
	case h.mode == "setup" && (want.code != 0 || got.code != 0):
		fail("exit codes %d and %d", want.code, got.code)
	case h.mode != "differs" && want.code != got.code:
		fail("exit code %d with docker, %d with strata", want.code, got.code)
	case h.mode == "same" && want.stdout != got.stdout:
		fail("standard output (-docker +strata):\n%s", cmp.Diff(want.stdout, got.stdout))
	}
}

// newSides starts what both need. On each, docker is a script on the search path.
func newSides(t *testing.T, files []txtar.File) (docker, strata *side) {
	ctx, dir := context.Background(), t.TempDir()
	binary, err := testbed.Build(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	daemon, err := testbed.StartDocker(ctx, filepath.Join(dir, "dockerd"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(daemon.Stop)
	store := filepath.Join(dir, "store")
	var together sync.WaitGroup
	var failures [2]error
	together.Go(func() { failures[0] = daemon.ImportBases(ctx) })
	together.Go(func() { _, failures[1] = testbed.MakeStore(ctx, binary, store, false) })
	together.Wait()
	if err := errors.Join(failures[:]...); err != nil {
		t.Fatal(err)
	}
	// The daemon has no network of its own.
	real := `#!/bin/sh
case " $* " in *" --net"*) exec /usr/bin/docker "$@" ;; esac
case "$1 $2" in
"build "*|"run "*|"create "*) command=$1; shift; exec /usr/bin/docker $command --network host "$@" ;;
"image build"|"container run"|"builder build"|"container create") command="$1 $2"; shift 2; exec /usr/bin/docker $command --network host "$@" ;;
esac
exec /usr/bin/docker "$@"
`
	docker = newSide(t, filepath.Join(dir, "docker-side"), real, files, "DOCKER_HOST="+daemon.Host)
	strata = newSide(t, filepath.Join(dir, "strata-side"), "#!/bin/sh\nexec "+binary+" \"$@\"\n", files, "STRATA_ROOT="+store)
	return docker, strata
}

func newSide(t *testing.T, dir, script string, files []txtar.File, env ...string) *side {
	t.Helper()
	s := &side{dir: filepath.Join(dir, "work")}
	bin := filepath.Join(dir, "bin")
	for _, d := range []string{s.dir, bin} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := filepath.Join(s.dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	registry, err := testbed.StartRegistry(context.Background(), filepath.Join(dir, "registry"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Stop)
	s.env = append(env, "PATH="+bin+":/usr/bin:/bin:/usr/sbin:/sbin", "HOME="+dir, "DOCKER_BUILDKIT=1", "REGISTRY="+registry.Address,
		"TMPDIR="+os.TempDir(), "FROM_ENVIRONMENT=of the environment", "SOURCE_DATE_EPOCH=")
	return s
}

// run runs a line in a shell.
func (s *side) run(ctx context.Context, line string) outcome {
	ctx, cancel := context.WithTimeout(ctx, lineTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", line)
	cmd.Dir, cmd.Env = s.dir, s.env
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	o := outcome{stdout: s.normal(stdout.String()), stderr: stderr.String(), took: time.Since(began)}
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		o.code = failed.ExitCode()
	} else if err != nil {
		o.code, o.stderr = -1, err.Error()
	}
	return o
}

// What is never the same in two builds, or two seconds later.
var (
	digests = regexp.MustCompile(`\b(sha256:)?[0-9a-f]{64}\b`)
	ids     = regexp.MustCompile(`\b[0-9a-f]{12}\b`)
	ages    = regexp.MustCompile(`(Less than a second|About an? (minute|hour)|\d+ (seconds?|minutes?|hours?)) ago`)
	times   = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d| [+-]\d{4} [A-Z]+)?`)
	blanks  = regexp.MustCompile(` {2,}`)
)

// normal is an output without what differs by nature.
func (s *side) normal(text string) string {
	for _, variable := range s.env {
		if address, ok := strings.CutPrefix(variable, "REGISTRY="); ok {
			text = strings.ReplaceAll(text, address, "REGISTRY")
		}
	}
	text = digests.ReplaceAllString(text, "${1}DIGEST")
	text = ids.ReplaceAllString(text, "ID")
	text = ages.ReplaceAllString(text, "AGO")
	text = times.ReplaceAllString(text, "TIME")
	return blanks.ReplaceAllString(text, " ")
}
