// Package damage damages the files of a store, one at a time, and works on it: what it does has the result that it has
// on an undamaged store, or there is an error that says what to do, and after that it has. docs/store.md has the
// table.
package damage

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strata-build/strata/internal/builder/source/remote/remotetest"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/test/testbed"
)

var (
	cells = flag.Int("cells", 40, "how many cells of the matrix, 0 for all")
	seed  = flag.Uint64("seed", 1, "decides which cells")
	table = flag.Bool("table", false, "print what happened in each cell")
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// dockerfile is the image's; a SITE is put in it. What it mounts, adds and keeps lies in the store too.
const dockerfile = `FROM busybox
COPY f g /c/
COPY big /d/
ADD SITE/one SITE/two /a/
ADD SITE/r.git /r/
RUN cat /c/f > /made && cat /c/g > /other && chmod 640 /made
RUN --mount=type=bind,source=many,target=/m --mount=type=cache,target=/k cat /m/* | sha256sum > /sum; date > /k/date
`

// again is what needs all of that once more.
const again = `ADD --chmod=600 SITE/one SITE/two /b/
ADD --chmod=600 SITE/r.git /s/
RUN --mount=type=bind,source=many,target=/m --mount=type=cache,target=/k cat /m/* | sha256sum > /sums
RUN `

// look prints what the files of the image are: names, modes, owners and contents.
const look = `cd /; (find bin [a-d] etc made other r s sum* | sort | xargs stat -c "%n %f %u %g"; ` +
	`find bin/busybox [a-d] etc/passwd etc/group made other r s sum* -type f | sort | xargs sha256sum) | sha256sum | sed "s/^/SUM /"`

// bench is what all cells start from.
type bench struct {
	binary, dir string
	form        store.Forms
	good        map[string]string // by operation, the result on a store that is not damaged
}

// machine is a store with what it takes to work on it.
type machine struct {
	*bench
	root string
}

// TestMatrix tries the cells of the matrix.
func TestMatrix(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a minute: run without -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("containers need root")
	}
	for _, form := range []store.Forms{store.TreeForms, store.IndexForms, store.MergedForms} {
		t.Run(string(form), func(t *testing.T) { tryCells(t, form) })
	}
}

// tryCells tries some of the cells on a store whose layers are in a form.
func tryCells(t *testing.T, form store.Forms) {
	b := newBench(t, form)
	all, n := matrix(form), *cells
	if form != store.TreeForms {
		n = (n + 3) / 4 // the others are of trees
	}
	if n > 0 && n < len(all) {
		r := rand.New(rand.NewPCG(*seed, 0))
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:n]
	}
	for _, c := range all {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			from := "store"
			if c.kind.name == "blob" {
				from = "pushed"
			}
			m := b.copy(t, from)
			if c.kind.warm {
				if _, err := m.strata(t.Context(), "build", "-q", m.path("warm")); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.damage(m.root); err != nil {
				t.Fatal(err)
			}
			what := m.try(t, c.operation)
			if *table {
				fmt.Printf("%s: %s\n", c, what)
			}
		})
	}
}

// newBench makes a store with an image, and knows what all operations give.
func newBench(t *testing.T, form store.Forms) *bench {
	ctx := t.Context()
	b := &bench{dir: t.TempDir(), form: form, good: map[string]string{}}
	var err error
	if b.binary, err = testbed.Build(ctx, b.dir); err != nil {
		t.Fatal(err)
	}
	m := &machine{b, b.path("store")}
	if err := m.importBase(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.contexts(t); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.makeEdited(ctx), m.seal(ctx)); err != nil {
		t.Fatal(err)
	}
	for _, op := range operations {
		got, err := b.copy(t, "store").do(ctx, op)
		if err != nil || got == "" {
			t.Fatalf("%s: %q, %v", op, got, err)
		}
		b.good[op] = got
	}
	pushed := b.copy(t, "store")
	if _, err := pushed.push(ctx); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(pushed.root, b.path("pushed")); err != nil {
		t.Fatal(err)
	}
	return b
}

// contexts makes the build contexts: of the image, of what operations build, and of what has all that is kept used
// once.
func (b *bench) contexts(t *testing.T) error {
	site, err := serve(t)
	if err != nil {
		return err
	}
	for dir, more := range map[string]string{"context": "", "more": again + look + "\n", "warm": strings.ReplaceAll(again, "=600", "=640") + "true\n"} {
		text := strings.ReplaceAll(dockerfile+more, "SITE", site)
		files := map[string]string{"f": "hello\n", "g": strings.Repeat("text ", 3000), "Dockerfile": text}
		for i := range bigFiles {
			files[fmt.Sprintf("big/%d", i)] = strings.Repeat(fmt.Sprintln("big", i), 125_000)
		}
		for i := range 300 {
			files[fmt.Sprintf("many/%d", i)] = fmt.Sprintf("%d\n", i)
		}
		for name, text := range files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(b.path(dir), name)), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(b.path(dir), name), []byte(text), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// serve serves two files and a git repository, and returns its address.
func serve(t *testing.T) (string, error) {
	dir := t.TempDir()
	repository := filepath.Join(dir, "r.git")
	if err := os.Mkdir(repository, 0o755); err != nil {
		return "", err
	}
	if err := remotetest.Make(repository, "echo one >file; echo two >other; git add -A; git commit -qm 1"); err != nil {
		return "", err
	}
	files := &remotetest.Server{}
	for _, name := range []string{"one", "two"} {
		files.Set("/"+name, remotetest.Answer{Body: strings.Repeat(name+" ", 1000), Modified: time.Unix(1_500_000_000, 0)})
	}
	all := http.NewServeMux()
	all.Handle("/", files)
	all.Handle("/r.git/", &remotetest.Git{Dir: dir})
	server := httptest.NewServer(all)
	t.Cleanup(server.Close)
	return server.URL, nil
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// copy makes a store like another one, sealed: a copy has other times. "pushed" is a store whose image was pushed, with
// the blobs of that.
func (b *bench) copy(t *testing.T, from string) *machine {
	m := &machine{b, filepath.Join(t.TempDir(), "store")}
	if out, err := exec.Command("cp", "-a", b.path(from), m.root).CombinedOutput(); err != nil {
		t.Fatalf("copying the store: %v: %s", err, out)
	}
	if err := m.seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m
}

// make builds the image.
func (m *machine) make(ctx context.Context) error {
	_, err := m.strata(ctx, "build", "-q", "-t", "app", m.path("context"))
	return err
}

// bigFiles is how many files of 1 MB a COPY has: enough for its layer to become a delta after an edit.
const bigFiles = 12

// makeEdited builds the image, and before that what it was before an edit: one of its layers is a delta then, where
// indexes are mounted.
func (m *machine) makeEdited(ctx context.Context) error {
	name := filepath.Join(m.path("context"), "big", "7")
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(name, []byte("before"), 0o644), m.make(ctx), os.WriteFile(name, text, 0o644), m.make(ctx)); err != nil {
		return err
	}
	deltas, err := filepath.Glob(filepath.Join(m.root, "layers", "*", store.DeltaFile))
	if want := m.form != store.TreeForms; err == nil && (len(deltas) == 1) != want {
		err = fmt.Errorf("%d layers are deltas", len(deltas))
	}
	return err
}

// importBase imports the image that is built on.
func (m *machine) importBase(ctx context.Context) error {
	busybox, err := testbed.Busybox(ctx)
	if err == nil {
		_, err = m.strata(ctx, "import", "--change", `CMD ["sh"]`, busybox, testbed.BusyboxImage)
	}
	return err
}

// seal has the layers verified and sealed in all their forms, and made in those that the test is of.
func (m *machine) seal(ctx context.Context) error {
	s, err := store.Open(m.root)
	if err != nil {
		return err
	}
	names, err := os.ReadDir(filepath.Join(m.root, "layers"))
	for _, name := range names {
		if err == nil {
			err = sealLayer(ctx, s.WithForms(m.form), "sha256:"+name.Name())
		}
	}
	if err = errors.Join(err, s.Close()); err != nil || m.form != store.MergedForms {
		return err
	}
	_, err = m.strata(ctx, "run", "--rm", "app", "true") // on a merged index
	return err
}

// strata runs the program and returns what it writes to stdout; the error has the rest.
func (m *machine) strata(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, m.binary, args...)
	cmd.Env = append(os.Environ(), "STRATA_ROOT="+m.root, "STRATA_LAYER_FORM="+string(m.form))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", err, stderr.String())
	}
	if args[0] == "build" {
		return stderr.String(), nil
	}
	return stdout.String(), nil
}

// helpful is an error that names a command.
var helpful = regexp.MustCompile(`build|pull|import|--no-cache|system check|try again|move .* away`)

// try does an operation on a damaged store and says what came of it.
func (m *machine) try(t *testing.T, op string) string {
	got, err := m.do(t.Context(), op)
	switch {
	case err == nil && got == m.good[op]:
		return "right"
	case err == nil:
		t.Fatalf("a wrong result, and exit 0: %q instead of %q", got, m.good[op])
	case strings.Contains(err.Error(), "panic:") || strings.Contains(err.Error(), "goroutine "):
		t.Fatalf("a traceback: %v", err)
	case !helpful.MatchString(err.Error()):
		t.Fatalf("the error does not say what to do: %v", err)
	}
	said := err
	if strings.Contains(said.Error(), " away") {
		if err := os.Rename(m.root, m.root+".away"); err != nil {
			t.Fatal(err)
		}
	}
	// What errors advise: importing the base, checking, building.
	_, _ = m.strata(t.Context(), "system", "check", "--repair")
	if err := m.importBase(t.Context()); err != nil {
		t.Fatalf("%v, after %v", err, said)
	}
	if err := m.make(t.Context()); err != nil {
		t.Fatalf("%v, after %v", err, said)
	}
	if got, err = m.do(t.Context(), op); err != nil || got != m.good[op] {
		t.Fatalf("after it was mended: %q instead of %q, %v, after %v", got, m.good[op], err, said)
	}
	return "error"
}

// matrix lists all cells of a store whose layers are in a form.
func matrix(form store.Forms) []cell {
	var all []cell
	of := kinds
	if form != store.TreeForms {
		of = indexKinds
	}
	if form == store.MergedForms {
		of = append(slices.Clip(of), mergedKinds...)
	}
	for _, k := range of {
		for _, h := range k.harms {
			for _, op := range operations {
				all = append(all, cell{k, h, op})
			}
		}
	}
	return slices.Clip(all)
}
