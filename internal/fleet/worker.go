package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache/packed"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/cache/places/bucket"
	"github.com/strata-build/strata/internal/event/metrics"
	"github.com/strata-build/strata/internal/event/trace"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/transfer"
)

// WorkerOptions are those of a worker.
type WorkerOptions struct {
	// Name tells it apart from the others, in letters, digits, - and _.
	Name string
	// Slots are how many steps run at once.
	Slots int
	// Platforms are those whose steps it runs.
	Platforms []ocispec.Platform
	// Cache says where its depot is, as --cache-to does, without credentials.
	Cache   string
	Version string
	// Metrics counts what it does; nil counts nothing.
	Metrics *metrics.Set
	// Tracer sends spans of the steps, below those of their builds; nil sends none.
	Tracer *trace.Tracer
	Log    *slog.Logger
	// Mounts keeps the contents of cache mounts for all workers; nil leaves them on each.
	Mounts packed.Keeper
	// Idle is called after each step, when no other runs.
	Idle func()
}

// Worker takes steps out of the queue and runs them in the store of its machine.
type Worker struct {
	WorkerOptions
	queue    *Queue
	mover    *transfer.Mover
	depot    places.Depot
	identity *Identity
	public   string
	running  *bucket.Place // who runs a step just now
	sources  []jetstream.Consumer
	count    counters
	caches   *caches

	sending     context.Context // of what goes on beside steps
	stopSending context.CancelFunc
	background  sync.WaitGroup

	load
}

// load is what a worker has to do just now.
type load struct {
	mu       sync.Mutex // of all below
	busy     int
	changed  chan struct{} // closed when busy changes
	full     time.Time     // until when it takes no steps, since its disk was full
	has      []string      // layers, those used last at the end
	draining bool
}

// counters are what a worker counts.
type counters struct {
	steps *metrics.Counter
	took  *metrics.Histogram
	busy  *metrics.Gauge
}

// NewWorker returns a worker.
func NewWorker(q *Queue, m *transfer.Mover, depot places.Depot, id *Identity, o WorkerOptions) (*Worker, error) {
	public, err := id.Public()
	if err != nil {
		return nil, fmt.Errorf("the worker's key: %w", err)
	}
	w := &Worker{WorkerOptions: o, queue: q, mover: m, depot: depot, identity: id, public: public, load: load{changed: make(chan struct{})}}
	w.Name = token(o.Name)
	w.sending, w.stopSending = context.WithCancel(context.Background())
	if o.Mounts != nil {
		w.caches = newCaches(m.Store, o.Mounts, o.Log)
	}
	w.running = bucket.New(m, &objects{kv: q.cache, where: "queue"}, "the queue", bucket.Options{Prefix: "running/" + depotHash(o.Cache) + "/"})
	w.count = counters{
		steps: o.Metrics.Counter("strata_worker_steps", "Steps that came to the worker, by what became of them.", "outcome"),
		took:  o.Metrics.Histogram("strata_worker_step_duration_seconds", "How long steps ran.", metrics.Durations),
		busy:  o.Metrics.Gauge("strata_worker_steps_running", "Steps that run now."),
	}
	return w, nil
}

// Public is the key that builds seal secrets for.
func (w *Worker) Public() string { return w.public }

// Join shows the worker to builds, which may send steps from then on.
func (w *Worker) Join(ctx context.Context) error {
	for _, p := range w.queue.workersNow(ctx) {
		if p.Name == w.Name && p.Key != w.public {
			return fmt.Errorf("there is a worker that is called %s; give this one another --name", w.Name)
		}
	}
	for _, p := range w.Platforms {
		c, err := w.queue.js.CreateOrUpdateConsumer(ctx, stepsStream, consumerConfig(consumerFor(p.OS, p.Architecture), subjectFor(p.OS, p.Architecture)))
		if err != nil {
			return fmt.Errorf("taking steps for %s: %w", platform.Format(p), err)
		}
		w.sources = append(w.sources, c)
	}
	own := consumerConfig("worker-"+w.Name, subjectTo(w.Name))
	own.InactiveThreshold = 24 * time.Hour
	c, err := w.queue.js.CreateOrUpdateConsumer(ctx, stepsStream, own)
	if err != nil {
		return fmt.Errorf("taking steps for this worker: %w", err)
	}
	w.sources = append(w.sources, c)
	if err := w.show(ctx); err != nil {
		return fmt.Errorf("showing the worker to builds: %w", err)
	}
	return nil
}

// Run takes steps until the context is done, and then finishes those that run. It is called after Join.
func (w *Worker) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, w.drain)
	defer stop()
	beating, still := context.WithCancel(context.WithoutCancel(ctx))
	defer still()
	var all, steps, beats sync.WaitGroup
	beats.Go(func() { w.beat(beating) })
	for _, c := range w.sources {
		all.Go(func() { w.take(ctx, c, &steps) })
	}
	all.Wait()
	steps.Wait()
	w.stopSending()
	w.background.Wait()
	ending, cancelEnding := context.WithTimeout(context.WithoutCancel(ctx), mountsAtEnd)
	w.caches.send(ending, true)
	cancelEnding()
	still()
	beats.Wait()
	away, cancel := context.WithTimeout(context.WithoutCancel(ctx), answer)
	defer cancel()
	return w.queue.workers.Delete(away, w.Name)
}

func consumerConfig(name, subject string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: name, FilterSubject: subject, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: mostRuns,
		MaxAckPending: 10_000,
	}
}

// drain has the worker take no more steps.
func (w *Worker) drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining = true
	w.wake()
}

// wake tells those who wait that something has changed. w.mu is held.
func (w *Worker) wake() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// free is how many more steps the worker could begin now.
func (w *Worker) free() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.freeLocked()
}

func (w *Worker) freeLocked() int {
	if w.draining || time.Now().Before(w.full) {
		return 0
	}
	return max(0, w.Slots-w.busy)
}

// room waits until there is room for a step; false when there will be none any more.
func (w *Worker) room(ctx context.Context) bool {
	for {
		w.mu.Lock()
		changed, free := w.changed, w.freeLocked()
		w.mu.Unlock()
		if ctx.Err() != nil {
			return false
		}
		if free > 0 {
			return true
		}
		select {
		case <-changed:
		case <-time.After(beat): // a full disk may have room again
		case <-ctx.Done():
		}
	}
}

// take takes steps of a consumer. There is one such loop for each: where two of them get a step for the last slot,
// one step more runs than there are slots.
func (w *Worker) take(ctx context.Context, c jetstream.Consumer, steps *sync.WaitGroup) {
	for w.room(ctx) {
		batch, err := c.Fetch(1, jetstream.FetchMaxWait(beat))
		if err != nil {
			w.Log.Warn("asking the queue for steps", "error", err)
			_ = sleep(ctx, time.Second)
			continue
		}
		got := false
		for msg := range batch.Messages() {
			got = true
			if ctx.Err() != nil {
				_ = msg.Nak()
				continue
			}
			w.begin()
			steps.Go(func() {
				defer w.end()
				w.serve(msg)
			})
		}
		if err := batch.Error(); !got && err != nil && !errors.Is(err, nats.ErrTimeout) && ctx.Err() == nil {
			w.Log.Warn("asking the queue for steps", "error", err)
			_ = sleep(ctx, time.Second)
			// It may be gone, with its stream or since the worker was away for long.
			about := c.CachedInfo().Config
			if again, err := w.queue.js.CreateOrUpdateConsumer(ctx, stepsStream, consumerConfig(about.Durable, about.FilterSubject)); err == nil {
				c = again
			}
		}
	}
}

func (w *Worker) begin() {
	w.mu.Lock()
	w.busy++
	w.count.busy.Set(float64(w.busy))
	w.wake()
	w.mu.Unlock()
}

func (w *Worker) end() {
	w.mu.Lock()
	w.busy--
	idle := w.busy == 0
	w.count.busy.Set(float64(w.busy))
	w.wake()
	w.mu.Unlock()
	if !idle {
		return
	}
	if w.Idle != nil {
		w.Idle()
	}
	w.background.Go(func() { w.caches.send(w.sending, false) })
}

// beat shows the worker to builds, again and again.
func (w *Worker) beat(ctx context.Context) {
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-changed:
			if sleep(ctx, 20*time.Millisecond) != nil { // several changes make one message
				return
			}
		case <-time.After(beat):
		}
		if err := w.show(ctx); err != nil && ctx.Err() == nil {
			w.Log.Warn("showing the worker to builds", "error", err)
		}
	}
}

func (w *Worker) show(ctx context.Context) error {
	p := Presence{Name: w.Name, Version: w.Version, Protocol: protocol, Slots: w.Slots, Free: w.free(), Cache: w.Cache, Key: w.public}
	for _, each := range w.Platforms {
		p.Platforms = append(p.Platforms, platform.Format(each))
	}
	w.mu.Lock()
	p.Has, p.Leaving = slices.Clone(w.has), w.draining
	w.mu.Unlock()
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	_, err = w.queue.workers.Put(ctx, w.Name, data)
	return err
}

// mostLayers is how many of its layers a worker tells of.
const mostLayers = 1000

// hold notes that the worker has layers.
func (w *Worker) hold(layers ...digest.Digest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range layers {
		short := shortLayer(d)
		w.has = append(slices.DeleteFunc(w.has, func(s string) bool { return s == short }), short)
	}
	if n := len(w.has) - mostLayers; n > 0 {
		w.has = slices.Clone(w.has[n:])
	}
}

// sleep waits; the error is why the context ended.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
