package progress

import "time"

// tailLines is how many of a step's last lines are kept, to be shown if it fails.
const tailLines = 50

// logLine is a line of a step's output and when it came, since the step began.
type logLine struct {
	at   time.Duration
	text string
}

// tail keeps the last lines of a step's output, cleaned: at most tailLines × maxLine bytes.
type tail struct {
	clean cleaner
	ring  []logLine
	next  int // where the ring goes on once it is full
	at    time.Duration
}

// write takes raw output that came at the time given, since the step began.
func (t *tail) write(at time.Duration, data []byte) {
	t.at = at
	t.clean.write(data, func(text string) {
		l := logLine{at, text}
		if len(t.ring) < tailLines {
			t.ring = append(t.ring, l)
			return
		}
		t.ring[t.next] = l
		t.next = (t.next + 1) % tailLines
	})
}

// last returns up to n of the newest lines, oldest first, the one under way included.
func (t *tail) last(n int) []logLine {
	lines := make([]logLine, 0, len(t.ring)+1)
	lines = append(append(lines, t.ring[t.next:]...), t.ring[:t.next]...)
	if p := t.clean.partial(); p != "" {
		lines = append(lines, logLine{t.at, p})
	}
	return lines[max(0, len(lines)-n):]
}
