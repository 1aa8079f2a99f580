package progress

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// vt is a terminal small enough to be obviously right: it knows the sequences that screen uses and notes every
// other as an error. Lines that are too long break unless that was switched off.
type vt struct {
	mu         sync.Mutex
	w, h       int
	scrollback []string
	lines      [][]string // cells
	x, y       int
	wrap       bool
	hidden     bool
	frames     int
	bad        []string
}

func newVT(w, h int) *vt {
	v := &vt{w: w, h: h, wrap: true}
	for range h {
		v.lines = append(v.lines, nil)
	}
	return v
}

func (v *vt) size() (int, int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.w, v.h
}

func (v *vt) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.frames++
	s := string(p)
	for s != "" {
		switch {
		case strings.HasPrefix(s, "\x1b["):
			n := strings.IndexFunc(s[2:], func(r rune) bool { return r >= 0x40 && r <= 0x7e })
			v.csi(s[2:2+n], s[2+n])
			s = s[3+n:]
			continue
		case s[0] == '\r':
			v.x = 0
		case s[0] == '\n':
			v.x = 0 // the tty's onlcr
			v.down()
		case s[0] < 0x20 || s[0] == 0x7f:
			v.bad = append(v.bad, fmt.Sprintf("control %q", s[0]))
		default:
			r, n := utf8.DecodeRuneInString(s)
			v.put(r)
			s = s[n:]
			continue
		}
		s = s[1:]
	}
	return len(p), nil
}

func (v *vt) put(r rune) {
	width := ansi.StringWidth(string(r))
	if width == 0 {
		return
	}
	if v.x+width > v.w {
		if !v.wrap {
			return
		}
		v.x = 0
		v.down()
	}
	for len(v.lines[v.y]) < v.x+width {
		v.lines[v.y] = append(v.lines[v.y], " ")
	}
	v.lines[v.y][v.x] = string(r)
	if width == 2 {
		v.lines[v.y][v.x+1] = ""
	}
	v.x += width
}

func (v *vt) down() {
	if v.y++; v.y == v.h {
		v.scrollback = append(v.scrollback, strings.Join(v.lines[0], ""))
		v.lines = append(v.lines[1:], nil)
		v.y--
	}
}

func (v *vt) csi(param string, final byte) {
	switch {
	case final == 'A':
		n, _ := strconv.Atoi(param)
		if n > v.y {
			v.bad = append(v.bad, fmt.Sprintf("up %d from line %d", n, v.y))
			n = v.y
		}
		v.y -= n
	case final == 'J' && param == "":
		if v.x == 0 && v.y == 0 {
			v.bad = append(v.bad, "erasing all of the screen")
		}
		v.lines[v.y] = v.lines[v.y][:min(v.x, len(v.lines[v.y]))]
		for i := v.y + 1; i < v.h; i++ {
			v.lines[i] = nil
		}
	case final == 'K' && param == "":
		v.lines[v.y] = v.lines[v.y][:min(v.x, len(v.lines[v.y]))]
	case param == "?7" && (final == 'h' || final == 'l'):
		v.wrap = final == 'h'
	case param == "?25" && (final == 'h' || final == 'l'):
		v.hidden = final == 'l'
	case final == 'm':
	default:
		v.bad = append(v.bad, "CSI "+param+string(final))
	}
}

// resize makes the terminal narrower or wider and breaks the lines that no longer fit, as most terminals do.
func (v *vt) resize(w, h int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all [][]string
	for _, l := range v.lines[:v.y] {
		for len(l) > w {
			all, l = append(all, slices.Clip(l[:w])), l[w:]
		}
		all = append(all, l)
	}
	all = append(all, v.lines[v.y])
	for len(all) > h {
		v.scrollback = append(v.scrollback, strings.Join(all[0], ""))
		all = all[1:]
	}
	v.y = len(all) - 1
	for len(all) < h {
		all = append(all, nil)
	}
	v.w, v.h, v.lines = w, h, all
}

// screen is what is to be seen, without blank lines at the end.
func (v *vt) screen() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var b strings.Builder
	for _, l := range v.lines {
		b.WriteString(strings.TrimRight(strings.Join(l, ""), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}
