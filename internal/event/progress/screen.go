package progress

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/human"

	"github.com/strata-build/strata/internal/human/style"
)

// frameTime is the shortest time between two frames: at most 12 a second.
const frameTime = time.Second / 12

// sizeFunc returns a terminal's columns and rows.
type sizeFunc func() (width, height int)

// fileSize asks the kernel at each call, so that a resize is seen at the next frame.
func fileSize(f human.File) sizeFunc {
	return func() (int, int) {
		ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
		if err != nil || ws.Col == 0 || ws.Row == 0 {
			return 80, 24
		}
		return int(ws.Col), int(ws.Row)
	}
}

// row is one line of the display: text on the left, something short at the right edge.
type row struct {
	text  string
	right string
	color style.Style // BuildKit's: blue for what ended well, red, yellow; none for what runs
	rank  int         // which rows stay when there are too many: the lowest, and of those the last
}

// screen draws rows at the bottom of a terminal and replaces them with the next ones.
type screen struct {
	out    io.Writer
	size   sizeFunc
	color  bool
	widths []int // of the rows drawn last
	width  int   // of the terminal then
}

// draw replaces what was drawn before. A frame is one write, with the cursor hidden and automatic line breaks
// off: a character that the terminal finds wider than we do must not break the count of lines. Lines are erased
// one by one, since tmux takes erasing from the top of the screen for scrolling and keeps every frame.
func (s *screen) draw(rows []row) {
	width, height := s.size()
	var b strings.Builder
	b.WriteString("\x1b[?25l\x1b[?7l")
	if up := s.drawn(width, height); up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", up)
	}
	b.WriteString("\r")
	s.widths, s.width = s.widths[:0], width
	for _, r := range rows {
		line := r.fit(width)
		s.widths = append(s.widths, ansi.StringWidth(line))
		if s.color {
			line = r.color.Paint(line)
		}
		b.WriteString("\x1b[K" + line + "\r\n")
	}
	b.WriteString("\x1b[J\x1b[?7h\x1b[?25h")
	io.WriteString(s.out, b.String())
}

// drawn is how many lines the last frame takes now. Terminals break lines that became too long when they are
// made narrower, and what scrolled off the top cannot be reached.
func (s *screen) drawn(width, height int) int {
	lines := len(s.widths)
	if width < s.width {
		lines = 0
		for _, w := range s.widths {
			lines += max(1, (w+width-1)/width)
		}
	}
	return min(lines, height-1)
}

// fit makes a row as wide as the terminal: the right part at the edge, the left one cut where it must be.
func (r row) fit(width int) string {
	if r.right == "" {
		return ansi.Truncate(r.text, width, "")
	}
	left := width - ansi.StringWidth(r.right) - 1
	if left < 1 {
		return ansi.Truncate(r.text, width, "")
	}
	text := ansi.Truncate(r.text, left, "")
	return text + strings.Repeat(" ", left-ansi.StringWidth(text)+1) + r.right
}

// choose keeps at most limit rows, those of the lowest rank and of these the last, in their order.
func choose(rows []row, limit int) []row {
	drop := len(rows) - limit
	if drop <= 0 {
		return rows
	}
	count := map[int]int{} // rows per rank
	worst := 0
	for _, r := range rows {
		count[r.rank]++
		worst = max(worst, r.rank)
	}
	dropOf := map[int]int{}
	for rank := worst; rank >= 0 && drop > 0; rank-- {
		dropOf[rank] = min(drop, count[rank])
		drop -= dropOf[rank]
	}
	kept := make([]row, 0, max(0, limit))
	for _, r := range rows {
		if dropOf[r.rank] > 0 {
			dropOf[r.rank]--
			continue
		}
		kept = append(kept, r)
	}
	return kept
}
