package explorer

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// detail is what takes the place of the tree: a file, a blame, the keys.
type detail struct {
	title string
	text  []string // its lines, of any length
	wrap  bool     // long lines go on below; those of a file are seen by scrolling sideways
	from  pane     // where to go back to

	lines     []string // as they are shown
	width     int      // for which they were made
	widest    int      // of them, in columns
	top, left int      // the first line and column that is seen
}

// sideways is how far a key scrolls sideways, in columns.
const sideways = 8

func (m *model) showDetail(d detail) {
	d.from = m.focus
	if m.focus == detailPane {
		d.from = m.detail.from
	}
	m.detail, m.focus = d, detailPane
}

// lay makes the lines fit a width.
func (d *detail) lay(width int) {
	if d.width == width {
		return
	}
	d.width, d.lines, d.widest = width, d.text, 0
	if d.wrap {
		d.lines = nil
		for _, l := range d.text {
			d.lines = append(d.lines, wrap(l, width)...)
		}
	}
	for _, l := range d.lines {
		d.widest = max(d.widest, ansi.StringWidth(l))
	}
}

// wrap breaks a line where it has blanks if it can; what goes on below is indented as the line is, and a bit more.
func wrap(line string, width int) []string {
	if ansi.StringWidth(line) <= width {
		return []string{line}
	}
	rest := strings.TrimLeft(line, " ")
	indent := strings.Repeat(" ", min(len(line)-len(rest), width/3))
	inner := max(1, width-len(indent)-2)
	lines := strings.Split(ansi.Wrap(rest, inner, ""), "\n")
	for i := range lines {
		if i > 0 {
			lines[i] = "  " + lines[i]
		}
		lines[i] = indent + lines[i]
	}
	return lines
}

// scroll keeps what is seen within the text.
func (d *detail) scroll(width, height int) {
	d.lay(width)
	d.top = clamp(d.top, 0, max(0, len(d.lines)-height))
	d.left = clamp(d.left, 0, max(0, d.widest-width))
}

// detailKey does what a key means in a detail, and says whether it means something of its own there.
func (m *model) detailKey(name string) bool {
	d := &m.detail
	switch name {
	case "q", "enter", "tab", "shift+tab":
		m.back()
	case "h", "left":
		if d.left == 0 {
			m.back()
		}
		d.left -= sideways
	case "l", "right":
		d.left += sideways
	case "0", "^":
		d.left = 0
	default:
		return false
	}
	return true
}

// draw draws what is seen of the lines.
func (d *detail) draw(width, height int) []string {
	var out []string
	for _, l := range d.lines[d.top:min(len(d.lines), d.top+height)] {
		if d.left > 0 {
			l = ansi.Cut(l, d.left, d.widest)
		}
		out = append(out, fit(" "+l, width))
	}
	return out
}
