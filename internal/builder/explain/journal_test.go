package explain

import (
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/local"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/event/progress"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
)

// log is a sink that keeps what it gets.
type log struct {
	mu     sync.Mutex
	events []event.Event
}

func (l *log) Send(e event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

// of are the events of a vertex, by type.
func (l *log) of(v *event.Vertex) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var types []string
	for _, e := range l.events {
		if event.VertexOf(e) == v {
			types = append(types, fmt.Sprintf("%T", e)[len("event."):])
		}
	}
	return types
}

func openStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// contentKey is the key of a COPY that selects a content.
func contentKey(content string) *cache.Key {
	k := &cache.Key{Kind: cache.KindCopy}
	k.Add(cache.PartContent, content)
	k.Add(cache.PartChain, "sha256:aa")
	return k
}

var journalStage = &event.Stage{
	StageID: event.StageID{Platform: "linux/amd64"}, From: "base", Instructions: []string{"FROM base", "COPY a /a", "RUN make"},
}

func copyVertex() *event.Vertex {
	return &event.Vertex{Kind: event.Copy, Name: "[2/3] COPY a /a", Stage: journalStage, Text: "COPY a /a", Number: 2, Total: 3, Position: 2, Index: 0}
}

func newJournalOf(s *store.Store, id string, t *testing.T, next event.Sink) *Journal {
	b := &Build{ID: id, Started: time.Now(), Context: "/ctx", Dockerfile: "Dockerfile", Engine: "graph"}
	return NewJournal(t.Context(), s, b, open, next)
}

// ran sends what a step that runs sends, up to Running.
func ran(j *Journal, v *event.Vertex, looked event.LookedUp) {
	looked.Vertex = v
	j.Send(event.Started{Vertex: v})
	j.Send(looked)
	j.Send(event.Running{Vertex: v})
}

// blocking is a selection that says when it is asked, and answers when it is let go.
type blocking struct{ asked, release chan struct{} }

func (b blocking) Selected() []event.Selected {
	close(b.asked)
	<-b.release
	return nil
}

// TestJournalNames: the events of a step pass through in their order with its reasons beside them, and what became of
// the step is kept. While its files are listed, which may read a disk, other steps go on.
func TestJournalNames(t *testing.T) {
	s := openStore(t)
	first := newJournalOf(s, "first", t, event.Discard)
	first.Send(event.Planned{Stages: []*event.Stage{journalStage}, Positions: 3})
	v, old := copyVertex(), contentKey("sha256:old")
	ran(first, v, event.LookedUp{Key: old, Copied: &event.Copied{Dest: "/a"}})
	record := &cache.Record{Created: time.Now(), Instruction: v.Text, Layer: layer.EmptyDiffID}
	if err := local.Save(s, old, record); err != nil {
		t.Fatal(err)
	}
	first.Send(event.Finished{Vertex: v, Status: event.Done, Record: record})
	if b, _ := first.Close("sha256:image", nil); b.Stages[0].Steps[0].Status != Ran || b.Stages[0].Steps[0].Reasons[0].Kind != New {
		t.Fatalf("%+v", b.Stages[0].Steps[0])
	}

	got := &log{}
	second := newJournalOf(s, "second", t, got)
	second.Send(event.Planned{Stages: []*event.Stage{journalStage}, Positions: 3})
	list := blocking{make(chan struct{}), make(chan struct{})}
	v = copyVertex()
	done := make(chan struct{})
	go func() {
		defer close(done)
		ran(second, v, event.LookedUp{Key: contentKey("sha256:new"), Copied: &event.Copied{Dest: "/a", Selection: list}})
		second.Send(event.Finished{Vertex: v, Status: event.Done, Record: record})
	}()
	<-list.asked
	other := &event.Vertex{Kind: event.Configure, Stage: journalStage, Text: "ENV a=b", Position: 3, Index: 1}
	second.Send(event.Started{Vertex: other})
	second.Send(event.Finished{Vertex: other, Status: event.Configured})
	if n := len(got.of(other)); n != 2 {
		t.Errorf("%d events of another step passed while files were listed", n)
	}
	close(list.release)
	<-done
	want := "[Started LookedUp Running Reason Finished]"
	if types := fmt.Sprint(got.of(v)); types != want {
		t.Errorf("%s, want %s", types, want)
	}
	b, _ := second.Close("", nil)
	if step := b.Stages[0].Steps[0]; step.Reasons[0].Kind != Files || step.Reasons[0].Text != "its sources select the same files in another way" {
		t.Errorf("%+v", step.Reasons)
	}
}

// TestJournalBesideDisplays has many steps at once go through a journal to each display: the race detector is the judge,
// and none of them may be forgotten.
func TestJournalBesideDisplays(t *testing.T) {
	const steps = 30
	for _, mode := range []string{"plain", "rawjson", "quiet"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		go io.Copy(io.Discard, r)
		display, err := progress.New(mode, w)
		if err != nil {
			t.Fatal(err)
		}
		j := newJournalOf(openStore(t), mode, t, display)
		j.Send(event.Planned{Stages: []*event.Stage{journalStage}, Positions: steps})
		var wg sync.WaitGroup
		for i := range steps {
			wg.Go(func() {
				v := &event.Vertex{Kind: event.Run, Name: "RUN make", Stage: journalStage, Text: "RUN make", Position: i + 1, Index: i}
				key := runKey(with(cache.PartDir, fmt.Sprint("/", i)))
				ran(j, v, event.LookedUp{Key: key})
				j.Send(event.Rejected{Vertex: v, Source: "me/app", Reason: "no"})
				j.Send(event.Output{Vertex: v, Stream: 1, Data: []byte("x\n")})
				j.Send(event.Finished{Vertex: v, Status: event.Done, Record: &cache.Record{Created: time.Now()}})
			})
		}
		wg.Wait()
		b, _ := j.Close("", nil)
		display.Close(nil)
		w.Close()
		r.Close()
		if n := len(b.Stages[0].Steps); n != steps {
			t.Errorf("%s: %d of %d steps", mode, n, steps)
		}
	}
}

// open is the Mask of a build without secrets.
func open(line string) (string, int) { return line, 0 }
