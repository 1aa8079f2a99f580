// Command picture turns a terminal's screen, with its colours as `tmux capture-pane -e` prints them, into an SVG picture.
//
//	tmux capture-pane -e -p | go run ./docs/pictures >screen.svg
package main

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"os"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// A character's cell, and the room around the screen, in pixels.
const (
	cellWidth  = 8.4
	cellHeight = 18
	margin     = 12
)

// style is how a character is painted.
type style struct {
	bold, faint, reverse bool
	color                string
}

// colors are those of the SGR parameters 30 to 37, on a dark ground.
var colors = map[string]string{
	"31": "#f47067", "32": "#8ddb8c", "33": "#f69d50", "34": "#6cb6ff", "35": "#dcbdfb", "36": "#76e3ea",
}

const (
	ground = "#1c2128"
	text   = "#cdd9e5"
)

func main() {
	in, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = draw(os.Stdout, strings.Split(strings.TrimRight(string(in), "\n"), "\n"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func draw(out io.Writer, lines []string) error {
	width := 0
	for _, l := range lines {
		width = max(width, ansi.StringWidth(l))
	}
	w := bufio.NewWriter(out)
	fullWidth, fullHeight := float64(width)*cellWidth+2*margin, float64(len(lines)*cellHeight+2*margin)
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%[1]v" height="%[2]v" font-family="ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="14">`+"\n", fullWidth, fullHeight)
	fmt.Fprintf(w, `<rect width="100%%" height="100%%" rx="8" fill="%s"/>`+"\n", ground)
	var s style
	for y, l := range lines {
		s = line(w, l, y, s)
	}
	fmt.Fprintln(w, "</svg>")
	return w.Flush()
}

// line draws a line, run by run of one style, and returns the style that the next one begins with.
func line(w io.Writer, l string, y int, s style) style {
	x := 0
	for l != "" {
		if rest, ok := strings.CutPrefix(l, "\x1b["); ok {
			parameters, after, _ := strings.Cut(rest, "m")
			s, l = s.apply(parameters), after
			continue
		}
		run, rest := l, ""
		if i := strings.IndexByte(l, 0x1b); i >= 0 {
			run, rest = l[:i], l[i:]
		}
		n := ansi.StringWidth(run)
		s.draw(w, run, x, y, n)
		x, l = x+n, rest
	}
	return s
}

func (s style) draw(w io.Writer, run string, x, y, n int) {
	fill, back := s.color, ""
	if fill == "" {
		fill = text
	}
	if s.reverse {
		fill, back = ground, fill
	}
	left, top := margin+float64(x)*cellWidth, margin+y*cellHeight
	if back != "" {
		fmt.Fprintf(w, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", left, top, float64(n)*cellWidth, cellHeight, back)
	}
	if strings.TrimSpace(run) == "" {
		return
	}
	attributes := ""
	if s.bold {
		attributes += ` font-weight="bold"`
	}
	if s.faint {
		attributes += ` opacity="0.55"`
	}
	fmt.Fprintf(w, `<text x="%.1f" y="%d" fill="%s" textLength="%.1f" lengthAdjust="spacingAndGlyphs" xml:space="preserve"%s>%s</text>`+"\n",
		left, top+14, fill, float64(n)*cellWidth, attributes, html.EscapeString(run))
}

// apply is the style after an SGR sequence.
func (s style) apply(parameters string) style {
	for p := range strings.SplitSeq(parameters, ";") {
		switch p {
		case "", "0":
			s = style{}
		case "1":
			s.bold = true
		case "2":
			s.faint = true
		case "7":
			s.reverse = true
		case "22":
			s.bold, s.faint = false, false
		case "27":
			s.reverse = false
		case "39":
			s.color = ""
		default:
			if c, ok := colors[p]; ok {
				s.color = c
			}
		}
	}
	return s
}
