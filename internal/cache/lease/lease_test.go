package lease

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strata-build/strata/internal/cache"
)

// memory is Cells in memory, which can be cut off.
type memory struct {
	mu    sync.Mutex
	cells map[string]string
	last  int
	of    map[string]int
}

func newMemory() *memory { return &memory{cells: map[string]string{}, of: map[string]int{}} }

// line is how one machine reaches the memory.
type line struct {
	*memory
	cut       atomic.Bool
	swallowed atomic.Int32 // answers to this many writes are lost after they were made
}

var errCut = errors.New("no route to host")

func (m *line) Read(_ context.Context, name string) ([]byte, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cut.Load() {
		return nil, "", errCut
	}
	v, ok := m.cells[name]
	if !ok {
		return nil, "", ErrNone
	}
	return []byte(v), strconv.Itoa(m.of[name]), nil
}

func (m *line) Write(_ context.Context, name string, value []byte, version string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cut.Load() {
		return "", errCut
	}
	there := ""
	if n, ok := m.of[name]; ok {
		there = strconv.Itoa(n)
	}
	if there != version {
		return "", ErrChanged
	}
	m.last++
	m.cells[name], m.of[name] = string(value), m.last
	if m.swallowed.Add(-1) >= 0 {
		return "", errCut
	}
	return strconv.Itoa(m.last), nil
}

func (m *line) Remove(_ context.Context, name, version string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cut.Load() {
		return errCut
	}
	if strconv.Itoa(m.of[name]) == version {
		delete(m.cells, name)
		delete(m.of, name)
	}
	return nil
}

func (m *line) Wait(ctx context.Context, _, _ string, most time.Duration) error {
	select {
	case <-time.After(min(most, 5*time.Millisecond)):
	case <-ctx.Done():
	}
	return ctx.Err()
}

// quick are terms for tests: long enough for a machine under load to renew in.
var quick = Options{Term: 500 * time.Millisecond, Settling: time.Second, Patience: 30 * time.Second}

type follower struct {
	mu      sync.Mutex
	hosts   []string
	printed strings.Builder
}

func (f *follower) Waiting(host string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hosts = append(f.hosts, host)
}

func (f *follower) Printed(p []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.printed.Write(p)
}

func (f *follower) has(text string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Contains(f.printed.String(), text)
}

// Of many who want a name at once, one has it at a time, and all come to have it.
func TestOneAtATime(t *testing.T) {
	m := newMemory()
	var holders, most, turns atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		table := New(&line{memory: m}, fmt.Sprintf("host-%d", i), Options{Term: 30 * time.Second})
		wg.Go(func() {
			l, err := table.Take(t.Context(), "step", nil)
			for errors.Is(err, cache.ErrEnded) {
				l, err = table.Take(t.Context(), "step", nil)
			}
			if err != nil {
				t.Error(err)
				return
			}
			if n := holders.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(2 * time.Millisecond)
			if kept, err := l.Decide(t.Context()); err != nil || !kept {
				t.Errorf("the lease was not kept: %v", err)
			}
			holders.Add(-1)
			turns.Add(1)
			l.Release()
		})
	}
	wg.Wait()
	if most.Load() != 1 || turns.Load() != 8 {
		t.Errorf("%d held it at once, %d had a turn", most.Load(), turns.Load())
	}
	if len(m.cells) != 0 {
		t.Errorf("%v stays behind", m.cells)
	}
}

// Who waits is told who it waits for, and sees what is printed there.
func TestFollow(t *testing.T) {
	m := newMemory()
	first, err := New(&line{memory: m}, "host-a", quick).Take(t.Context(), "step", nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{}
	done := make(chan error)
	go func() {
		_, err := New(&line{memory: m}, "host-b", quick).Take(t.Context(), "step", f)
		done <- err
	}()
	first.Print([]byte("compiling\n"))
	for !f.has("compiling\n") {
		time.Sleep(time.Millisecond)
	}
	first.Print([]byte("linking\n"))
	for !f.has("linking\n") {
		time.Sleep(time.Millisecond)
	}
	first.Release()
	if err := <-done; !errors.Is(err, cache.ErrEnded) {
		t.Fatal(err)
	}
	if len(f.hosts) != 1 || f.hosts[0] != "host-a" || f.printed.String() != "compiling\nlinking\n" {
		t.Errorf("waited for %q, saw %q", f.hosts, f.printed.String())
	}
}

// A holder that is cut off loses its lease to who waits, and learns of it when it is back.
func TestTakenOver(t *testing.T) {
	m := newMemory()
	away := &line{memory: m}
	lost, err := New(away, "host-a", quick).Take(t.Context(), "step", nil)
	if err != nil {
		t.Fatal(err)
	}
	away.cut.Store(true)
	taken, err := New(&line{memory: m}, "host-b", quick).Take(t.Context(), "step", nil)
	if err != nil {
		t.Fatal(err)
	}
	away.cut.Store(false)
	if kept, err := lost.Decide(t.Context()); err != nil || kept {
		t.Errorf("the first holder kept its lease: %v", err)
	}
	lost.Release()
	if kept, err := taken.Decide(t.Context()); err != nil || !kept {
		t.Errorf("the second one lost it: %v", err)
	}
	taken.Release()
}

// A lease whose holder has decided is not taken over within the term of others.
func TestSettling(t *testing.T) {
	m := newMemory()
	away := &line{memory: m}
	o := quick
	o.Settling = time.Hour
	first, err := New(away, "host-a", o).Take(t.Context(), "step", nil)
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := first.Decide(t.Context()); err != nil || !kept {
		t.Fatal(kept, err)
	}
	away.cut.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 3*o.Term)
	defer cancel()
	if _, err := New(&line{memory: m}, "host-b", o).Take(ctx, "step", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("taken over: %v", err)
	}
	away.cut.Store(false)
	first.Release()
}

// A lost answer to a writing that was made is no lost lease.
func TestLostAnswer(t *testing.T) {
	l := &line{memory: newMemory()}
	l.swallowed.Store(1)
	held, err := New(l, "host-a", quick).Take(t.Context(), "step", nil)
	if err != nil {
		t.Fatal(err)
	}
	l.swallowed.Store(2)
	if kept, err := held.Decide(t.Context()); err != nil || !kept {
		t.Errorf("kept %v: %v", kept, err)
	}
	held.Release()
}

// A place that does not answer is waited for, but not for ever.
func TestPatience(t *testing.T) {
	l := &line{memory: newMemory()}
	l.cut.Store(true)
	o := quick
	o.Patience = 50 * time.Millisecond
	if _, err := New(l, "host-a", o).Take(t.Context(), "step", nil); !errors.Is(err, errCut) {
		t.Errorf("%v", err)
	}
	o.Patience = time.Minute
	time.AfterFunc(100*time.Millisecond, func() { l.cut.Store(false) })
	held, err := New(l, "host-a", o).Take(t.Context(), "step", nil)
	if err != nil {
		t.Fatal(err)
	}
	held.Release()
}

// Who has finished lets go of its lease also where the place is away for a while.
func TestFinish(t *testing.T) {
	l := &line{memory: newMemory()}
	held, err := New(l, "host-a", quick).Take(t.Context(), "step", nil)
	if err != nil {
		t.Fatal(err)
	}
	l.cut.Store(true)
	time.AfterFunc(100*time.Millisecond, func() { l.cut.Store(false) })
	held.Finish(t.Context())
	if len(l.cells) != 0 {
		t.Errorf("%v stays behind", l.cells)
	}
}
