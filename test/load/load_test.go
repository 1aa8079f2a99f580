// Package load has many people work on one store at a time, and looks at what is there afterwards.
//
// Builds, prunes of all kinds, rmi, tag, push and pull, save and load run beside each other without a pause, with a
// registry of their own. Each worker has names that only it sets and removes; a few names are everybody's.
//
//   - What a worker does with its own names succeeds, and they mean what it built, whatever others do.
//   - What is done with a name of everybody's either succeeds, or says that the name is not there.
//   - The content of each image is the one that a new store gives.
//   - At the end strata system check --read-data finds nothing, no process and no mount is left, tmp/ and locks/ are
//     empty; and when all images and the cache are removed, so are layers/ and blobs/.
//
// What each worker does is decided by the seed; in which order that happens is not.
package load

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/strata-build/strata/test/testbed"
)

var (
	minutes = flag.Float64("minutes", 0.1, "how long the workers go on")
	builds  = flag.Int("builds", 16, "how many of them build")
	seed    = flag.Uint64("seed", 1, "of what they do")
	races   = flag.Bool("races", false, "build strata with go build -race, and look for data races")
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

func TestLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("needs half a minute: run without -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("strata builds as root only")
	}
	if _, err := exec.LookPath("docker-registry"); err != nil {
		t.Skip(err)
	}
	b := newBench(t)
	b.work(time.Duration(*minutes * float64(time.Minute)))
	b.look()
	t.Log(b.journal.summary())
}

// bench is what all workers share.
type bench struct {
	t        *testing.T
	dir      string
	binary   string
	root     string            // of the store
	registry string            // its address
	want     map[string]string // the content of each image, by what it was built of
	workers  []*worker
	journal  journal
}

func (b *bench) path(elem ...string) string {
	return filepath.Join(append([]string{b.dir}, elem...)...)
}

func newBench(t *testing.T) *bench {
	t.Helper()
	ctx := t.Context()
	b := &bench{t: t, dir: t.TempDir(), want: map[string]string{}}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var flags []string
	if *races {
		flags = append(flags, "-race")
	}
	var err error
	b.binary, err = testbed.Build(ctx, b.dir, flags...)
	check(err)
	registry, err := testbed.StartRegistry(ctx, b.path("registry"))
	check(err)
	t.Cleanup(registry.Stop)
	b.registry = registry.Address
	check(b.writeContexts())
	for _, root := range []string{"reference", "store"} {
		_, err := testbed.MakeStore(ctx, b.binary, b.path(root), false)
		check(err)
	}
	b.root = b.path("reference")
	check(b.makeReference())
	check(testbed.CheckForm(b.root))
	b.root = b.path("store")
	return b
}

// makeReference finds out what has to be in each image, on a store that nothing else happens to.
func (b *bench) makeReference() error {
	for v := range variants {
		for _, target := range targets {
			of := madeOf(v, target)
			if out, err := b.strata(append([]string{"build", "-q", "-t", "reference"}, b.context(v, target)...)...); err != nil {
				return fmt.Errorf("%w\n%s", err, out)
			}
			content, err := b.content("reference", b.path("reference.tar"))
			if err != nil {
				return err
			}
			b.want[of] = content
		}
	}
	return nil
}

// content is what is in an image.
func (b *bench) content(name, archive string) (string, error) {
	defer os.Remove(archive)
	if out, err := b.strata("save", "-o", archive, name); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return testbed.ImageContent(archive)
}

// stuck is after how long a command is taken for one that never ends. It then prints what its goroutines wait for.
const stuck = 5 * time.Minute

// strata runs a command and returns what it printed.
func (b *bench) strata(args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), stuck, errors.New("it does not end"))
	defer cancel()
	cmd := exec.CommandContext(ctx, b.binary, args...)
	cmd.Env = append(os.Environ(), "STRATA_ROOT="+b.root, "HOME="+b.dir, "GORACE=log_path="+b.path("race"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		err = fmt.Errorf("strata %s: %w", strings.Join(args, " "), err)
	}
	return out.String(), err
}

// work has all workers work until the time is over, and each at least once.
func (b *bench) work(long time.Duration) {
	add := func(name string, step func(*worker)) {
		w := &worker{bench: b, name: name, rand: rand.New(rand.NewPCG(*seed, uint64(len(b.workers)))), own: map[string]string{}, step: step}
		b.workers = append(b.workers, w)
	}
	for i := range *builds {
		add(fmt.Sprint("build", i), (*worker).build)
	}
	for i := range 2 {
		add(fmt.Sprint("push", i), (*worker).pushAndPull)
		add(fmt.Sprint("save", i), (*worker).saveAndLoad)
	}
	add("rmi", (*worker).remove)
	add("prune", (*worker).prune)
	end := time.Now().Add(long)
	var all sync.WaitGroup
	for _, w := range b.workers {
		all.Go(func() {
			for {
				w.step(w)
				if time.Now().After(end) || w.failures > 3 {
					return
				}
			}
		})
	}
	all.Wait()
}

// notThere is what a command says of a name that somebody has removed.
var notThere = regexp.MustCompile(`no image or step \S+ here|no image here has the name|no registry knows it`)

// worker is somebody who works on the store.
type worker struct {
	*bench
	name     string
	rand     *rand.Rand
	step     func(*worker)
	own      map[string]string // what each name that only this one sets and removes was built of
	failures int
}

// fail reports a failure, with what else ran meanwhile.
func (w *worker) fail(began time.Time, format string, args ...any) {
	w.failures++
	w.t.Errorf("%s: %s\nmeanwhile:\n%s", w.name, fmt.Sprintf(format, args...), w.journal.since(began, w.name))
}

// do runs a command that has to succeed.
func (w *worker) do(args ...string) (out string, ok bool) {
	began := time.Now()
	out, err := w.strata(args...)
	w.journal.add(w.name, began, err, args)
	if err != nil {
		w.fail(began, "%v\n%s", err, out)
	}
	return out, err == nil
}

// try runs a command on a name of everybody's, which may not be there.
func (w *worker) try(args ...string) (out string, ok bool) {
	began := time.Now()
	out, err := w.strata(args...)
	w.journal.add(w.name, began, err, args)
	if err != nil && !notThere.MatchString(out) {
		w.fail(began, "%v\n%s", err, out)
	}
	return out, err == nil
}
