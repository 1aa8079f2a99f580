package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/packed"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/cache/places/bucket"
	"github.com/strata-build/strata/internal/event/metrics"
	"github.com/strata-build/strata/internal/event/trace"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/sandbox/network"
	"github.com/strata-build/strata/internal/sandbox/secret"
	"github.com/strata-build/strata/internal/store"
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

// take takes steps of a consumer. There is one such loop for each: where two of them get a step for the last slot, one step
// more runs than there are slots.
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

// serve runs the step of a message. It goes on though the worker is being ended: builds wait for it.
func (w *Worker) serve(msg jetstream.Msg) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go w.keep(ctx, msg)
	var l letter
	o, err := (*order)(nil), json.Unmarshal(msg.Data(), &l)
	if err == nil {
		o, err = decodeOrder(l.Order)
	}
	if err != nil {
		w.Log.Error("a step is refused", "error", err)
		if o != nil {
			if err := w.answer(ctx, o, &result{ID: o.ID, Worker: w.Name, Refused: err.Error()}); err != nil {
				return
			}
		}
		_ = msg.Term()
		return
	}
	canceled, err := w.queue.nc.Subscribe(cancelSubject+"."+o.ID, func(*nats.Msg) { cancel(errCanceled) })
	if err == nil {
		defer func() { _ = canceled.Unsubscribe() }()
	}
	log := w.Log.With("step", o.ID, "from", o.From)
	_ = w.queue.nc.Publish(outputSubject+"."+o.ID+".begin", nil)
	log.Info("step begins", "command", o.Step.Run.Args[len(o.Step.Run.Args)-1])
	began := time.Now()
	parent, _ := trace.ParseParent(o.Trace, "") // without one the span stands alone
	span := w.Tracer.Begin(parent, "strata worker step", trace.Attribute{Key: "strata.worker", Value: w.Name})
	r, claim := w.run(ctx, msg, o, &l)
	if claim != nil {
		defer claim.Release() // once others find what came of the step
	}
	outcome := "ran"
	switch {
	case errors.Is(context.Cause(ctx), errCanceled):
		outcome = "canceled"
	case r.Refused != "":
		outcome = "refused"
	case r.Failure != nil:
		outcome = "failed"
	}
	span.Set(trace.Attribute{Key: "strata.outcome", Value: outcome})
	if r.Refused != "" {
		span.End(errors.New(r.Refused))
	} else {
		span.End(nil)
	}
	w.count.steps.Add(1, outcome)
	w.count.took.Observe(time.Since(began).Seconds())
	log.Info("step ended", "outcome", outcome, "took", time.Since(began).Round(time.Millisecond), "why", r.Refused)
	if outcome == "canceled" {
		_ = msg.Ack()
		return
	}
	if err := w.answer(ctx, o, r); err != nil {
		log.Error("what came of the step does not reach the queue", "error", err)
		return // it is given to another worker
	}
	if err := msg.Ack(); err != nil {
		log.Warn("acknowledging the step", "error", err)
	}
}

// errCanceled is why a step ends that nobody waits for.
var errCanceled = errors.New("nobody waits for the step any more")

// keep tells the queue that the step is under way.
func (w *Worker) keep(ctx context.Context, msg jetstream.Msg) {
	for sleep(ctx, ackWait/4) == nil {
		_ = msg.InProgress()
	}
}

// answerPatience is for how long the queue may be gone before a step's result is given up.
const answerPatience = 2 * time.Minute

// answer puts a result where the build finds it, and tells it.
func (w *Worker) answer(ctx context.Context, o *order, r *result) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	trouble := cache.NewPatience(answerPatience)
	for {
		err := w.put(ctx, "id."+o.ID, data)
		if err == nil && o.Key != "" && r.Refused == "" && r.Failure == nil && !r.known {
			err = w.put(ctx, resultKey(o.Key, w.Cache), data)
		}
		if err == nil {
			break
		}
		if err := trouble.Pause(ctx, err); err != nil {
			return err
		}
	}
	_ = w.queue.nc.Publish(outputSubject+"."+o.ID+".end", nil) // the build looks by itself too
	return nil
}

func (w *Worker) put(ctx context.Context, key string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	_, err := w.queue.results.Put(ctx, key, data)
	return err
}

// run runs a step, unless that was done before. The claim is that of its key, to be let go once the result can be found; nil
// for none.
func (w *Worker) run(ctx context.Context, msg jetstream.Msg, o *order, l *letter) (r *result, claim cache.Claim) {
	if about, err := msg.Metadata(); err == nil && about.NumDelivered >= mostRuns {
		return w.refused(o, errors.New("each of the workers that had begun it was lost")), nil
	}
	if o.Cache != w.Cache {
		return w.refused(o, fmt.Errorf("its layers are in %s, and the worker's in %s", o.Cache, w.Cache)), nil
	}
	secrets := confidences{}
	if len(l.Sealed) > 0 {
		var err error
		if secrets, err = w.identity.open(l.Sealed, l.Order); err != nil {
			return w.refused(o, err), nil
		}
	}
	for o.Key != "" && claim == nil {
		var err error
		if claim, err = w.running.Claim(ctx, o.Key, nil); err != nil && !errors.Is(err, cache.ErrEnded) {
			return w.refused(o, err), nil
		}
		if known := w.queue.result(ctx, resultKey(o.Key, w.Cache)); known != nil && !slices.Contains(o.Avoid, known.Layer) {
			known.ID, known.known = o.ID, true
			return known, claim
		}
	}
	if err := w.bring(ctx, o); err != nil {
		return w.refused(o, err), claim
	}
	r, err := w.execute(ctx, o, secrets)
	if err != nil {
		r = w.refused(o, err)
	}
	return r, claim
}

// refused is the result of a step that the worker could not run. With a full disk it takes none for a while.
func (w *Worker) refused(o *order, err error) *result {
	r := &result{ID: o.ID, Worker: w.Name, Refused: err.Error()}
	var lacks *lackError
	if errors.As(err, &lacks) {
		r.Lacks = lacks.layers
	}
	if s := w.mover.Store.Shortage(); s != "" {
		r.Refused += ": " + s
		w.mu.Lock()
		w.full = time.Now().Add(time.Minute)
		w.mu.Unlock()
	}
	return r
}

// result reads a result; nil where there is none.
func (q *Queue) result(ctx context.Context, key string) *result {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	e, err := q.results.Get(ctx, key)
	if err != nil {
		return nil
	}
	var r result
	if json.Unmarshal(e.Value(), &r) != nil || !r.sound() {
		return nil
	}
	return &r
}

// lackError says that layers cannot be had.
type lackError struct {
	layers []digest.Digest
	cause  error
}

func (e *lackError) Error() string {
	return fmt.Sprintf("it has no way to the layer %s: %v", e.layers[0], e.cause)
}

// bring brings the layers here that the step needs.
func (w *Worker) bring(ctx context.Context, o *order) error {
	var mu sync.Mutex
	var lacks lackError
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(3)
	for _, l := range o.Layers {
		if err := w.note(l); err != nil {
			return err
		}
		g.Go(func() error {
			here, err := w.mover.Store.Layer(l.DiffID)
			if err == nil && !here.Present() {
				_, err = here.TOC(ctx)
			}
			var gone *store.UnavailableError
			if errors.As(err, &gone) || errors.Is(err, store.ErrNotFound) {
				mu.Lock()
				defer mu.Unlock()
				lacks.layers, lacks.cause = append(lacks.layers, l.DiffID), err
				return nil
			}
			if err == nil {
				w.hold(l.DiffID)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if len(lacks.layers) > 0 {
		return &lacks
	}
	return nil
}

// note tells the store where a layer can be had.
func (w *Worker) note(l orderLayer) error {
	for _, p := range l.Elsewhere {
		if err := w.mover.NoteAt(l.DiffID, p.Descriptor, p.Location); err != nil {
			return err
		}
	}
	if l.Depot != nil {
		return w.depot.NoteLayer(l.DiffID, *l.Depot)
	}
	return nil
}

// chain is a state of the store: a chain of layers.
type chain struct {
	store *store.Store
	of    []digest.Digest
}

func (c chain) Chain() []digest.Digest { return c.of }

func (c chain) Stack() (*layer.Stack, error) { return c.store.Stack(c.of) }

// execute runs the step of an order. An error is the worker's own, not the step's.
func (w *Worker) execute(ctx context.Context, o *order, secrets confidences) (*result, error) {
	s, r := w.mover.Store, &result{ID: o.ID, Worker: w.Name}
	config := exec.Config{
		Store: s, Secrets: secret.Given(secrets.Secrets), Machine: o.Step.Common.Machine, Log: o.Step.Common.Log,
		Rules: o.Step.Common.Rules, KeepEmpty: o.Step.Common.KeepEmpty,
		Warn: func(line string) { w.Log.Warn(line, "step", o.ID) },
	}
	if o.Step.Common.Limited {
		allow, err := network.ParseAllow(o.Step.Common.Allow)
		if err != nil {
			return nil, err
		}
		config.Allow = allow
	}
	run := o.Step.Run
	run.ProxyEnv = append(run.ProxyEnv, secrets.ProxyEnv...)
	for _, env := range secrets.ProxyEnv {
		_, address, _ := strings.Cut(env, "=")
		config.Secrets.HidePassword(address)
	}
	stdout, stderr := w.output(o, 1, config.Secrets), w.output(o, 2, config.Secrets)
	step := &exec.Step{
		On: chain{s, o.Step.Chain}, Volumes: o.Step.Volumes, Arch: o.Step.Arch, Run: &run, Network: o.Step.Network,
		Fresh: o.Step.Fresh, Observe: o.Step.Observe, Stdout: stdout, Stderr: stderr,
	}
	for _, m := range o.Step.Mounts {
		mount := &exec.Mount{Mount: m.Mount}
		if m.State {
			mount.From = chain{s, m.Chain}
		}
		step.Mounts = append(step.Mounts, mount)
	}
	if w.caches != nil {
		config.Caches = w.caches.use(step)
	}
	executor := exec.New(config)
	defer executor.Close()
	began := time.Now()
	made, err := executor.Execute(ctx, step)
	r.Took = time.Since(began)
	stdout.flush()
	stderr.flush()
	var failed *exec.Failure
	switch {
	case errors.As(err, &failed):
		r.Failure = &failure{ExitCode: failed.ExitCode, Shortage: failed.Shortage, Kept: failed.Kept}
		if failed.Cause != nil {
			r.Failure.Cause = failed.Cause.Error()
		}
		r.Network, r.Layer = &failed.Network, failed.Layer
	case err != nil:
		return nil, err
	default:
		r.Layer, r.Network = made.Layer, made.Network
		if made.Inputs != nil {
			r.Inputs = made.Inputs.Encode()
		}
	}
	if r.Layer == "" {
		return r, nil
	}
	w.hold(r.Layer)
	sent, err := w.depot.SendLayer(ctx, r.Layer)
	if err != nil && r.Failure != nil {
		r.Layer, r.Failure.Kept = "", false // what a failed step left is a courtesy
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sending what the step made to the cache: %w", err)
	}
	r.Blob = &sent
	return r, nil
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
