package progress

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// holdFloor is for how long a step that prints keeps the others waiting (BuildKit's anti-flicker time).
	holdFloor = 5 * time.Second
	// maxPending bounds, in bytes, what waits of steps that do not have the floor.
	maxPending = 1 << 20
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
	steps   map[int]*plainStep
	order   []*plainStep
	floor   *plainStep
	since   time.Time // when the floor was taken
	pending int       // bytes
	spoke   bool
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
	remark    string    // beside CACHED
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
	p := &plain{out: newSpool(out), clean: clean, now: now, steps: map[int]*plainStep{}, stop: make(chan struct{})}
	go p.watch()
	return p
}

// watch gives the floor to those who have waited too long while nothing else happens.
func (p *plain) watch() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p.mu.Lock()
			p.share()
			p.mu.Unlock()
		case <-p.stop:
			return
		}
	}
}

func (p *plain) Start(id int, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	s := p.steps[id]
	if s == nil {
		s = &plainStep{step: step{index: len(p.order) + 1}, printed: map[*transfer]printedTransfer{}}
		s.filter.keepColor = useColor()
		p.steps[id] = s
		p.order = append(p.order, s)
	}
	now := p.now()
	s.begin(name, now)
	s.headed, s.waiting = false, now
	if p.floor == nil {
		p.speak(s)
	}
}

func (p *plain) Log(id int, stream int, data []byte) {
	if len(data) == 0 {
		return
	}
	p.with(id, func(s *plainStep) {
		at := p.now().Sub(s.started)
		s.tail.write(at, data)
		if !p.clean {
			p.say(s, plainEntry{log: bytes.Clone(data), at: at})
			return
		}
		s.filter.write(data, func(line string) { p.say(s, plainEntry{log: []byte(line + "\n"), at: at}) })
	})
}

func (p *plain) Note(id int, text string) {
	p.with(id, func(s *plainStep) { p.say(s, plainEntry{line: oneLine(text)}) })
}

func (p *plain) Warn(id int, w Warning) {
	p.with(id, func(s *plainStep) { p.say(s, plainEntry{line: "WARN: " + oneLine(w.Short)}) })
}

func (p *plain) Transfer(id int, item string, current, total int64, status string) {
	p.with(id, func(s *plainStep) {
		now := p.now()
		for _, t := range s.transfers.update(now, item, current, total, status) {
			if last, ok := s.printed[t]; ok && t.ended.IsZero() && !worthALine(t, last, now) {
				continue
			}
			s.printed[t] = printedTransfer{now, t.current}
			p.say(s, plainEntry{line: transferLine(t, now)})
		}
	})
}

func (p *plain) Finish(id int, status Status, err error) {
	p.with(id, func(s *plainStep) { p.finish(s, status, err) })
}

func (p *plain) Cached(id int, remark string) {
	p.with(id, func(s *plainStep) {
		s.remark = oneLine(remark)
		p.finish(s, Cached, nil)
	})
}

func (p *plain) Close(err error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	for _, s := range p.order {
		if s.status == Started {
			p.finish(s, closeAs(err), nil)
		} else if len(s.pending) > 0 {
			p.speak(s)
		}
	}
	for _, s := range p.order {
		if s.status == Failed {
			writeTail(p.out, &s.step, plainTail)
		}
	}
	p.closed = true
	close(p.stop)
	p.mu.Unlock()
	p.out.Close()
}

func (p *plain) with(id int, do func(*plainStep)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.steps[id]; s != nil && !p.closed {
		do(s)
	}
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
		if s.status != Started {
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
		if next.status != Started {
			p.release()
		}
	}
}

// longestWaiting is the step without the floor that has had something to say for the longest time.
func (p *plain) longestWaiting() *plainStep {
	var first *plainStep
	for _, s := range p.order {
		quiet := len(s.pending) == 0 && (s.headed || s.status != Started)
		if s != p.floor && !quiet && (first == nil || s.waiting.Before(first.waiting)) {
			first = s
		}
	}
	return first
}

// speak takes the floor for a step and prints what it has waiting.
func (p *plain) speak(s *plainStep) {
	p.take(s)
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
func (p *plain) finish(s *plainStep, status Status, err error) {
	now := p.now()
	s.filter.flush(func(line string) {
		s.pending = append(s.pending, plainEntry{log: []byte(line + "\n"), at: now.Sub(s.started)})
		p.pending += len(line) + 1
	})
	s.end(status, now)
	p.speak(s)
	p.endLine(s)
	switch s.status {
	case Cached:
		fmt.Fprintf(p.out, "#%d CACHED", s.index)
		if s.remark != "" {
			fmt.Fprintf(p.out, " (%s)", s.remark)
		}
		fmt.Fprintln(p.out)
	case Failed:
		fmt.Fprintf(p.out, "#%d ERROR: %s\n", s.index, errorText(err))
	case Canceled:
		fmt.Fprintf(p.out, "#%d CANCELED\n", s.index)
	default:
		fmt.Fprintf(p.out, "#%d DONE %.1fs\n", s.index, s.elapsed(now).Seconds())
	}
	if s.status != Failed {
		s.tail = tail{}
	}
	p.release()
}

// release lets the next step speak that has something to say, if there is one.
func (p *plain) release() {
	p.floor = nil
	if next := p.longestWaiting(); next != nil {
		p.speak(next)
		if next.status != Started {
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
