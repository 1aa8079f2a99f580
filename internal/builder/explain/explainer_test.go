package explain

import (
	"testing"
	"time"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/local"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/store/db/dbtest"
)

// TestReasonsOfARecord goes through what can become of a record.
func TestReasonsOfARecord(t *testing.T) {
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	key := runKey()
	build := func(id string, status Status) (*Explainer, *Miss) {
		b := &Build{ID: id, Started: time.Now(), Context: "/ctx", Dockerfile: "Dockerfile", Engine: "graph"}
		e := &Explainer{store: s, build: b, history: &history{}}
		step := &Step{Text: "RUN make", Index: 0, Position: 2, Key: key.Digest(), Status: status}
		st := &Stage{From: "base", Steps: []*Step{step}}
		b.Stages = []*Stage{st}
		st.texts = []string{"RUN make"}
		return e, &Miss{Stage: st, Step: step, Key: key, Instruction: "RUN make"}
	}
	reason := func() Kind {
		t.Helper()
		e, m := build("now", Ran)
		reasons := e.Reasons(t.Context(), m)
		if len(reasons) != 1 {
			t.Fatalf("%v", reasons)
		}
		return reasons[0].Kind
	}
	if got := reason(); got != New {
		t.Errorf("the first build: %s", got)
	}
	remember := func(id string, status Status) {
		t.Helper()
		e, _ := build(id, status)
		if err := Save(s, e.build, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i, test := range []struct {
		status Status
		want   Kind
	}{{Failed, FailedLast}, {Canceled, FailedLast}, {Ran, Lost}, {Hit, Lost}} {
		remember(string(rune('a'+i)), test.status)
		if got := reason(); got != test.want {
			t.Errorf("%s: %s, want %s", test.status, got, test.want)
		}
	}
	if err := local.Save(s, key, &cache.Record{Created: time.Now(), Instruction: "RUN make"}); err != nil {
		t.Fatal(err)
	}
	dbtest.Tick()
	if _, err := s.Prune(store.PruneOptions{All: true, Records: true}); err != nil {
		t.Fatal(err)
	}
	if got := reason(); got != Pruned {
		t.Errorf("pruned: %s", got)
	}
	e, m := build("now", Ran)
	m.Forced, m.Rejected = "--no-cache", []string{"me/app: no"}
	reasons := e.Reasons(t.Context(), m)
	if len(reasons) != 2 || reasons[0].Kind != Forced || reasons[1].Kind != Refused || Line(reasons) != "--no-cache (+1)" {
		t.Errorf("%v", reasons)
	}
}

func TestSaveAndRead(t *testing.T) {
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := &Build{
		ID: "abc", Started: time.Now(), Took: 12, Context: "/c", Dockerfile: "D", Engine: "graph", Tags: []string{"a:1"}, Positions: 3,
		Stages: []*Stage{{From: "x", Steps: []*Step{
			{Text: "RUN a", Status: Hit, Took: 30}, {Text: "ENV a", Status: Config}, {Text: "RUN b", Status: Ran, Took: 5}, {Text: "RUN c", Status: Failed},
		}}},
	}
	b.Count()
	if b.Hits != 1 || b.Total != 3 || b.Saved != 30 {
		t.Errorf("%d of %d, %d saved", b.Hits, b.Total, b.Saved)
	}
	if err := Save(s, b, nil); err != nil {
		t.Fatal(err)
	}
	row, err := s.BuildByID("abc")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(row)
	if err != nil || got.Saved != 30 || got.Took != 12 || got.Tags[0] != "a:1" || len(got.Stages[0].Steps) != 4 || got.Positions != 3 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestMatches(t *testing.T) {
	st, s := &Stage{Name: "build", Index: 1}, &Step{Number: 2, Position: 7}
	for text, want := range map[string]bool{"2": true, "build:2": true, "1:2": true, "other:2": false, "3": false, "7": false, "": false, "build:": false} {
		if got := (&Build{Engine: "graph"}).matches(st, s, text); got != want {
			t.Errorf("graph, %q: %t", text, got)
		}
	}
	if b := (&Build{Engine: "classic"}); !b.matches(st, s, "7") || b.matches(st, s, "2") {
		t.Error("classic counts positions")
	}
	if (&Build{Engine: "graph"}).matches(st, &Step{}, "0") {
		t.Error("a step without a number has one")
	}
}
