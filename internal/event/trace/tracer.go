package trace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

const (
	// maxWaiting is how many spans wait for the collector; those that end when there are more are dropped. It is the
	// default of OpenTelemetry's SDKs.
	maxWaiting = 2048
	// maxBatch is how many go in one request.
	maxBatch = 512
	// interval is how often spans are sent while more end, so that a long build is seen before it is done.
	interval = 5 * time.Second
	// hurry is how long Close waits where a person has interrupted what is traced.
	hurry = 300 * time.Millisecond
	// again is after which time the last spans are sent once more to a collector that was too busy for them.
	again = 250 * time.Millisecond
)

// Program is what is traced.
type Program struct{ Name, Version string }

// Tracer sends the spans of a process.
type Tracer struct {
	config   *Config
	program  Program
	resource []Attribute
	sender   *sender

	ctx    context.Context // of the requests
	cancel context.CancelFunc
	closed chan struct{} // once no more spans end
	done   chan struct{} // once the last are sent, or not

	mu      sync.Mutex // of all below
	waiting []*Span
	dropped int   // how many the collector did not get
	failure error // of the last request that failed
}

// New returns a Tracer that sends what c asks for, and begins to do so. It is nil where c is. An error is one of the files
// that c names. The caller closes it.
func New(c *Config, p Program) (*Tracer, error) {
	if c == nil {
		return nil, nil
	}
	sender, err := newSender(c)
	if err != nil {
		return nil, err
	}
	t := &Tracer{
		config: c, program: p, resource: resource(c, p), sender: sender,
		closed: make(chan struct{}), done: make(chan struct{}),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	go t.run()
	return t, nil
}

// resource is what is said of the process once for all spans. What the environment says counts.
func resource(c *Config, p Program) []Attribute {
	host, _ := os.Hostname()
	all := []Attribute{{"service.name", cmp.Or(c.service, p.Name)}, {"service.version", p.Version}, {"host.name", host}, {"host.arch", runtime.GOARCH}}
	given := map[string]bool{}
	for _, a := range c.resource {
		given[a.Key] = true
	}
	kept := clean(c.resource)
	for _, a := range clean(all) {
		if !given[a.Key] {
			kept = append(kept, a)
		}
	}
	return kept
}

// keep has a span that ended wait for the next request.
func (t *Tracer) keep(s *Span) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) >= maxWaiting {
		t.dropped++
		return
	}
	t.waiting = append(t.waiting, s)
}

func (t *Tracer) run() {
	defer close(t.done)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.sendAll()
		case <-t.closed:
			if t.sendAll() {
				return
			}
			select {
			case <-time.After(again):
				t.sendAll()
			case <-t.ctx.Done():
			}
			return
		}
	}
}

// sendAll sends what waits, and says whether asking again is of no use: all is sent, or the collector did not take it
// for a reason that stays. What it may take later goes on waiting.
func (t *Tracer) sendAll() bool {
	for {
		t.mu.Lock()
		b := &batch{resource: t.resource, program: t.program, spans: t.waiting[:min(len(t.waiting), maxBatch)]}
		t.mu.Unlock()
		if len(b.spans) == 0 {
			return true
		}
		ctx, cancel := context.WithTimeout(t.ctx, t.config.timeout)
		err := t.sender.send(ctx, b)
		cancel()
		var later *busyError
		t.mu.Lock()
		switch {
		case err == nil:
			t.waiting = t.waiting[len(b.spans):]
		case errors.As(err, &later), errors.As(err, new(*unreachableError)):
			t.failure = err
			t.mu.Unlock()
			return later == nil
		default:
			t.failure, t.dropped, t.waiting = err, t.dropped+rejected(err, len(b.spans)), t.waiting[len(b.spans):]
		}
		t.mu.Unlock()
	}
}

// Close sends what is left, waits a short while for that, and says what the collector did not get, nil if nothing.
// ctx is that of what was traced: once a person has interrupted it, Close hurries.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	close(t.closed)
	end := time.AfterFunc(t.config.flush, t.cancel)
	defer end.Stop()
	defer context.AfterFunc(ctx, func() { end.Reset(min(hurry, t.config.flush)) })()
	<-t.done
	late := t.ctx.Err() != nil
	t.cancel()
	t.sender.client.CloseIdleConnections()
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.dropped + len(t.waiting)
	switch {
	case n == 0:
		return nil
	case late, errors.Is(t.failure, context.DeadlineExceeded):
		return fmt.Errorf("%s did not take %s of traces in time; OTEL_EXPORTER_OTLP_TIMEOUT is how long strata waits, in milliseconds", t.config.address(), spans(n))
	case t.failure == nil:
		return fmt.Errorf("%s of traces ended faster than %s took them, and are left out", spans(n), t.config.address())
	}
	return fmt.Errorf("%s of traces are lost: %w; OTEL_SDK_DISABLED=true sends none", spans(n), t.failure)
}

func spans(n int) string {
	if n == 1 {
		return "1 span"
	}
	return fmt.Sprintf("%d spans", n)
}
