package explain

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/store"
)

// eventually waits until something is so.
func eventually(t *testing.T, what string, good func() bool) {
	t.Helper()
	for range 200 {
		if good() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("never " + what)
}

// TestLive: another process sees a build while it goes on, what its steps print, and that it has ended.
func TestLive(t *testing.T) {
	s := openStore(t)
	other, err := store.Open(s.Root())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	j := newJournalOf(s, "one", t, event.Discard)
	j.Send(event.Planned{Stages: []*event.Stage{journalStage}, Positions: 3})
	v := &event.Vertex{Kind: event.Run, Name: "[3/3] RUN make", Stage: journalStage, Text: "RUN make", Number: 3, Total: 3, Position: 3, Index: 1}
	ran(j, v, event.LookedUp{Key: contentKey("sha256:a")})
	j.Send(event.Output{Vertex: v, Stream: 1, Data: []byte("hello\xff\n")})
	waiting := copyVertex()
	j.Send(event.Started{Vertex: waiting})

	var all []*Build
	eventually(t, "was it seen", func() bool {
		if all, err = Live(other); err != nil {
			t.Fatal(err)
		}
		return len(all) == 1
	})
	steps := all[0].Stages[0].Steps
	if all[0].ID != "one" || steps[0].Status != Running || steps[1].Status != Waiting || all[0].Took <= 0 {
		t.Errorf("%+v, %+v, %+v", all[0], steps[0], steps[1])
	}
	f, err := FollowLive(other, "one")
	if err != nil {
		t.Fatal(err)
	}
	b, printed, err := f.Next()
	if err != nil || b == nil || len(printed) != 1 || printed[0] != (Printed{"[3/3] RUN make", "hello\ufffd\n"}) {
		t.Errorf("%v, %q, %v", b, printed, err)
	}
	j.Send(event.Output{Vertex: v, Stream: 2, Data: []byte("more\n")})
	eventually(t, "was more printed", func() bool {
		_, printed, err = f.Next()
		return err == nil && len(printed) == 1 && printed[0].Text == "more\n"
	})
	j.Send(event.Finished{Vertex: v, Status: event.Failed, Err: errors.New("exit code 1")})
	j.Send(event.Finished{Vertex: waiting, Status: event.Canceled})
	kept, _ := j.Close("", errors.New("failed"))
	span := kept.Stages[0].Steps[0].Span
	if span.Began < 1 || span.Ran < span.Began || span.Ended < span.Ran {
		t.Errorf("%+v", span)
	}
	if b, _, err := f.Next(); b != nil || err != nil {
		t.Errorf("%v, %v", b, err)
	}
	if all, err := Live(other); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := FollowLive(other, "one"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestLiveShort: a build that ends at once writes nothing.
func TestLiveShort(t *testing.T) {
	s := openStore(t)
	j := newJournalOf(s, "one", t, event.Discard)
	j.Send(event.Planned{Stages: []*event.Stage{journalStage}})
	j.Close("", nil)
	time.Sleep(liveDelay + 100*time.Millisecond)
	if folders, err := s.LiveFolders(liveFolder); err != nil || len(folders) != 0 {
		t.Errorf("%q, %v", folders, err)
	}
}

// TestLiveOutput: what a step prints without end is shown up to a limit.
func TestLiveOutput(t *testing.T) {
	s := openStore(t)
	l := newLive(s, func() *Build { return &Build{ID: "one"} })
	line := []byte(strings.Repeat("x", 1<<20))
	for range 20 {
		l.print("step", line)
	}
	if n := l.output.Len(); n > maxOutput+1<<20 {
		t.Errorf("%d bytes are held", n)
	}
	l.write()
	f, err := FollowLive(s, "one")
	if err != nil {
		t.Fatal(err)
	}
	if _, printed, err := f.Next(); err != nil || len(printed) == 0 {
		t.Errorf("%d, %v", len(printed), err)
	}
	l.close()
}

// TestLiveOthers: what is no step is masked too, wherever it is cut.
func TestLiveOthers(t *testing.T) {
	j := NewJournal(t.Context(), openStore(t), &Build{ID: "one"}, hiding("hunter2"), event.Discard)
	v := &event.Vertex{Kind: event.Phase, Name: "load"}
	for _, text := range []string{"with hun", "ter2\nand hunter2"} {
		j.Send(event.Output{Vertex: v, Data: []byte(text)})
	}
	j.Send(event.Finished{Vertex: v})
	if got := j.live.output.String(); strings.Contains(got, "hun") || strings.Count(got, "(secret)") != 2 {
		t.Errorf("another process sees %s", got)
	}
}
