package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/cache/places/placetest"
	"github.com/strata-build/strata/internal/cache/places/s3"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
	"github.com/strata-build/strata/test/testbed"
)

// benchFleet measures what workers are good for: how much sooner independent stages are done with more of them, what a step
// costs more on another machine, and what a thousand clients ask of one cache (docs/fleet.md).
func benchFleet(ctx context.Context, binary, work string, o options) error {
	f, err := newFleetBench(ctx, binary, work)
	if err != nil {
		return err
	}
	defer f.close()
	for _, part := range []struct {
		name    string
		measure func(ctx context.Context, runs int) error
	}{
		{"a step here and on a worker", f.overhead},
		{"stages on several workers", f.speedUp},
		{"clients of one cache", func(ctx context.Context, _ int) error { return clients(ctx, work) }},
	} {
		if !strings.Contains(part.name, o.only) {
			continue
		}
		if err := part.measure(ctx, o.runs); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// fleetBench is a queue, a bucket and workers, each with a store of its own, on one machine.
type fleetBench struct {
	binary, work string
	base         *testbed.Store
	queue        *testbed.Queue
	objects      string // URL of a server of S3
	stopObjects  func()
	workers      []*exec.Cmd
	builds       int
	stores       int // of workers
}

func newFleetBench(ctx context.Context, binary, work string) (*fleetBench, error) {
	f := &fleetBench{binary: binary, work: work}
	var err error
	if f.base, err = testbed.MakeStore(ctx, binary, filepath.Join(work, "base"), false); err != nil {
		return nil, err
	}
	if f.queue, err = testbed.StartQueue(ctx, work, 1); err != nil {
		return nil, err
	}
	os.Setenv("AWS_ACCESS_KEY_ID", placetest.AccessKey)
	os.Setenv("AWS_SECRET_ACCESS_KEY", placetest.SecretKey)
	server, stop := placetest.NewObjects()
	f.objects, f.stopObjects = server.URL, stop
	return f, nil
}

func (f *fleetBench) close() {
	f.stopWorkers()
	f.stopObjects()
	f.queue.Stop()
}

// startWorkers starts workers that run one step at a time.
func (f *fleetBench) startWorkers(ctx context.Context, n int) error {
	for i := range n {
		name := fmt.Sprintf("w%d", i+1)
		f.stores++
		root := filepath.Join(f.work, fmt.Sprintf("worker-%d", f.stores))
		if err := f.base.Copy(ctx, root); err != nil {
			return err
		}
		cmd := exec.Command(f.binary, "worker", "--queue", f.queue.URL, "--cache", f.depot(), "--name", name, "--slots", "1")
		cmd.Env = append(os.Environ(), "STRATA_ROOT="+root)
		errors, err := cmd.StderrPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		f.workers = append(f.workers, cmd)
		var seen strings.Builder
		buffer := make([]byte, 4096)
		for !strings.Contains(seen.String(), "--queue-trust") {
			n, err := errors.Read(buffer)
			if err != nil {
				return fmt.Errorf("starting a worker: %w: %s", err, seen.String())
			}
			seen.Write(buffer[:n])
		}
		go func() { _, _ = io.Copy(io.Discard, errors) }()
	}
	return nil
}

func (f *fleetBench) stopWorkers() {
	for _, cmd := range f.workers {
		_ = cmd.Process.Signal(os.Interrupt)
	}
	for _, cmd := range f.workers {
		_ = cmd.Wait()
	}
	f.workers = nil
}

func (f *fleetBench) depot() string {
	return "type=s3,bucket=cache,use_path_style=true,endpoint_url=" + f.objects
}

// build builds a Dockerfile in a store of its own, whose steps no build had before.
func (f *fleetBench) build(ctx context.Context, dockerfile string, flags ...string) (time.Duration, error) {
	f.builds++
	dir := filepath.Join(f.work, fmt.Sprintf("build-%d", f.builds))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 0, err
	}
	if err := writeDockerfile(dir, strings.ReplaceAll(dockerfile, "NUMBER", fmt.Sprint(f.builds))); err != nil {
		return 0, err
	}
	root := filepath.Join(f.work, fmt.Sprintf("store-%d", f.builds))
	if err := f.base.Copy(ctx, root); err != nil {
		return 0, err
	}
	defer os.RemoveAll(root)
	cmd := exec.CommandContext(ctx, f.binary, append([]string{"build", "--progress=plain", "-t", "bench/fleet", dir}, flags...)...)
	cmd.Env = append(os.Environ(), "STRATA_ROOT="+root)
	m, err := measure(cmd)
	return m.elapsed, err
}

// Stages of the build whose speed-up is measured, and how long the step of each takes.
const (
	fleetStages = 24
	fleetSleep  = 2 * time.Second
)

func (f *fleetBench) speedUp(ctx context.Context, runs int) error {
	var text strings.Builder
	for i := range fleetStages {
		fmt.Fprintf(&text, "FROM busybox AS s%d\nRUN sleep %d; echo NUMBER %d >/out\n", i, int(fleetSleep.Seconds()), i)
	}
	text.WriteString("FROM busybox\n")
	for i := range fleetStages {
		fmt.Fprintf(&text, "COPY --from=s%d /out /out-%d\n", i, i)
	}
	fmt.Printf("%d stages of %s each, medians of %d runs\n\n| workers | time | of linear |\n|---|---|---|\n", fleetStages, fleetSleep, runs)
	one := time.Duration(0)
	for _, n := range []int{1, 2, 4, 8} {
		if err := f.startWorkers(ctx, n); err != nil {
			return err
		}
		var all []time.Duration
		for range runs {
			progress("%d workers", n)
			took, err := f.build(ctx, text.String(), "--queue", f.queue.URL)
			if err != nil {
				return err
			}
			all = append(all, took)
		}
		f.stopWorkers()
		took := median(all)
		if one == 0 {
			one = took
		}
		fmt.Printf("| %d | %s | %.2f |\n", n, seconds(took), one.Seconds()/took.Seconds()/float64(n))
	}
	return nil
}

// overhead compares a chain of small steps here and on a worker.
func (f *fleetBench) overhead(ctx context.Context, runs int) error {
	const steps = 20
	text := "FROM busybox\n"
	for i := range steps {
		text += fmt.Sprintf("RUN echo NUMBER %d >/out-%d\n", i, i)
	}
	if err := f.startWorkers(ctx, 1); err != nil {
		return err
	}
	defer f.stopWorkers()
	var here, there []time.Duration
	for range max(runs, 3) {
		progress("steps here and on a worker")
		took, err := f.build(ctx, text)
		if err != nil {
			return err
		}
		here = append(here, took)
		if took, err = f.build(ctx, text, "--queue", f.queue.URL); err != nil {
			return err
		}
		there = append(there, took)
	}
	more := (median(there) - median(here)) / steps
	fmt.Printf("\n%d RUNs that write a file, one after the other: %s here, %s on a worker; %.1f ms more for each\n",
		steps, seconds(median(here)), seconds(median(there)), float64(more.Microseconds())/1000)
	return nil
}

// clients has many builds that begin at once ask one cache for the same steps, with and without claims.
func clients(ctx context.Context, work string) error {
	const many, steps = 1000, 20
	fmt.Printf("\n%d clients that build the same %d steps at once from one bucket, for each of them\n\n", many, steps)
	fmt.Printf("| | steps run in sum | requests | bytes read | bytes written |\n|---|---|---|---|---|\n")
	for _, claims := range []bool{false, true} {
		progress("%d clients", many)
		server, stop := placetest.NewObjects()
		c, err := newCrowd(work, server, steps)
		if err == nil {
			err = c.run(ctx, many, claims)
		}
		c.close()
		stop()
		if err != nil {
			return err
		}
		requests := 0
		sent := int64(0)
		for i, method := range []string{"GET", "HEAD", "PUT", "DELETE", "POST"} {
			n, bytes := server.Count(method)
			if requests += n; i == 0 {
				sent = bytes
			}
		}
		name := "each for itself"
		if claims {
			name = "each step claimed"
		}
		fmt.Printf("| %s | %d | %.1f | %d | %d |\n", name, c.ran, float64(requests)/many, sent/many, server.Received()/many)
	}
	return nil
}

// crowd is many clients. Each of its machines, which stand for some clients each, has the layers that the steps would make.
type crowd struct {
	machines []*transfer.Mover
	spec     places.Spec
	steps    []cache.Step

	mu  sync.Mutex
	ran int
}

// crowdMachines are few enough to be made in a while, and enough for their databases not to be what is measured.
const crowdMachines = 20

func newCrowd(work string, server *placetest.ObjectServer, steps int) (*crowd, error) {
	c := &crowd{}
	c.spec = places.Spec{Type: "s3", Ref: "cache", Attr: map[string]string{"bucket": "cache", "endpoint_url": server.URL, "use_path_style": "true"}}
	files := make([][]byte, steps)
	for i := range files {
		files[i] = make([]byte, 64<<10)
		_, _ = rand.Read(files[i])
	}
	for range crowdMachines {
		root, err := os.MkdirTemp(work, "crowd-")
		if err != nil {
			return c, err
		}
		s, err := store.Open(root)
		if err != nil {
			return c, err
		}
		c.machines = append(c.machines, transfer.New(s, registry.New(registry.Config{}), ocispec.Platform{OS: "linux", Architecture: "amd64"}, *s3.Kind.Blobs))
		for i, data := range files {
			d, err := addLayer(s, data)
			if err != nil {
				return c, err
			}
			if len(c.steps) <= i {
				k := &cache.Key{Kind: cache.KindRun}
				k.Add(cache.PartArg, fmt.Sprint(i))
				c.steps = append(c.steps, cache.NewStep(k, &cache.Record{Layer: d, Created: time.Now().UTC(), Took: time.Second, Instruction: fmt.Sprint("RUN ", i)}))
			}
		}
	}
	return c, nil
}

// addLayer adds a layer of one file.
func addLayer(s *store.Store, data []byte) (digest.Digest, error) {
	t, err := layer.NewTOC([]*layer.Entry{{Path: "file", Type: layer.File, Mode: 0o644, Size: int64(len(data)), Digest: digest.FromBytes(data)}})
	if err != nil {
		return "", err
	}
	dir, err := s.Temp("layer")
	if err != nil {
		return "", err
	}
	f, err := os.Create(filepath.Join(dir, "tar"))
	if err != nil {
		return "", err
	}
	made, err := layer.WriteTarFile(context.Background(), f, t, func(context.Context, *layer.Entry) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	})
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	_, err = s.AddLayer(made.DiffID, made.TOC, dir)
	return made.DiffID, err
}

func (c *crowd) close() {
	for _, m := range c.machines {
		m.Store.Close()
	}
}

// run has the clients build, each step after the other.
func (c *crowd) run(ctx context.Context, many int, claims bool) error {
	var wg sync.WaitGroup
	errs := make([]error, many)
	for i := range many {
		wg.Go(func() { errs[i] = c.build(ctx, c.machines[i%crowdMachines], claims) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// build is what one client does: it looks each step up, runs what is not there, and writes what it ran.
func (c *crowd) build(ctx context.Context, m *transfer.Mover, claims bool) error {
	place, err := s3.Kind.Create(m, c.spec)
	if err != nil {
		return err
	}
	var mine []cache.Step
	for _, step := range c.steps {
		_, err := place.Get(ctx, step.Key)
		if err == nil {
			continue
		}
		if !errors.Is(err, cache.ErrNotFound) {
			return err
		}
		var claim cache.Claim
		there := false
		for claims && claim == nil && !there {
			if claim, err = place.(cache.Sharer).Claim(ctx, step.Key, nil); err != nil && !errors.Is(err, cache.ErrEnded) {
				return err
			}
			_, err := place.Get(ctx, step.Key)
			there = err == nil
		}
		if there {
			if claim != nil {
				claim.Release()
			}
			continue
		}
		time.Sleep(100 * time.Millisecond) // the step
		c.mu.Lock()
		c.ran++
		c.mu.Unlock()
		if !claims {
			mine = append(mine, step)
			continue
		}
		if _, err := claim.Decide(ctx); err != nil {
			return err
		}
		if err := claim.Share(ctx, step); err != nil {
			return err
		}
	}
	if len(mine) == 0 {
		return nil
	}
	return place.Put(ctx, mine)
}
