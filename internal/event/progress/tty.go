package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/human/style"
)

// Ranks of rows: what to keep when the terminal is too low.
const (
	rankRunning = iota
	rankTransfer
	rankLog
	rankFinished
	rankDetail
)

// tty draws BuildKit's terminal display. Events only change the model; a goroutine draws it, so a slow terminal
// sees fewer frames and the build does not notice.
type tty struct {
	mu      sync.Mutex
	screen  screen
	look    look
	now     func() time.Time
	began   time.Time
	steps   map[*event.Vertex]*ttyStep
	order   []*ttyStep
	closed  bool
	stop    chan struct{}
	stopped chan struct{}
}

type ttyStep struct {
	step
	note      string
	transfers transfers
	warnings  []string
}

func newTTY(out io.Writer, size sizeFunc, l look, now func() time.Time) *tty {
	t := &tty{
		screen: screen{out: out, size: size, color: l.color}, look: l, now: now, began: now(),
		steps: map[*event.Vertex]*ttyStep{}, stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	go t.animate()
	return t
}

// animate draws a frame when something changed, and often enough for the running times to move.
func (t *tty) animate() {
	defer close(t.stopped)
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.frame(false)
		case <-t.stop:
			return
		}
	}
}

// frame draws the state of this moment; the last frame has everything, however high it is.
func (t *tty) frame(last bool) {
	t.mu.Lock()
	width, height := t.screen.size()
	if len(t.order) == 0 {
		t.mu.Unlock()
		return
	}
	rows := t.rows(width, height, last)
	t.mu.Unlock()
	t.screen.draw(rows)
}

// Send implements event.Sink.
func (t *tty) Send(e event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	if e, ok := e.(event.Started); ok {
		t.start(e.Vertex)
		return
	}
	s := t.steps[event.VertexOf(e)]
	if s == nil {
		return
	}
	switch e := e.(type) {
	case event.Executing:
		s.started = t.now()
	case event.Output:
		s.tail.write(t.now().Sub(s.started), e.Data)
	case event.Reason:
		s.note = oneLine("why: " + e.Text)
	case event.Finding:
		s.warnings = append(s.warnings, oneLine(e.Text))
	case event.Progress:
		s.transfers.update(t.now(), e)
	case event.Finished:
		if remark := e.Remark(); remark != "" || e.Status == event.Cached {
			s.note = oneLine(remark)
		}
		t.finish(s, e.Status)
	}
}

func (t *tty) start(v *event.Vertex) {
	s := &ttyStep{step: step{index: len(t.order) + 1}}
	t.steps[v] = s
	t.order = append(t.order, s)
	s.begin(v.Name, t.now())
}

// Close implements Display.
func (t *tty) Close(err error) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	t.closed = true
	for _, s := range t.order {
		if s.running() {
			t.finish(s, closeAs(err).Status)
		}
	}
	t.mu.Unlock()
	close(t.stop)
	<-t.stopped
	t.frame(true)
	for _, s := range t.order {
		if s.status == event.Failed {
			writeTail(t.screen.out, &s.step, tailLines)
		}
	}
}

func (t *tty) finish(s *ttyStep, status event.Status) {
	now := t.now()
	s.end(status, now)
	for _, tr := range s.transfers {
		if tr.ended.IsZero() {
			tr.ended = now // where it stopped: the step may have failed
		}
	}
	if s.status != event.Failed {
		s.tail = tail{}
	}
}

// rows lays out a frame of at most height-1 lines, so that the cursor stays below it.
func (t *tty) rows(width, height int, last bool) []row {
	now := t.now()
	completed, logging := 0, 0
	for _, s := range t.order {
		if !s.running() {
			completed++
		} else if len(s.tail.last(1)) > 0 {
			logging++
		}
	}
	header := fmt.Sprintf("[+] Building %.1fs (%d/%d)", now.Sub(t.began).Seconds(), completed, len(t.order))
	if last {
		header += " FINISHED"
	}
	limit := max(height-2, 0)
	logs := min(t.look.logRows, max(1, limit/2/max(1, logging)))
	var rows []row
	for _, s := range t.order {
		rows = s.rows(rows, width, logs, now, t.look)
	}
	if !last {
		rows = choose(rows, limit)
	}
	return append([]row{{text: header}}, rows...)
}

// rows appends what a step shows: its name, its transfers and, while it runs, the last lines of its output.
func (s *ttyStep) rows(rows []row, width, logs int, now time.Time, l look) []row {
	rows = append(rows, s.row(width, now, l))
	for _, t := range s.transfers {
		r := row{text: " => => " + t.label, right: duration(t.elapsed(now)), rank: rankTransfer}
		if !t.ended.IsZero() {
			r.color, r.rank = l.run, rankDetail
		}
		if size := t.size(); size != "" {
			room := width - ansi.StringWidth(size) - ansi.StringWidth(r.right) - 2
			r.text = ansi.Truncate(r.text, max(room, 12), "") + " " + size
		}
		rows = append(rows, r)
	}
	for _, w := range s.warnings {
		rows = append(rows, row{text: " => WARN: " + w, right: duration(s.elapsed(now)), color: l.warning, rank: rankDetail})
	}
	if !s.running() {
		return rows
	}
	for _, l := range s.tail.last(logs) {
		if strings.TrimSpace(l.text) != "" {
			rows = append(rows, row{text: " => => # " + l.text, color: style.Faint, rank: rankLog})
		}
	}
	return rows
}

func (s *ttyStep) row(width int, now time.Time, l look) row {
	r := row{text: " => " + s.name, right: duration(s.elapsed(now)), color: l.run, rank: rankFinished}
	switch s.status {
	case "":
		r.color, r.rank = style.None, rankRunning
	case event.Cached:
		r.text = " => CACHED " + s.name
	case event.Failed:
		r.text, r.color, r.rank = " => ERROR "+s.name, l.failed, rankRunning
	case event.Canceled:
		r.text, r.color = " => CANCELED "+s.name, l.canceled
	}
	r.text = withNote(r.text, s.note, width-len(r.right)-1)
	return r
}

// withNote puts a remark after a step's name. The remark is what is new, so a long name is cut for it; below 60
// columns there is room for one of them only.
func withNote(text, note string, room int) string {
	if note == "" || room < 60 {
		return text
	}
	note = "  (" + ansi.Truncate(note, room/2, "…") + ")"
	return ansi.Truncate(text, room-ansi.StringWidth(note), "…") + note
}

// duration is a row's time; what is too short to matter is 0.0s.
func duration(d time.Duration) string {
	if d < 50*time.Millisecond {
		d = 0
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}
