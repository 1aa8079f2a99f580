package test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/strata-build/strata/test/testbed"
)

// besideBuilds is how many builds run at once.
const besideBuilds = 8

// TestBesidePrune runs eight builds at once of two Dockerfiles whose first steps are the same, on one store, with
// prunes of all kinds beside them, one after the other without a pause. All builds succeed, and each step that they
// share runs once. What runs is counted by a server that the steps call; it lets the first of them end only once all
// eight builds have begun, so that none comes when the prunes have the store for themselves.
func TestBesidePrune(t *testing.T) {
	if testing.Short() {
		t.Skip("needs half a minute: run without -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("strata builds as root only")
	}
	ctx := t.Context()
	dir := t.TempDir()
	binary, err := testbed.Build(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	base, err := testbed.MakeStore(ctx, binary, filepath.Join(dir, "base"), false)
	if err != nil {
		t.Fatal(err)
	}
	rounds := 3
	if os.Getenv("STRATA_TEST_LONG") != "" {
		rounds = 60
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "store")
			if err := base.Copy(ctx, root); err != nil {
				t.Fatal(err)
			}
			b := &beside{t: t, binary: binary, root: root, calls: map[string]int{}, allBegun: make(chan struct{})}
			b.serve()
			b.round(ctx)
		})
	}
}

// beside is one round: a store, and the calls of the steps.
type beside struct {
	t            *testing.T
	binary, root string
	address      string
	begun        atomic.Int32
	allBegun     chan struct{}

	mu    sync.Mutex
	calls map[string]int
}

// serve counts the calls, and holds the first step back until all builds have begun.
func (b *beside) serve() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	b.address = listener.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.calls[r.URL.Path]++
		b.mu.Unlock()
		if r.URL.Path == "/first" {
			select {
			case <-b.allBegun:
			case <-r.Context().Done():
			}
		}
	})}
	go server.Serve(listener)
	b.t.Cleanup(func() { server.Close() })
}

// output is what a build prints. It prints first when it has begun to use the store.
type output struct {
	b    *beside
	once sync.Once
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.once.Do(func() {
		if o.b.begun.Add(1) == besideBuilds {
			close(o.b.allBegun)
		}
	})
	return o.text.Write(p)
}

func (b *beside) round(ctx context.Context) {
	var builds sync.WaitGroup
	for i := range besideBuilds {
		dir := b.context(i)
		builds.Go(func() {
			out := &output{b: b}
			if err := b.run(ctx, out, "build", "--network=host", "-t", fmt.Sprintf("beside/%d", i), dir); err != nil {
				b.t.Errorf("build %d: %v\n%s", i, err, &out.text)
				out.Write(nil) // or the others wait for ever
			}
		})
	}
	ended := make(chan struct{})
	var prunes sync.WaitGroup
	prunes.Go(func() { b.prune(ctx, ended) })
	builds.Wait()
	close(ended)
	prunes.Wait()
	for _, path := range []string{"/first", "/second", "/even", "/odd"} {
		if b.calls[path] != 1 {
			b.t.Errorf("the step that calls %s ran %d times", path, b.calls[path])
		}
	}
	for i := range besideBuilds {
		if out, err := b.strata(ctx, "run", "--rm", fmt.Sprintf("beside/%d", i), "cat", "/first", "/second", "/kind", "/own"); err != nil || strings.Count(out, "\n") != 4 {
			b.t.Errorf("what build %d made: %v\n%s", i, err, out)
		}
	}
}

// context makes the context of build i, with one of the two Dockerfiles.
func (b *beside) context(i int) string {
	kind := []string{"even", "odd"}[i%2]
	dir := b.t.TempDir()
	call := func(path, file string) string {
		return fmt.Sprintf("RUN wget -q -O - http://%s/%s && echo %s >/%s\n", b.address, path, path, file)
	}
	text := "FROM busybox\n" + call("first", "first") + "WORKDIR /srv\n" + call("second", "second") + call(kind, "kind") + "COPY own /own\nRUN cat /own\n"
	for name, data := range map[string]string{"Dockerfile": text, "own": fmt.Sprintln(i)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	return dir
}

// prune prunes in every way that leaves named images, until the builds have ended.
func (b *beside) prune(ctx context.Context, ended <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-ended:
			return
		default:
		}
		args := [][]string{
			{"builder", "prune", "-f"},
			{"builder", "prune", "-a", "-f"},
			{"builder", "prune", "-f", "--keep-storage", "0"},
			{"system", "prune", "-f"},
			{"builder", "prune", "-a", "-f", "--keep-storage", "0"},
			{"image", "prune", "-f"},
		}
		if out, err := b.strata(ctx, args[i%len(args)]...); err != nil {
			b.t.Errorf("strata %v: %v\n%s", args[i%len(args)], err, out)
			return
		}
	}
}

func (b *beside) strata(ctx context.Context, args ...string) (string, error) {
	var out bytes.Buffer
	err := b.run(ctx, &out, args...)
	return out.String(), err
}

func (b *beside) run(ctx context.Context, out io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, b.binary, args...)
	cmd.Env = append(os.Environ(), "STRATA_ROOT="+b.root, "DOCKER_BUILDKIT=")
	cmd.Stdout, cmd.Stderr = out, out
	return cmd.Run()
}
