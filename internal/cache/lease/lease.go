// Package lease gives machines that share a place turns: one has a name, and the others wait for it.
//
// A lease is a small value under a name, which is written only where it still is what the writer knows: S3's
// conditional PUT, or the revisions of a key-value store. Who has it writes it again every few seconds. Nobody
// compares clocks: who waits takes the lease over when the value has not changed for a term by its own clock. A
// machine that was away for longer than that finds another's value, and knows that it has lost the lease.
package lease

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/strata-build/strata/internal/cache"
)

// Errors of Cells.
var (
	// ErrNone says that there is no value of a name.
	ErrNone = errors.New("there is no such lease")
	// ErrChanged says that the value is not as the writer knew it.
	ErrChanged = errors.New("the lease has changed")
	// ErrUnfit says that a place cannot keep leases: it is not asked again.
	ErrUnfit = errors.New("it cannot keep leases")
)

// Cells are where leases are kept. The methods may be called from several goroutines. Errors but those above are that
// the place does not answer.
type Cells interface {
	// Read is the value of a name and which version of it that is.
	Read(ctx context.Context, name string) (value []byte, version string, err error)
	// Write writes a value where there still is a version, "" for nothing, and gives the new version.
	Write(ctx context.Context, name string, value []byte, version string) (string, error)
	// Remove removes the value if it is a version; where a place cannot compare, that was so a moment before.
	Remove(ctx context.Context, name, version string) error
	// Wait returns when a value may be another than a version, at the latest after a while.
	Wait(ctx context.Context, name, version string, most time.Duration) error
}

// Options are how long things take. The zero value of each has a default.
type Options struct {
	// Term is after how long without a sign of life a lease is taken over; 15 s.
	Term time.Duration
	// Settling is Term for a lease whose holder has its result, and is about to share it: 1 min.
	Settling time.Duration
	// Patience is for how long a place may not answer; 1 min.
	Patience time.Duration
}

func (o Options) withDefaults() Options {
	if o.Term == 0 {
		o.Term = 15 * time.Second
	}
	if o.Settling == 0 {
		o.Settling = max(time.Minute, o.Term)
	}
	o.Patience = o.PatienceOr()
	return o
}

// PatienceOr is Patience, or its default.
func (o Options) PatienceOr() time.Duration { return cmp.Or(o.Patience, time.Minute) }

// maxPrinted is how many bytes of what its holder prints a lease carries: the last ones.
const maxPrinted = 8 << 10

// value is what is kept under a name.
type value struct {
	Holder string `json:"holder"` // another for each lease that was ever taken
	Host   string `json:"host"`
	// Serial rises with each write, so that no two values are the same.
	Serial  int  `json:"serial"`
	Decided bool `json:"decided,omitempty"`
	// Printed is the end of what the holder has printed, End how much that is in all.
	Printed []byte `json:"printed,omitempty"`
	End     int64  `json:"end,omitempty"`
}

// Table is the leases of a place, as one machine takes them.
type Table struct {
	cells   Cells
	host    string // as others are told
	options Options
}

// New returns the leases of a place.
func New(cells Cells, host string, o Options) *Table { return &Table{cells, host, o.withDefaults()} }

// Lease is a name that is one's own. Its holder keeps it until Release.
type Lease struct {
	table *Table
	name  string

	writing sync.Mutex // one write at a time
	version string     // that was written last

	mu    sync.Mutex // of what follows, never held while the place is asked
	value value
	lost  bool
	done  bool

	stop   context.CancelFunc
	ended  chan struct{}
	wakeUp chan struct{}
}

// Take takes a name that is nobody's. Where somebody has it, Take waits until that one has let go, and returns
// cache.ErrEnded: who waited may find that there is nothing left to do, and takes the name again if there is. A lease
// whose holder is gone is taken over. follow may be nil.
func (t *Table) Take(ctx context.Context, name string, follow cache.Follow) (*Lease, error) {
	w := waiter{follow: follow, term: t.options.Term}
	trouble := cache.NewPatience(t.options.Patience)
	version := ""
	for {
		l, err := t.try(ctx, name, version)
		if err == nil {
			return l, nil
		}
		if errors.Is(err, ErrUnfit) {
			return nil, err
		}
		if !errors.Is(err, ErrChanged) {
			if err := trouble.Pause(ctx, err); err != nil {
				return nil, err
			}
			continue
		}
		trouble.Over()
		version, err = t.wait(ctx, name, &w, trouble)
		if err == nil && version == "" {
			err = cache.ErrEnded
		}
		if err != nil {
			return nil, err
		}
	}
}

// try takes a name where its value still is a version.
func (t *Table) try(ctx context.Context, name, version string) (*Lease, error) {
	l := &Lease{table: t, name: name, value: value{Holder: rand.Text(), Host: t.host}, ended: make(chan struct{}), wakeUp: make(chan struct{}, 1)}
	data, err := json.Marshal(l.value)
	if err != nil {
		return nil, err
	}
	if l.version, err = t.cells.Write(ctx, name, data, version); err != nil {
		// An answer may have been lost on the way: it is ours if our value is there.
		found, version, again := t.read(ctx, name)
		if again != nil || found.Holder != l.value.Holder {
			return nil, err
		}
		l.version = version
	}
	var renewing context.Context
	renewing, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	go l.renew(renewing)
	return l, nil
}

func (t *Table) read(ctx context.Context, name string) (value, string, error) {
	data, version, err := t.cells.Read(ctx, name)
	if err != nil {
		return value{}, "", err
	}
	var v value
	if err := json.Unmarshal(data, &v); err != nil {
		return value{}, version, nil // nobody's: it is taken over after a term
	}
	return v, version, nil
}

// waiter is what is known of a lease that is waited for.
type waiter struct {
	follow cache.Follow
	term   time.Duration
	holder string
	seen   int64 // of what the holder printed
}

// see takes note of a value.
func (w *waiter) see(v value) {
	if w.follow == nil {
		return
	}
	if v.Holder != w.holder {
		w.holder, w.seen = v.Holder, 0
		w.follow.Waiting(v.Host)
	}
	if fresh := min(v.End-w.seen, int64(len(v.Printed))); fresh > 0 {
		w.follow.Printed(v.Printed[int64(len(v.Printed))-fresh:])
	}
	w.seen = max(w.seen, v.End)
}

// wait waits until a name can be tried again, and says at which version: "" where nobody has it.
func (t *Table) wait(ctx context.Context, name string, w *waiter, trouble *cache.Patience) (string, error) {
	var last string
	var since time.Time
	for {
		v, version, err := t.read(ctx, name)
		switch {
		case errors.Is(err, ErrNone):
			return "", nil
		case err != nil:
			if err := trouble.Pause(ctx, err); err != nil {
				return "", err
			}
			since = time.Now() // whoever has it may be as cut off
			continue
		}
		trouble.Over()
		w.see(v)
		if version != last {
			last, since = version, time.Now()
		}
		term := t.options.Term
		if v.Decided {
			term = t.options.Settling
		}
		left := term - time.Since(since)
		if left <= 0 {
			return version, nil
		}
		if err := t.cells.Wait(ctx, name, version, left); err != nil && ctx.Err() != nil {
			return "", context.Cause(ctx)
		} else if err != nil {
			if err := trouble.Pause(ctx, err); err != nil {
				return "", err
			}
		}
	}
}

// renew writes the lease again every now and then, and soon after something was printed.
func (l *Lease) renew(ctx context.Context) {
	defer close(l.ended)
	every := l.table.options.Term / 5
	soon := min(every, 300*time.Millisecond)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		case <-l.wakeUp:
			select {
			case <-ctx.Done():
				return
			case <-time.After(soon):
			}
		}
		l.renewOnce(ctx)
	}
}

// writing is how long a write may take.
const writing = 5 * time.Second

// renewOnce writes the lease, also where the renewing ends meanwhile: then it is known what is there. Where it fails
// the next one may fare better; Decide tells whether the lease was kept.
func (l *Lease) renewOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writing)
	defer cancel()
	_ = l.write(ctx)
}

// write writes the lease's value where it is still the one that was written last.
func (l *Lease) write(ctx context.Context) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	l.value.Serial++
	mine := l.value
	lost := l.lost
	data, err := json.Marshal(mine)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if lost {
		return fmt.Errorf("%s: %w", l.name, ErrChanged)
	}
	version, err := l.table.cells.Write(ctx, l.name, data, l.version)
	if err == nil {
		l.version = version
		return nil
	}
	if !errors.Is(err, ErrChanged) {
		return err
	}
	// Where the answer to an earlier writing was lost on the way, the value there is still this one's.
	found, there, again := l.table.read(ctx, l.name)
	switch {
	case again == nil && found.Holder == mine.Holder:
		l.version = there
		if found.Serial == mine.Serial {
			return nil
		}
	case again == nil || errors.Is(again, ErrNone):
		l.mu.Lock()
		l.lost = true
		l.mu.Unlock()
	default:
		return again
	}
	return err
}

func (l *Lease) isLost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Print shows those who wait what the holder prints.
func (l *Lease) Print(p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.value.End += int64(len(p))
	l.value.Printed = append(l.value.Printed, p...)
	if n := len(l.value.Printed); n > maxPrinted {
		l.value.Printed = append([]byte{}, l.value.Printed[n-maxPrinted:]...)
	}
	select {
	case l.wakeUp <- struct{}{}:
	default:
	}
}

// Decide says that the holder has its result. false is that it has lost the lease; an error, that the place does not
// answer.
func (l *Lease) Decide(ctx context.Context) (bool, error) {
	trouble := cache.NewPatience(l.table.options.Patience)
	l.mu.Lock()
	l.value.Decided = true
	l.mu.Unlock()
	for {
		err := l.write(ctx)
		if err == nil {
			return true, nil
		}
		if l.isLost() {
			return false, nil
		}
		if err := trouble.Pause(ctx, err); err != nil {
			return false, err
		}
	}
}

// Release lets go of the lease. It is taken by the next one at once, or where the place does not answer after a term.
func (l *Lease) Release() {
	if l.end() {
		_ = l.remove(context.Background())
	}
}

// Finish is Release that waits for a place that does not answer, until the context is done: who has decided does so,
// since others would wait for longer.
func (l *Lease) Finish(ctx context.Context) {
	if !l.end() {
		return
	}
	trouble := cache.NewPatience(l.table.options.Patience)
	for err := l.remove(ctx); err != nil; err = l.remove(ctx) {
		if trouble.Pause(ctx, err) != nil {
			return
		}
	}
}

// end ends the renewing; false where that was done before.
func (l *Lease) end() bool {
	l.mu.Lock()
	done := l.done
	l.done = true
	l.mu.Unlock()
	if done {
		return false
	}
	l.stop()
	<-l.ended
	return true
}

// remove removes what is there of the lease, if it was not lost. Where the answer to a write was lost, that is
// another version than is known.
func (l *Lease) remove(ctx context.Context) error {
	if l.isLost() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writing)
	defer cancel()
	v, version, err := l.table.read(ctx, l.name)
	switch {
	case errors.Is(err, ErrNone), err == nil && v.Holder != l.value.Holder:
		return nil
	case err != nil:
		return err
	}
	return l.table.cells.Remove(ctx, l.name, version)
}
