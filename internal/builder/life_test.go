package builder_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/reference"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/builder/solver"
	"github.com/strata-build/strata/internal/store"
)

// clean fails if the store has mounts, or work under way that is not of this process's own session.
func (b *bed) clean() {
	b.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	check(b.t, err)
	if strings.Contains(string(mounts), b.root+"/") {
		b.t.Errorf("something is mounted below %s:\n%s", b.root, mounts)
	}
	for _, pattern := range []string{"tmp/*/*-*", "locks/*"} {
		left, err := filepath.Glob(filepath.Join(b.root, pattern))
		check(b.t, err)
		if len(left) > 0 {
			b.t.Errorf("left behind: %s", left)
		}
	}
}

// A step that fails keeps what it left, leaves those before it in the cache, and names nothing.
func TestFailedStep(t *testing.T) {
	for _, engine := range []func(*builder.Request){func(*builder.Request) {}, classic} {
		b := newBed(t)
		b.write("Dockerfile", "FROM base\nRUN echo before >/before\nRUN echo left >/left; exit 3\nRUN echo never\n")
		ref, err := reference.ParseNormalizedNamed("result:latest")
		check(t, err)
		tag := func(o *builder.Request) { o.Output.Tags = []reference.Named{ref} }
		r := b.build(engine, tag)
		var failed *solver.StepError
		if !errors.As(r.err, &failed) || failed.ExitCode != 3 {
			t.Fatalf("error %v", r.err)
		}
		tree := b.tree(failed.State)
		if _, ok := tree["left"]; !ok {
			t.Error("the state of the failed step lacks its own file")
		}
		if _, err := b.store.Resolve("result:latest"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the name resolves: %v", err)
		}
		b.clean()
		again := b.build(engine, tag)
		if again.err == nil || again.steps[0] != "hit RUN echo before >/before" {
			t.Errorf("again: %v, %q", again.err, again.steps)
		}
	}
}

// Stages that do not need each other run at the same time: neither step goes on before both have begun.
func TestStagesRunAtOnce(t *testing.T) {
	b := newBed(t)
	b.write("Dockerfile", "FROM base AS a\nRUN echo a; touch /a\nFROM base AS b\nRUN echo b; touch /b\nFROM base\nCOPY --from=a /a /\nCOPY --from=b /b /\n")
	gate := make(chan struct{})
	arrived := make(chan string, 2)
	r := newRecorder()
	r.gate = func(step string) {
		if strings.HasPrefix(step, "RUN") {
			arrived <- step
			<-gate
		}
	}
	done := make(chan error, 1)
	go func() { done <- b.build(func(o *builder.Request) { o.Events = r }).err }()
	for range 2 {
		select {
		case <-arrived:
		case err := <-done:
			t.Fatal("the build ended: ", err)
		case <-time.After(time.Minute):
			t.Fatal("the second stage does not start while the first one runs")
		}
	}
	close(gate)
	check(t, <-done)
}

// When a stage fails, the error is its own, and the others are stopped rather than failed.
func TestFailureStopsOtherStages(t *testing.T) {
	b := newBed(t)
	b.write("Dockerfile", "FROM base AS a\nRUN echo waiting; sleep 1000\nFROM base AS b\nRUN sleep 1; exit 9\nFROM base\nCOPY --from=a /a /\nCOPY --from=b /b /\n")
	r := b.build()
	var failed *solver.StepError
	if !errors.As(r.err, &failed) || failed.ExitCode != 9 {
		t.Errorf("error %v", r.err)
	}
	if err := r.failed["RUN echo waiting; sleep 1000"]; !errors.Is(err, context.Canceled) || errors.As(err, &failed) {
		t.Errorf("the other stage failed with %v", err)
	}
	b.clean()
}

// A build that is stopped ends soon, and leaves nothing.
func TestCancel(t *testing.T) {
	for _, engine := range []func(*builder.Request){func(*builder.Request) {}, classic} {
		b := newBed(t)
		b.write("Dockerfile", "FROM base\nRUN echo first\nRUN sleep 1000\n")
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan *result, 1)
		r := newRecorder()
		go func() {
			done <- b.buildContext(ctx, engine, func(o *builder.Request) { o.Events = r })
		}()
		for step := range r.started {
			if step == "RUN sleep 1000" {
				break
			}
		}
		cancel()
		select {
		case got := <-done:
			if !errors.Is(got.err, context.Canceled) {
				t.Errorf("error %v", got.err)
			}
		case <-time.After(time.Minute):
			t.Fatal("the build goes on")
		}
		b.clean()
	}
}

// start starts a build of the context in a process of its own.
func (b *bed) start() (*exec.Cmd, *bufio.Scanner) {
	b.t.Helper()
	c := exec.Command("/proc/self/exe")
	c.Dir = b.dir
	c.Env = append(os.Environ(), childStore+"="+b.root)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	check(b.t, err)
	check(b.t, c.Start())
	b.t.Cleanup(func() { c.Process.Kill() })
	return c, bufio.NewScanner(out)
}

// A step that two processes need at the same time runs in one of them.
func TestTwoProcessesShareAStep(t *testing.T) {
	b := newBed(t)
	b.write("Dockerfile", "FROM base\nRUN echo ran; sleep 1; echo end >/f\n")
	one, oneOut := b.start()
	two, twoOut := b.start()
	lines := 0
	for _, out := range []*bufio.Scanner{oneOut, twoOut} {
		for out.Scan() {
			lines++
		}
	}
	check(t, one.Wait())
	check(t, two.Wait())
	if lines != 1 {
		t.Errorf("the step ran %d times", lines)
	}
	if r := b.build(); r.err != nil || r.ran() > 0 {
		t.Errorf("%v, %q", r.err, r.steps)
	}
	b.clean()
}

// A build that is killed in the middle of a step leaves a store in which the next one succeeds, and nothing
// else once that has been opened.
func TestKilled(t *testing.T) {
	b := newBed(t)
	b.write("Dockerfile", "FROM base\nRUN echo first >/first\nRUN echo second; sleep 2; echo >/second\nCOPY Dockerfile /\n")
	c, out := b.start()
	for out.Scan() && out.Text() != "second" {
	}
	check(t, c.Process.Kill())
	_ = c.Wait()
	check(t, b.store.Close())
	b.open()
	r := b.build()
	check(t, r.err)
	if r.steps[0] != "hit RUN echo first >/first" {
		t.Errorf("steps %q", r.steps)
	}
	b.clean()
}
