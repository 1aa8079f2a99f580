// Package placetest holds the tests that every place of a cache passes, as testing/fstest has those of file systems. A new
// place is done when Test passes for it.
package placetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/transfer"
)

// Site is a place for a test, with nothing in it.
type Site struct {
	// Machine gives a machine that uses the place; each call another one, unless the place is the machine's own store.
	Machine func(t *testing.T) *transfer.Mover
	// Open gives the place as a machine sees it now.
	Open func(t *testing.T, m *transfer.Mover) (cache.Place, error)
	// Fill puts steps where Put cannot; nil for a place that takes records.
	Fill func(t *testing.T, m *transfer.Mover, steps []cache.Step)
	// DamageLayers and DamageRecords change a byte in each layer and record that the place has, or sends from now on.
	// nil if nobody else can get at them.
	DamageLayers, DamageRecords func(t *testing.T)
	// Merges says that what two have put is all there; else the place has what one of them put.
	Merges bool
	// Shares says that machines claim steps in the place: it is a cache.Sharer.
	Shares bool
}

// Test tests a place. site makes one; it is called once for each test.
func Test(t *testing.T, site func(t *testing.T) *Site) {
	tests := []placeTest{
		{"get what was put", testGet},
		{"get twice", testCopy},
		{"a missing key", testMissing},
		{"damaged layers", testDamagedLayers},
		{"damaged records", testDamagedRecords},
		{"put again", testPutAgain},
		{"two writers", testTwoWriters},
		{"cancelled", testCancelled},
		{"read-only", testReadOnly},
		{"a lease", testLease},
		{"a claim", testClaim},
	}
	for _, test := range append(tests, mountTests...) {
		t.Run(test.name, func(t *testing.T) { test.run(t, site(t)) })
	}
}

type placeTest struct {
	name string
	run  func(*testing.T, *Site)
}

// put puts steps into the place from a machine.
func (s *Site) put(t *testing.T, m *transfer.Mover, steps []cache.Step) {
	t.Helper()
	if s.Fill != nil {
		s.Fill(t, m, steps)
		return
	}
	if err := s.open(t, m).Put(t.Context(), steps); err != nil {
		t.Fatal(err)
	}
}

func (s *Site) open(t *testing.T, m *transfer.Mover) cache.Place {
	t.Helper()
	p, err := s.Open(t, m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// filled is a site with steps in it, and another machine that sees it.
func filled(t *testing.T, s *Site) (steps []cache.Step, reader *transfer.Mover) {
	t.Helper()
	writer := s.Machine(t)
	steps = Steps(t, writer, "a")
	s.put(t, writer, steps)
	return steps, s.Machine(t)
}

// testGet gets all records from a machine that has nothing, and their layers.
func testGet(t *testing.T, s *Site) {
	steps, reader := filled(t, s)
	p := s.open(t, reader)
	for _, step := range steps {
		expect(t, p, step)
		if step.Record.Layer != "" {
			fetch(t, reader, step.Record.Layer)
		}
	}
	// A step whose layer nobody has is not there.
	writer := s.Machine(t)
	gone := step("gone", digest.FromString("gone"))
	s.put(t, writer, append(Steps(t, writer, "a"), gone))
	expectNot(t, s.open(t, reader), gone.Key)
}

// testCopy changes what Get returned.
func testCopy(t *testing.T, s *Site) {
	steps, reader := filled(t, s)
	p := s.open(t, reader)
	r, err := p.Get(t.Context(), steps[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	r.Layer, r.Instruction = "", "another"
	expect(t, p, steps[0])
}

func testMissing(t *testing.T, s *Site) {
	_, reader := filled(t, s)
	expectNot(t, s.open(t, reader), step("missing", "").Key)
}

// testDamagedLayers sees to it that no layer gets its name whose bytes are others.
func testDamagedLayers(t *testing.T, s *Site) {
	if s.DamageLayers == nil {
		t.Skip("nobody else can get at its layers")
	}
	steps, reader := filled(t, s)
	s.DamageLayers(t)
	p := s.open(t, reader)
	for _, step := range steps {
		expect(t, p, step)
		if step.Record.Layer == "" {
			continue
		}
		l, err := reader.Store.Layer(step.Record.Layer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Tree(t.Context()); err == nil || l.Present() {
			t.Errorf("%s: a layer of other bytes is taken: %v", step.Record.Instruction, err)
		}
	}
}

// testDamagedRecords sees to it that what was changed is not given out.
func testDamagedRecords(t *testing.T, s *Site) {
	if s.DamageRecords == nil {
		t.Skip("nobody else can get at its records")
	}
	steps, reader := filled(t, s)
	s.DamageRecords(t)
	p, err := s.Open(t, reader)
	if err != nil {
		return
	}
	for _, step := range steps {
		if r, err := p.Get(t.Context(), step.Key); err == nil {
			t.Errorf("%s: the damaged record is given out: %+v", step.Record.Instruction, r)
		}
	}
}

// testPutAgain puts the same steps from another machine, and then others beside them.
func testPutAgain(t *testing.T, s *Site) {
	first, m := filled(t, s)
	same := Steps(t, m, "a")
	s.put(t, m, same)
	both := append(same, Steps(t, m, "b")...)
	s.put(t, m, both)
	p := s.open(t, s.Machine(t))
	for _, step := range append(first, both...) {
		expect(t, p, step)
	}
}

// testTwoWriters has two machines put other steps at once. What is there afterwards is whole.
func testTwoWriters(t *testing.T, s *Site) {
	if s.Fill != nil {
		t.Skip("the place takes no records")
	}
	const rounds = 4
	machines := []*transfer.Mover{s.Machine(t), s.Machine(t)}
	steps := [][]cache.Step{Steps(t, machines[0], "a"), Steps(t, machines[1], "b")}
	var wg sync.WaitGroup
	for i, m := range machines {
		p := s.open(t, m)
		wg.Go(func() {
			for range rounds {
				if err := p.Put(t.Context(), steps[i]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	reader := s.Machine(t)
	p := s.open(t, reader)
	whole := 0
	for _, written := range steps {
		found := 0
		for _, step := range written {
			if _, err := p.Get(t.Context(), step.Key); errors.Is(err, cache.ErrNotFound) {
				continue
			}
			found++
			expect(t, p, step)
			if step.Record.Layer != "" {
				fetch(t, reader, step.Record.Layer)
			}
		}
		if found == len(written) {
			whole++ // the first step is that of both
		}
	}
	if whole == 0 || s.Merges && whole < len(steps) {
		t.Errorf("the steps of %d of %d writers are there", whole, len(steps))
	}
}

// testCancelled puts and gets with a context that is over. What was there stays.
func testCancelled(t *testing.T, s *Site) {
	steps, m := filled(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := s.open(t, m)
	if s.Fill == nil {
		others := Steps(t, m, "b")
		if err := p.Put(ctx, others); !errors.Is(err, context.Canceled) {
			t.Errorf("putting: %v", err)
		}
	}
	if _, err := s.open(t, m).Get(ctx, steps[0].Key); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("getting: %v", err)
	}
	p = s.open(t, s.Machine(t))
	for _, step := range steps {
		expect(t, p, step)
	}
}

func testReadOnly(t *testing.T, s *Site) {
	if s.Fill == nil {
		t.Skip("the place takes records")
	}
	steps, m := filled(t, s)
	p := s.open(t, m)
	others := []cache.Step{step("other", "")}
	if err := p.Put(t.Context(), others); !errors.Is(err, cache.ErrReadOnly) {
		t.Errorf("putting: %v, want %v", err, cache.ErrReadOnly)
	}
	expect(t, p, steps[0])
	expectNot(t, p, others[0].Key)
}

// testLease has a second one wait for the first, and give up when it is told to.
func testLease(t *testing.T, s *Site) {
	_, m := filled(t, s)
	first, ok := s.open(t, m).(cache.Leaser)
	if !ok {
		t.Skip("the place has no leases")
	}
	key := step("a", "").Key
	release, err := first.Lease(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	second := s.open(t, s.Machine(t)).(cache.Leaser)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := second.Lease(ctx, key); err == nil {
		t.Error("two have the same key")
	}
	if other, err := second.Lease(t.Context(), step("b", "").Key); err != nil {
		t.Errorf("another key: %v", err)
	} else {
		other()
	}
	release()
	release, err = second.Lease(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	release()
}

// testClaim has two machines claim a step: the second one has to wait, sees what the first prints, and finds its record and
// layer when it has shared them, before anything was put.
func testClaim(t *testing.T, s *Site) {
	if !s.Shares {
		t.Skip("machines claim no steps in the place")
	}
	m, other := s.Machine(t), s.Machine(t)
	step := Steps(t, m, "a")[1]
	first, err := s.open(t, m).(cache.Sharer).Claim(t.Context(), step.Key, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(printed, 16)
	type claimed struct {
		place cache.Place
		err   error
	}
	second := make(chan claimed, 1)
	go func() {
		p, err := s.Open(t, other)
		if err != nil {
			second <- claimed{err: err}
			return
		}
		_, err = p.(cache.Sharer).Claim(t.Context(), step.Key, seen)
		second <- claimed{p, err}
	}()
	first.Print([]byte("hello"))
	for text := ""; text != "hello"; {
		text += <-seen
	}
	if kept, err := first.Decide(t.Context()); err != nil || !kept {
		t.Fatalf("the claim was not kept: %v", err)
	}
	select {
	case <-second:
		t.Fatal("two have the same step")
	default:
	}
	if err := first.Share(t.Context(), step); err != nil {
		t.Fatal(err)
	}
	got := <-second
	if !errors.Is(got.err, cache.ErrEnded) {
		t.Fatalf("the second one waited, and is told %v", got.err)
	}
	expect(t, got.place, step)
	fetch(t, other, step.Record.Layer)
}

// printed takes what a step prints elsewhere.
type printed chan string

func (printed) Waiting(string)     {}
func (c printed) Printed(p []byte) { c <- string(p) }

// expect gets a step's record, which has to be the one that was put; of one without parts, as in images, what there is.
func expect(t *testing.T, p cache.Place, step cache.Step) {
	t.Helper()
	got, err := p.Get(t.Context(), step.Key)
	if err != nil {
		t.Errorf("%s: %v", step.Record.Instruction, err)
		return
	}
	want := *step.Record
	want.Origin = got.Origin
	if got.Parts == nil {
		want.Kind, want.Parts = "", nil
	}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", step.Record.Instruction, diff)
	}
}

func expectNot(t *testing.T, p cache.Place, key digest.Digest) {
	t.Helper()
	if r, err := p.Get(t.Context(), key); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("getting a missing record: %+v, %v; want %v", r, err, cache.ErrNotFound)
	}
}

// fetch brings a layer to a machine whose store knows by now where it is.
func fetch(t *testing.T, m *transfer.Mover, diffID digest.Digest) {
	t.Helper()
	l, err := m.Store.Layer(diffID)
	if err == nil {
		_, err = l.Tree(t.Context())
	}
	if err != nil {
		t.Errorf("layer %s: %v", diffID, err)
	}
}
