package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/event/trace"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/sandbox/network"
	"github.com/strata-build/strata/internal/sandbox/secret"
	"github.com/strata-build/strata/internal/store"
)

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

// run runs a step, unless that was done before. The claim is that of its key, to be let go once the result can be
// found; nil for none.
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
