package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-units"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/human"
)

// Layers prints docker's progress of a pull or push: one line per layer, in place on a terminal; elsewhere one
// line per change of a layer's status. Its methods may be called from many goroutines and do not wait for the
// terminal.
type Layers struct {
	mu       sync.Mutex
	quiet    bool
	lines    *spool // where out is not a terminal
	now      func() time.Time
	said     time.Time // when the last of the lines was printed
	screen   screen
	rows     []*layerRow
	byID     map[string]*layerRow
	changed  bool
	closed   bool
	stop     chan struct{}
	stopped  chan struct{}
	terminal bool
}

// layerRow is a layer's line, or a message between them (its id is "").
type layerRow struct {
	id      string
	status  string
	current int64
	total   int64
}

// NewLayers returns a display on out; a quiet one prints nothing.
func NewLayers(out human.File, quiet bool) *Layers {
	if quiet {
		return &Layers{quiet: true}
	}
	return newLayers(out, human.IsTerminal(out) && os.Getenv("TERM") != "dumb", fileSize(out))
}

func newLayers(out io.Writer, terminal bool, size sizeFunc) *Layers {
	l := &Layers{byID: map[string]*layerRow{}, terminal: terminal, now: time.Now, stop: make(chan struct{}), stopped: make(chan struct{})}
	if !terminal {
		l.lines, l.said = newSpool(out), l.now()
		go l.tick(time.Second, l.beat)
		return l
	}
	l.screen = screen{out: out, size: size}
	go l.tick(frameTime, func() { l.frame(false) })
	return l
}

// Send implements event.Sink: it shows layers on their way and nothing else.
func (l *Layers) Send(e event.Event) {
	if e, ok := e.(event.Layer); ok {
		l.update(e.ID.String(), e.Status, e.Current, e.Total)
	}
}

// update sets a layer's line. id may be a digest and is shown as its first 12 digits. status is docker's text:
// "Pulling fs layer", "Waiting", "Downloading", "Verifying Checksum", "Download complete", "Extracting", "Pull
// complete", "Already exists", "Pushing", "Pushed", "Layer already exists", "Mounted from me/app". current and
// total are bytes, and draw a bar where they are given.
func (l *Layers) update(id, status string, current, total int64) {
	if l.quiet {
		return
	}
	id, status = shortID(oneLine(id)), oneLine(status)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	r := l.byID[id]
	if r == nil {
		r = &layerRow{id: id}
		l.byID[id] = r
		l.rows = append(l.rows, r)
	}
	changed := r.status != status
	r.status, r.current, r.total = status, current, total
	l.changed = true
	if !l.terminal && changed && !r.moving() {
		l.line("%s: %s", id, status)
	}
}

// Message prints a line that belongs to no layer, below those that are there: "Digest: sha256:…".
func (l *Layers) Message(line string) {
	if l.quiet {
		return
	}
	line = oneLine(line)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if !l.terminal {
		l.line("%s", line)
		return
	}
	l.rows = append(l.rows, &layerRow{status: line})
	l.changed = true
}

// Close returns once everything is written.
func (l *Layers) Close() {
	if l.quiet {
		return
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	<-l.stopped
	if !l.terminal {
		l.lines.Close()
		return
	}
	l.frame(true)
}

// line prints a line where there is no terminal. l.mu is held.
func (l *Layers) line(format string, args ...any) {
	fmt.Fprintf(l.lines, format+"\n", args...)
	l.said = l.now()
}

// beat says how far a layer is if nothing was printed for a while: see heartbeat.
func (l *Layers) beat() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.now().Sub(l.said) < heartbeat {
		return
	}
	for _, r := range l.rows {
		if r.moving() {
			l.line("%s: %s %s", r.id, r.status, strings.TrimSpace(r.numbers()))
			return
		}
	}
}

// tick calls do now and then, until the display is closed.
func (l *Layers) tick(every time.Duration, do func()) {
	defer close(l.stopped)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			do()
		case <-l.stop:
			return
		}
	}
}

// frame draws the lines as they are now: all of them at the end, before that as many as fit, those under way
// first.
func (l *Layers) frame(last bool) {
	width, height := l.screen.size()
	l.mu.Lock()
	if len(l.rows) == 0 || !l.changed && !last && width == l.screen.width {
		l.mu.Unlock()
		return
	}
	l.changed = false
	rows := make([]row, 0, len(l.rows))
	for _, r := range l.rows {
		rows = append(rows, r.row(width))
	}
	l.mu.Unlock()
	if !last {
		rows = choose(rows, max(1, height-1))
	}
	l.screen.draw(rows)
}

// moving says that bytes are under way, which gives a bar on a terminal and nothing on a pipe.
func (r *layerRow) moving() bool {
	if r.current <= 0 && r.total <= 0 {
		return false
	}
	switch r.status {
	case event.Downloading, "Extracting", "Pushing", "Compressing", "Loading layer", "Saving layer", "Exporting":
		return true
	}
	return false
}

func (r *layerRow) row(width int) row {
	if r.id == "" {
		return row{text: r.status, rank: rankTransfer}
	}
	text := r.id + ": " + r.status
	if r.moving() {
		return row{text: text + " " + r.bar(width-len(text)-1), rank: rankRunning}
	}
	return row{text: text, rank: rankFinished}
}

// bar is docker's: "[=====>     ]  1.2MB/31MB", up to 50 wide, only the numbers where there is no room for it
// or no total.
func (r *layerRow) bar(room int) string {
	numbers := r.numbers()
	if r.total <= 0 || r.current > r.total {
		return numbers
	}
	cells := min(50, room-len("[>] 999.9MB/999.9MB")-1)
	if cells < 5 {
		return numbers
	}
	full := int(float64(r.current) / float64(r.total) * float64(cells))
	return fmt.Sprintf("[%s>%s] %s", strings.Repeat("=", full), strings.Repeat(" ", cells-full), numbers)
}

// numbers are "   1.2MB/31MB", or what there is of them.
func (r *layerRow) numbers() string {
	if r.total <= 0 || r.current > r.total {
		return fmt.Sprintf("%8v", units.HumanSize(float64(r.current)))
	}
	return fmt.Sprintf("%8v/%v", units.HumanSize(float64(r.current)), units.HumanSize(float64(r.total)))
}

// shortID is the first 12 digits of a digest; what is shorter, or a name, stays as it is.
func shortID(id string) string {
	hex := strings.TrimPrefix(id, "sha256:")
	if len(hex) == 64 {
		return hex[:12]
	}
	return hex
}
