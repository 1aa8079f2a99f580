package progress

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/human/style"
)

const (
	// holdFloor is for how long a step that prints keeps the others waiting (BuildKit's anti-flicker time).
	holdFloor = 5 * time.Second
	// maxPending bounds, in bytes, what waits of steps that do not have the floor.
	maxPending = 1 << 20
	// heartbeat is after how long without a line one says that a step still runs: CI systems end jobs that are silent for
	// some minutes.
	heartbeat = 30 * time.Second
	// plainTail is how many lines BuildKit repeats of a failed step in plain mode.
	plainTail = 10
)

// plain prints BuildKit's plain format. One step at a time has the floor and prints as things happen; what the
// others have to say waits until it finishes, or they have waited for holdFloor. A step that finishes always
// speaks at once.
type plain struct {
	mu      sync.Mutex
	out     *spool
	clean   bool // out is a terminal: strip control sequences from output
	now     func() time.Time
	steps   map[*event.Vertex]*plainStep
	order   []*plainStep
	floor   *plainStep
	since   time.Time // when the floor was taken
	pending int       // bytes
	spoke   bool
	said    time.Time // when the last line was printed
	closed  bool
	stop    chan struct{}
}

type plainStep struct {
	step
	transfers transfers
	printed   map[*transfer]printedTransfer
	filter    cleaner
	pending   []plainEntry
	waiting   time.Time // since when it has had something to say
	headed    bool      // its name was printed at least once since it started
	open      bool      // the last line that it printed has no end yet
}

// plainEntry is a whole line to print, or output of the step.
type plainEntry struct {
	line string
	log  []byte
	at   time.Duration
}

type printedTransfer struct {
	at      time.Time
	current int64
}

func newPlain(out io.Writer, clean bool, now func() time.Time) *plain {
	p := &plain{out: newSpool(out), clean: clean, now: now, steps: map[*event.Vertex]*plainStep{}, stop: make(chan struct{})}
	go p.watch()
	return p
}

// watch gives the floor to those who have waited too long while nothing else happens, and breaks a long silence.
func (p *plain) watch() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p.mu.Lock()
			p.share()
			p.beat()
			p.mu.Unlock()
		case <-p.stop:
			return
		}
	}
}

// beat says that the step with the floor still runs, and what moves of it, if nothing was printed for a while.
func (p *plain) beat() {
	now, s := p.now(), p.floor
	if p.closed || s == nil || !s.running() || now.Sub(p.said) < heartbeat {
		return
	}
	p.endLine(s)
	line := "still running after " + now.Sub(s.started).Round(time.Second).String()
	for _, t := range s.transfers {
		if size := t.size(); t.ended.IsZero() && size != "" {
			line += ": " + t.label + " " + size
			break
		}
	}
	fmt.Fprintf(p.out, "#%d %s\n", s.index, line)
	p.said = now
}

// Send implements event.Sink.
func (p *plain) Send(e event.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	if e, ok := e.(event.Started); ok {
		p.start(e.Vertex)
		return
	}
	s := p.steps[event.VertexOf(e)]
	if s == nil {
		return
	}
	switch e := e.(type) {
	case event.Executing:
		s.started = p.now()
	case event.Output:
		p.output(s, e.Data)
	case event.Reason:
		p.say(s, plainEntry{line: oneLine("why: " + e.Text)})
	case event.Finding:
		p.say(s, plainEntry{line: "WARN: " + oneLine(e.Text)})
	case event.Progress:
		p.progress(s, e)
	case event.Finished:
		p.finish(s, e)
	}
}

func (p *plain) start(v *event.Vertex) {
	now := p.now()
	s := &plainStep{step: step{index: len(p.order) + 1}, printed: map[*transfer]printedTransfer{}, waiting: now}
	s.filter.keepColor = style.Wanted()
	p.steps[v] = s
	p.order = append(p.order, s)
	s.begin(v.Name, now)
	if p.floor == nil {
		p.speak(s)
	}
}

func (p *plain) output(s *plainStep, data []byte) {
	if len(data) == 0 {
		return
	}
	at := p.now().Sub(s.started)
	s.tail.write(at, data)
	if !p.clean {
		p.say(s, plainEntry{log: bytes.Clone(data), at: at})
		return
	}
	s.filter.write(data, func(line string) { p.say(s, plainEntry{log: []byte(line + "\n"), at: at}) })
}

func (p *plain) progress(s *plainStep, e event.Progress) {
	now := p.now()
	for _, t := range s.transfers.update(now, e) {
		if last, ok := s.printed[t]; ok && t.ended.IsZero() && !worthALine(t, last, now) {
			continue
		}
		s.printed[t] = printedTransfer{now, t.current}
		p.say(s, plainEntry{line: transferLine(t, now)})
	}
}

// Close implements Display.
func (p *plain) Close(err error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	for _, s := range p.order {
		if s.running() {
			p.finish(s, closeAs(err))
		} else if len(s.pending) > 0 {
			p.speak(s)
		}
	}
	for _, s := range p.order {
		if s.status == event.Failed {
			writeTail(p.out, &s.step, plainTail)
		}
	}
	p.closed = true
	close(p.stop)
	p.mu.Unlock()
	p.out.Close()
}

// say prints an entry if its step has the floor or nobody has, else lets it wait.
func (p *plain) say(s *plainStep, e plainEntry) {
	if len(s.pending) == 0 {
		s.waiting = p.now()
	}
	s.pending = append(s.pending, e)
	p.pending += len(e.line) + len(e.log)
	if p.floor == nil || p.floor == s {
		p.speak(s)
		if !s.running() {
			p.release()
		}
	}
	p.share()
}

// share hands the floor on when somebody has waited long enough for it, or too much waits.
func (p *plain) share() {
	if p.floor == nil {
		return
	}
	next := p.longestWaiting()
	if next == nil {
		return
	}
	now := p.now()
	if p.pending > maxPending || now.Sub(p.since) >= holdFloor && now.Sub(next.waiting) >= holdFloor {
		p.speak(next)
		if !next.running() {
			p.release()
		}
	}
}

// longestWaiting is the step without the floor that has had something to say for the longest time.
func (p *plain) longestWaiting() *plainStep {
	var first *plainStep
	for _, s := range p.order {
		quiet := len(s.pending) == 0 && (s.headed || !s.running())
		if s != p.floor && !quiet && (first == nil || s.waiting.Before(first.waiting)) {
			first = s
		}
	}
	return first
}

// speak takes the floor for a step and prints what it has waiting.
func (p *plain) speak(s *plainStep) {
	p.take(s)
	p.said = p.now()
	for _, e := range s.pending {
		p.pending -= len(e.line) + len(e.log)
		if e.log != nil {
			p.log(s, e)
			continue
		}
		p.endLine(s)
		fmt.Fprintf(p.out, "#%d %s\n", s.index, e.line)
	}
	s.pending = nil
}

// log prints output of a step, each line with the seconds since the step began. The end of a line that came
// without one is awaited: its rest follows on the same line if nothing comes between.
func (p *plain) log(s *plainStep, e plainEntry) {
	for line := range bytes.Lines(e.log) {
		if !s.open {
			fmt.Fprintf(p.out, "#%d %s ", s.index, seconds(e.at))
		}
		p.out.Write(line)
		s.open = line[len(line)-1] != '\n'
	}
}

func (p *plain) endLine(s *plainStep) {
	if s.open {
		fmt.Fprintln(p.out)
		s.open = false
	}
}

// take gives a step the floor and prints its heading.
func (p *plain) take(s *plainStep) {
	if p.floor == s && s.headed {
		return
	}
	if p.floor != nil {
		p.endLine(p.floor)
		if p.floor != s {
			fmt.Fprintf(p.out, "#%d ...\n", p.floor.index)
		}
	}
	if p.spoke {
		fmt.Fprintln(p.out)
	}
	fmt.Fprintf(p.out, "#%d %s\n", s.index, s.name)
	p.spoke, s.headed = true, true
	p.floor, p.since = s, p.now()
}

// finish prints how a step ended and passes the floor on.
func (p *plain) finish(s *plainStep, e event.Finished) {
	remark := oneLine(e.Remark())
	if remark != "" && e.Status != event.Cached {
		p.say(s, plainEntry{line: remark})
	}
	now := p.now()
	s.filter.flush(func(line string) {
		s.pending = append(s.pending, plainEntry{log: []byte(line + "\n"), at: now.Sub(s.started)})
		p.pending += len(line) + 1
	})
	s.end(e.Status, now)
	p.speak(s)
	p.endLine(s)
	switch s.status {
	case event.Cached:
		fmt.Fprintf(p.out, "#%d CACHED", s.index)
		if remark != "" {
			fmt.Fprintf(p.out, " (%s)", remark)
		}
		fmt.Fprintln(p.out)
	case event.Failed:
		fmt.Fprintf(p.out, "#%d ERROR: %s\n", s.index, errorText(e.Err))
	case event.Canceled:
		fmt.Fprintf(p.out, "#%d CANCELED\n", s.index)
	default:
		fmt.Fprintf(p.out, "#%d DONE %.1fs\n", s.index, s.elapsed(now).Seconds())
	}
	if s.status != event.Failed {
		s.tail = tail{}
	}
	p.release()
}

// release lets the next step speak that has something to say, if there is one.
func (p *plain) release() {
	p.floor = nil
	if next := p.longestWaiting(); next != nil {
		p.speak(next)
		if !next.running() {
			p.release()
		}
	}
}

// worthALine is BuildKit's rule for progress on a pipe: five per cent more, or five seconds later.
func worthALine(t *transfer, last printedTransfer, now time.Time) bool {
	if t.total > 0 && (t.current-last.current)*20 >= t.total {
		return true
	}
	return now.Sub(last.at) >= holdFloor
}

func transferLine(t *transfer, now time.Time) string {
	line := t.label
	if size := t.size(); size != "" {
		line += " " + size
	}
	if d := t.elapsed(now); d > 10*time.Millisecond {
		line += fmt.Sprintf(" %.1fs", d.Seconds())
	}
	if !t.ended.IsZero() {
		line += " done"
	}
	return line
}
