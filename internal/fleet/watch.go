package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// watch knows the workers that there are.
type watch struct {
	mu    sync.Mutex
	known map[string]seen
}

// seen is a worker and when it was heard of last, by this machine's clock.
type seen struct {
	Presence
	at time.Time
}

// watch follows the workers until the context is done. Those that there are are known when it returns.
func (q *Queue) watch(ctx context.Context) (*watch, error) {
	updates, err := q.workers.WatchAll(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for workers: %w", explain(err))
	}
	w := &watch{known: map[string]seen{}}
	for {
		select {
		case e, ok := <-updates.Updates():
			if !ok {
				return nil, fmt.Errorf("looking for workers: %w", explain(context.Cause(ctx)))
			}
			if e == nil { // these were all
				go w.follow(ctx, updates)
				return w, nil
			}
			w.take(e)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (w *watch) follow(ctx context.Context, updates jetstream.KeyWatcher) {
	defer func() { _ = updates.Stop() }()
	for {
		select {
		case e, ok := <-updates.Updates():
			if !ok {
				return
			}
			if e != nil {
				w.take(e)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (w *watch) take(e jetstream.KeyValueEntry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var p Presence
	if e.Operation() != jetstream.KeyValuePut || json.Unmarshal(e.Value(), &p) != nil || p.Name != e.Key() {
		delete(w.known, e.Key())
		return
	}
	w.known[p.Name] = seen{p, time.Now()}
}

// list are the workers that were heard of lately, by name.
func (w *watch) list() []Presence {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []Presence
	for _, s := range w.known {
		if time.Since(s.at) < gone {
			all = append(all, s.Presence)
		}
	}
	slices.SortFunc(all, func(a, b Presence) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// leaves says whether a worker finishes what it runs, and begins nothing more.
func (w *watch) leaves(name string) bool {
	return slices.ContainsFunc(w.list(), func(p Presence) bool { return p.Name == name && p.Leaving })
}

// workersNow are the workers that there are, none where the queue does not say.
func (q *Queue) workersNow(ctx context.Context) []Presence {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	all, err := q.Workers(ctx)
	if err != nil {
		return nil
	}
	return all
}

// Workers are those that there are.
func (q *Queue) Workers(ctx context.Context) ([]Presence, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := q.watch(ctx)
	if err != nil {
		return nil, err
	}
	return w.list(), nil
}
