package progress

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/event"
)

func TestNew(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for mode, want := range map[string]string{
		"": "*progress.plain", "auto": "*progress.plain", "plain": "*progress.plain", "rawjson": "*progress.rawJSON",
		"quiet": "*progress.quiet", "tty": "<nil>", "fancy": "<nil>",
	} {
		p, err := newRenderer(mode, f)
		if got := fmt.Sprintf("%T", p); got != want {
			t.Errorf("newRenderer(%q) = %s, want %s", mode, got, want)
		}
		if (err != nil) != (want == "<nil>") || errors.Is(err, ErrMode) != (mode == "fancy") {
			t.Errorf("newRenderer(%q): %v", mode, err)
		}
		if p != nil {
			p.Close(nil)
		}
	}
}

func TestRawJSON(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	p := newFeed(newRawJSON(&out, c.now))
	p.start(4, "[1/2] RUN <x>")
	c.ms(1)
	p.log(4, 2, []byte("a\x1b[0m"))
	p.reason(4, "first build")
	p.progress(4, "sha256:ab", 5, 10, "")
	p.progress(4, "sha256:ab", 10, 10, "done")
	p.progress(4, "sha256:ab", 10, 10, "done")
	p.finish(4, event.Failed, errors.New("exit code: 1"))
	p.start(5, "b")
	p.finish(5, event.Cached, nil)
	p.start(6, "c")
	p.Close(errors.New("exit code: 1"))
	got := out.String()
	var names []string
	for text := range strings.Lines(got) {
		var e line
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatalf("line %q: %v", text, err)
		}
		for _, v := range e.Vertexes {
			if err := v.Digest.Validate(); err != nil {
				t.Errorf("vertex %s: %v", v.Name, err)
			}
			names = append(names, v.Digest.String())
		}
	}
	got = strings.NewReplacer(names[0], "D1", names[2], "D2", names[4], "D3").Replace(got)
	want := `{"vertexes":[{"digest":"D1","name":"[1/2] RUN <x>","started":"2026-03-01T12:00:00Z"}]}
{"logs":[{"vertex":"D1","stream":2,"data":"YRtbMG0=","timestamp":"2026-03-01T12:00:00.001Z"}]}
{"notes":[{"vertex":"D1","text":"why: first build","timestamp":"2026-03-01T12:00:00.001Z"}]}
{"statuses":[{"id":"sha256:ab","vertex":"D1","total":10,"current":5,"timestamp":"2026-03-01T12:00:00.001Z","started":"2026-03-01T12:00:00.001Z"}]}
{"statuses":[{"id":"sha256:ab","vertex":"D1","total":10,"current":10,"timestamp":"2026-03-01T12:00:00.001Z","started":"2026-03-01T12:00:00.001Z","completed":"2026-03-01T12:00:00.001Z"}]}
{"vertexes":[{"digest":"D1","name":"[1/2] RUN <x>","started":"2026-03-01T12:00:00Z","completed":"2026-03-01T12:00:00.001Z","error":"exit code: 1"}]}
{"vertexes":[{"digest":"D2","name":"b","started":"2026-03-01T12:00:00.001Z"}]}
{"vertexes":[{"digest":"D2","name":"b","started":"2026-03-01T12:00:00.001Z","completed":"2026-03-01T12:00:00.001Z","cached":true}]}
{"vertexes":[{"digest":"D3","name":"c","started":"2026-03-01T12:00:00.001Z"}]}
{"vertexes":[{"digest":"D3","name":"c","started":"2026-03-01T12:00:00.001Z","completed":"2026-03-01T12:00:00.001Z","error":"context canceled"}]}
`
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("output (-want +got):\n%s", d)
	}
}

func TestQuietShowsFailure(t *testing.T) {
	var out bytes.Buffer
	p := newFeed(newQuiet(&out, newClock().now))
	p.start(1, "[2/2] RUN make")
	p.log(1, 2, []byte("no rule\n"))
	p.finish(1, event.Failed, errors.New("exit code: 2"))
	p.Close(errors.New("exit code: 2"))
	want := "------\n > [2/2] RUN make:\n0.000 no rule\n------\n"
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("output (-want +got):\n%s", d)
	}
}

// TestManyGoroutines has steps talk all at once to every printer; in plain mode every line must arrive, once and
// in the order of its step.
func TestManyGoroutines(t *testing.T) {
	const steps, lines = 20, 300
	statuses := []event.Status{event.Done, event.Cached, event.Failed, event.Canceled}
	var plainOut, jsonOut bytes.Buffer
	v := newVT(80, 24)
	displays := map[string]Display{
		"plain":   newPlain(&plainOut, false, time.Now),
		"rawjson": newRawJSON(&jsonOut, time.Now),
		"quiet":   newQuiet(io.Discard, time.Now),
		"tty":     newTTY(v, v.size, colored(), time.Now),
	}
	for name, d := range displays {
		p := newFeed(d)
		var wg sync.WaitGroup
		for i := range steps {
			wg.Go(func() {
				p.start(i, fmt.Sprintf("step %d", i))
				for j := range lines {
					p.log(i, 1, fmt.Appendf(nil, "step %d line %d\n", i, j))
				}
				p.progress(i, "x", 1, 2, "")
				p.reason(i, "note")
				p.finish(i, statuses[i%len(statuses)], errors.New("no"))
			})
		}
		wg.Wait()
		p.Close(nil)
		p.Close(nil)
		p.log(1, 1, []byte("late\n"))
		if name != "plain" {
			continue
		}
		next := map[int]int{}
		for line := range strings.Lines(strings.Split(plainOut.String(), "------\n")[0]) {
			var index, step, n int
			var sec float64
			if c, _ := fmt.Sscanf(line, "#%d %f step %d line %d", &index, &sec, &step, &n); c != 4 {
				continue
			}
			if n != next[step] {
				t.Fatalf("step %d: line %d where %d was due", step, n, next[step])
			}
			next[step]++
		}
		for i := range steps {
			if next[i] != lines {
				t.Errorf("step %d: %d lines of %d", i, next[i], lines)
			}
		}
	}
	if len(v.bad) > 0 {
		t.Errorf("the terminal got %q", v.bad)
	}
}

// stuck is a terminal that takes nothing until it is released.
type stuck struct {
	release chan struct{}
	n       int
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.release
	s.n += len(p)
	return len(p), nil
}

// TestStuckTerminal builds against a terminal that takes nothing at all: the build must not notice, and
// everything must be there in the end.
func TestStuckTerminal(t *testing.T) {
	for _, mode := range []string{"plain", "tty"} {
		out := &stuck{release: make(chan struct{})}
		var d Display = newPlain(out, false, time.Now)
		if mode == "tty" {
			d = newTTY(out, func() (int, int) { return 80, 24 }, colored(), time.Now)
		}
		p := newFeed(d)
		p.start(1, "RUN yes")
		const lines = 100_000
		for range lines {
			p.log(1, 1, []byte("yyyyyyyyy\n"))
		}
		p.finish(1, event.Done, nil)
		close(out.release)
		p.Close(nil)
		if mode == "plain" && out.n < lines*len("#1 0.000 yyyyyyyyy\n") {
			t.Errorf("plain: %d bytes", out.n)
		}
	}
}

// TestReaderGone writes to a pipe whose other end is closed.
func TestReaderGone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	d, err := New("plain", w)
	if err != nil {
		t.Fatal(err)
	}
	p := newFeed(d)
	p.start(1, "RUN yes")
	for range 300 {
		p.log(1, 1, make([]byte, spoolLimit/100))
	}
	p.finish(1, event.Done, nil)
	p.Close(nil)
}
