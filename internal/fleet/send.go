package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/layer/observed"
)

// send sends a step where it was chosen to run, and waits for what comes of it. A *lostError says that nothing will.
func (r *Remote) send(ctx context.Context, d *dispatch, to choice) (*result, error) {
	located, err := r.locate(d)
	if err != nil {
		return nil, err
	}
	number := strconv.FormatInt(r.number.Add(1), 10)
	o := &order{
		ID: r.build + "." + number, From: r.host, Sent: time.Now().UTC(), Key: d.job.Key, Avoid: d.job.Avoid, Trace: d.job.Trace, Cache: r.cache,
		Layers: located, Step: *d.packed,
	}
	data, err := d.seal(o, to.key)
	if err != nil {
		return nil, err
	}
	subject := subjectFor(o.Step.OS, o.Step.Arch)
	if to.worker != "" {
		subject = subjectTo(to.worker)
	}
	w := &waiting{dispatch: d, to: to.worker, sent: time.Now(), ended: make(chan struct{}, 1)}
	r.mu.Lock()
	r.orders[number] = w
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.orders, number)
		r.mu.Unlock()
	}()
	if w.sequence, err = r.publish(ctx, subject, o.ID, data); err != nil {
		return nil, err
	}
	got, err := r.wait(ctx, w, o.ID)
	if err != nil {
		r.takeBack(ctx, o, w.sequence)
	}
	return got, err
}

// seal makes the message of an order. Secrets, and proxies with passwords, are sealed for a worker that is trusted.
func (d *dispatch) seal(o *order, key string) ([]byte, error) {
	var c confidences
	if d.secret {
		c.Secrets = map[string][]byte{}
		for _, m := range o.Step.Run.Mounts {
			if m.Type != dockerfile.MountSecret {
				continue
			}
			data, ok, err := d.config.Secrets.Get(m.ID)
			if err != nil {
				return nil, err
			}
			if ok {
				c.Secrets[m.ID] = data
			}
		}
		c.ProxyEnv, o.Step.Run.ProxyEnv = o.Step.Run.ProxyEnv, nil
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	l := letter{Order: text}
	if d.secret {
		if l.Sealed, err = seal(c, text, key); err != nil {
			return nil, err
		}
	}
	return json.Marshal(l)
}

// patience is for how long a build waits for a queue that is away.
const patience = time.Minute

// publish puts a message into the queue, once however often it is tried.
func (r *Remote) publish(ctx context.Context, subject, id string, data []byte) (sequence uint64, err error) {
	trouble := cache.NewPatience(patience)
	for {
		once, cancel := context.WithTimeout(ctx, answer)
		ack, err := r.queue.js.Publish(once, subject, data, jetstream.WithMsgID(id))
		cancel()
		switch {
		case err == nil:
			return ack.Sequence, nil
		case errors.Is(err, nats.ErrMaxPayload):
			return 0, errors.New("it is too large for the queue")
		}
		if err := trouble.Pause(ctx, fmt.Errorf("sending a step to the queue: %w", explain(err))); err != nil {
			return 0, err
		}
	}
}

// looks is how often a build looks by itself what became of a step.
const looks = 2 * time.Second

// wait waits for what comes of an order.
func (r *Remote) wait(ctx context.Context, w *waiting, id string) (*result, error) {
	tick := time.NewTicker(looks)
	defer tick.Stop()
	away := time.Time{}
	for {
		told := false
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-w.ended:
			told = true
		case <-tick.C: // where it was told while this machine was cut off
		}
		if got := r.queue.result(ctx, "id."+id); got != nil {
			if !told {
				w.hearTheRest()
			}
			return got, nil
		}
		if !r.answers() {
			if away.IsZero() {
				away = time.Now()
			}
			if time.Since(away) > patience {
				return nil, &lostError{fmt.Sprintf("the queue has not answered for %s", patience)}
			}
			continue
		}
		if !away.IsZero() { // workers are heard of again
			away, w.sent = time.Time{}, time.Now()
		}
		if why := r.lost(ctx, w); why != "" {
			// What came of it may have come meanwhile.
			if got := r.queue.result(ctx, "id."+id); got != nil {
				return got, nil
			}
			return nil, &lostError{why}
		}
	}
}

// hearTheRest waits a moment for what a step has printed, after its result.
func (w *waiting) hearTheRest() {
	select {
	case <-w.ended:
	case <-time.After(time.Second):
	}
}

// answers says whether the queue does, which a connection that was cut a moment ago does not know.
func (r *Remote) answers() bool {
	return r.queue.nc.IsConnected() && r.queue.nc.FlushTimeout(looks) == nil
}

// overdue is after how long a step that a worker has not begun is given to another one that is free, unheard after
// how long it is looked for in the queue.
const (
	overdue = 3 * time.Second
	unheard = 20 * time.Second
)

// lost says why nothing will come of an order any more, "" where something may.
func (r *Remote) lost(ctx context.Context, w *waiting) string {
	since := time.Since(w.sent)
	here := func(p Presence) bool { return w.to == "" && p.Cache == r.cache && p.runs(w.packed) || p.Name == w.to }
	at := slices.IndexFunc(r.workers.list(), here)
	r.mu.Lock()
	others := slices.ContainsFunc(r.able(w.dispatch), func(p Presence) bool { return p.Name != w.to && p.Free > 0 })
	r.mu.Unlock()
	switch {
	case at < 0 && since > gone && w.to == "":
		return "all workers were lost"
	case at < 0 && since > looks && w.to != "":
		return "the worker " + w.to + " was lost"
	case w.begun.Load():
		return ""
	case w.to != "" && since > overdue && (others || r.workers.leaves(w.to)):
		return "the worker " + w.to + " has others to run first"
	case since > unheard && !r.queue.waits(ctx, w.sequence):
		return "the queue has lost the step"
	}
	return ""
}

// waits says whether a step is still in the queue, waiting or under way.
func (q *Queue) waits(ctx context.Context, sequence uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	_, err := q.steps.GetMsg(ctx, sequence)
	return !errors.Is(err, jetstream.ErrMsgNotFound)
}

// takeBack takes an order out of the queue that nobody waits for any more, wherever it is.
func (r *Remote) takeBack(ctx context.Context, o *order, sequence uint64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answer)
	defer cancel()
	_ = r.queue.steps.DeleteMsg(ctx, sequence) // gone if a worker has it
	_ = r.queue.nc.Publish(cancelSubject+"."+o.ID, nil)
	_ = r.queue.nc.FlushWithContext(ctx)
}

// made is a result as the builder knows it.
func (r *Remote) made(d *dispatch, got *result) (exec.Made, error) {
	if got.Layer != "" && got.Blob != nil {
		if err := r.depot.NoteLayer(got.Layer, *got.Blob); err != nil {
			return exec.Made{}, err
		}
	}
	if f := got.Failure; f != nil {
		failed := &exec.Failure{ExitCode: f.ExitCode, Shortage: f.Shortage, Kept: f.Kept, Layer: got.Layer}
		if f.Cause != "" {
			failed.Cause = errors.New(f.Cause)
		}
		if got.Network != nil {
			failed.Network = *got.Network
		}
		return exec.Made{}, failed
	}
	made := exec.Made{Layer: got.Layer, Network: got.Network, Host: got.Worker, Took: got.Took}
	if len(got.Inputs) > 0 && !d.unseen {
		in, err := observed.Decode(got.Inputs)
		if err != nil {
			return made, fmt.Errorf("what the step read on %s: %w", got.Worker, err)
		}
		made.Inputs = in
	}
	return made, nil
}
