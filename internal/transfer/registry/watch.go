package registry

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// errStalled ends a request in which nothing moved for too long.
var errStalled = errors.New("it stopped sending or taking data")

// localError is a failure to read what is to be sent: no fault of the registry.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// watch cancels a request in which no byte moves for a while. A limit on the whole request would be wrong:
// layers may be large and lines slow.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
	finish time.Duration // instead of stall, once the body is sent: the registry may be busy with it

	mu    sync.Mutex
	local error // what reading the body to send failed with
}

func newWatch(ctx context.Context, stall, finish time.Duration) *watch {
	w := &watch{stall: stall, finish: finish}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(stall, func() { w.cancel(errStalled) })
	return w
}

func (w *watch) stop() {
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// explain says why the request failed: the caller gave up, the body could not be read, or the host.
func (w *watch) explain(caller context.Context, host string, err error) error {
	w.mu.Lock()
	local := w.local
	w.mu.Unlock()
	switch {
	case caller.Err() != nil:
		return context.Cause(caller)
	case local != nil:
		return &localError{local}
	case errors.Is(context.Cause(w.ctx), errStalled):
		err = errStalled
	}
	return newConnectError(caller, host, err)
}

// watchedReader tells its watch of every byte: of a request's body while it is sent, or of an answer's.
type watchedReader struct {
	body   io.ReadCloser
	watch  *watch
	host   string
	caller context.Context
	local  bool // a body to send
	last   bool // nothing comes after it
}

func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	if r.local {
		r.watch.mu.Lock()
		r.watch.local = err
		r.watch.mu.Unlock()
		return n, err
	}
	return n, r.watch.explain(r.caller, r.host, err)
}

// read lets the time run only while the other side is waited for: to send what is asked for, or to take what
// was read here.
func (r *watchedReader) read(p []byte) (n int, err error) {
	t := r.watch.timer
	if !r.local {
		t.Reset(r.watch.stall)
		defer t.Stop()
		return r.body.Read(p)
	}
	t.Stop()
	n, err = r.body.Read(p)
	if err == io.EOF {
		t.Reset(r.watch.finish)
	} else {
		t.Reset(r.watch.stall)
	}
	return n, err
}

func (r *watchedReader) Close() error {
	err := r.body.Close()
	if r.last {
		r.watch.stop()
	}
	return err
}
