package progress

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/strata-build/strata/internal/human/style"
)

// maxLine bounds a line of output that is kept, in bytes; what is longer is broken there. A step that writes
// without ever ending a line must not cost memory.
const maxLine = 4096

// cleaner turns raw output, in pieces of any size, into lines of printable text. It follows what a terminal
// would show (a carriage return starts the line over, a backspace takes a character back) and drops every
// control sequence (ECMA-48, xterm's ctlseqs), whatever its form. What is left has no control characters at all,
// except for colours where keepColor is set.
type cleaner struct {
	keepColor bool

	state cleanerState
	line  []byte
	fresh bool   // a carriage return came: the next character replaces the line
	color bool   // the line has a colour that must be reset
	param []byte // of the CSI sequence under way
	held  []byte // start of a UTF-8 sequence whose rest has not come
}

// CleanText is what a terminal would show in the end of what a step printed: without control sequences, whatever their
// form, and without what was written over.
func CleanText(text string) string {
	var b strings.Builder
	c := cleaner{}
	c.write([]byte(text), func(line string) {
		b.WriteString(line)
		b.WriteByte('\n')
	})
	b.WriteString(c.partial())
	return b.String()
}

type cleanerState byte

const (
	ground  cleanerState = iota
	escape               // after ESC
	charset              // after ESC and an intermediate byte, as in ESC ( B
	csi                  // after ESC [
	text                 // in OSC, DCS, SOS, PM or APC: up to BEL or ST
	textEsc              // in those, after ESC
)

// write takes a piece of output and calls emit for each line that it completes.
func (c *cleaner) write(data []byte, emit func(line string)) {
	for len(data) > 0 {
		if n := c.run(data); n > 0 {
			c.line = append(c.line, data[:n]...)
			c.full(emit)
			data = data[n:]
			continue
		}
		c.put(data[0], emit)
		data = data[1:]
	}
}

// run is how many bytes at the start of data are plain ASCII that the line has room for: nearly all output is,
// and taking it at once is several times faster.
func (c *cleaner) run(data []byte) int {
	if c.state != ground || c.fresh || len(c.held) > 0 {
		return 0
	}
	data = data[:min(len(data), maxLine-len(c.line))]
	for i, b := range data {
		if b < 0x20 || b > 0x7e {
			return i
		}
	}
	return len(data)
}

// partial is the line under way.
func (c *cleaner) partial() string { return c.finished() }

// flush emits the line under way if there is one.
func (c *cleaner) flush(emit func(line string)) {
	if len(c.line) > 0 {
		emit(c.finished())
	}
	c.reset()
}

func (c *cleaner) finished() string {
	if c.color {
		return string(c.line) + style.Reset
	}
	return string(c.line)
}

func (c *cleaner) reset() { c.line, c.fresh, c.color = c.line[:0], false, false }

func (c *cleaner) put(b byte, emit func(string)) {
	// A line's end ends everything, so that a sequence without an end cannot swallow the rest of the output.
	if b == '\n' {
		c.endRune()
		emit(c.finished())
		c.reset()
		c.state = ground
		return
	}
	switch c.state {
	case ground:
		c.ground(b)
	case escape:
		c.escape(b)
	case charset:
		if b < 0x20 || b > 0x2f {
			c.state = ground
		}
	case csi:
		c.csi(b)
	case text:
		switch b {
		case 0x07, 0x18, 0x1a:
			c.state = ground
		case 0x1b:
			c.state = textEsc
		}
	case textEsc:
		if b == '\\' {
			c.state = ground
		} else {
			c.state = escape
			c.escape(b)
		}
	}
	c.full(emit)
}

// full breaks a line that has become too long.
func (c *cleaner) full(emit func(string)) {
	if len(c.line) >= maxLine {
		emit(c.finished())
		c.reset()
	}
}

func (c *cleaner) ground(b byte) {
	if b >= utf8.RuneSelf {
		c.held = append(c.held, b)
		for len(c.held) > 0 && utf8.FullRune(c.held) {
			r, n := utf8.DecodeRune(c.held)
			c.add(r)
			c.held = c.held[:copy(c.held, c.held[n:])]
		}
		return
	}
	c.endRune()
	switch b {
	case 0x1b:
		c.state = escape
	case '\r':
		c.fresh = true
	case '\b':
		if !c.fresh && len(c.line) > 0 && !c.color {
			_, n := utf8.DecodeLastRune(c.line)
			c.line = c.line[:len(c.line)-n]
		}
	case '\t':
		c.add(' ')
		for len(c.line)%8 != 0 {
			c.add(' ')
		}
	default:
		c.add(rune(b))
	}
}

// endRune gives up on a UTF-8 sequence that was cut short.
func (c *cleaner) endRune() {
	for range c.held {
		c.add(utf8.RuneError)
	}
	c.held = c.held[:0]
}

func (c *cleaner) add(r rune) {
	if !printable(r) {
		return
	}
	c.startOver()
	c.line = utf8.AppendRune(c.line, r)
}

func (c *cleaner) startOver() {
	if c.fresh {
		c.reset()
	}
}

func (c *cleaner) escape(b byte) {
	switch {
	case b == '[':
		c.state, c.param = csi, c.param[:0]
	case b == ']' || b == 'P' || b == 'X' || b == '^' || b == '_':
		c.state = text
	case b >= 0x20 && b <= 0x2f:
		c.state = charset
	case b == 0x1b:
	default:
		c.state = ground
	}
}

func (c *cleaner) csi(b byte) {
	switch {
	case b >= 0x20 && b <= 0x3f:
		if len(c.param) < 64 {
			c.param = append(c.param, b)
		}
	case b == 0x1b:
		c.state = escape
	default:
		c.state = ground
		if b == 'm' && c.keepColor {
			c.setColor()
		}
	}
}

// setColor copies an SGR sequence of numbers, the only kind that changes nothing but how text looks.
func (c *cleaner) setColor() {
	for _, p := range c.param {
		if (p < '0' || p > '9') && p != ';' && p != ':' {
			return
		}
	}
	c.startOver()
	c.line = append(append(append(c.line, "\x1b["...), c.param...), 'm')
	c.color = true
}

// printable says whether a character may go to a terminal: no C0 or C1 control, nothing that reorders or breaks
// the line (Unicode's bidirectional controls and separators).
func printable(r rune) bool {
	switch {
	case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x2028, r == 0x2029, r == 0x200e, r == 0x200f, r == 0x061c:
		return false
	}
	return !unicode.IsControl(r)
}

// oneLine makes a name, a note or an error fit for one line of the display.
func oneLine(s string) string {
	if plainASCII(s) {
		return s
	}
	var c cleaner
	var parts []string
	emit := func(l string) { parts = append(parts, strings.TrimSpace(l)) }
	c.write([]byte(strings.ReplaceAll(s, "\t", " ")), emit)
	c.endRune()
	c.flush(emit)
	return strings.TrimSpace(strings.Join(parts, " "))
}

func plainASCII(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
