// Package view prints what log, show, diff, blame and du tell of an image: as text for people, in colours where they have
// a terminal, and as JSON for programs.
package view

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/style"
	"github.com/strata-build/strata/internal/image"

	"github.com/opencontainers/go-digest"
)

// Printer is where a view is printed.
type Printer struct {
	// Color allows colours. What they say is said by a sign, too.
	Color bool
	// Width cuts lines that are meant to be one line; 0 cuts none.
	Width int

	w *bufio.Writer
}

// NewPrinter returns a Printer on w. The caller calls Flush.
func NewPrinter(w io.Writer) *Printer { return &Printer{w: bufio.NewWriterSize(w, 64<<10)} }

// Flush writes out what is still to be written.
func (p *Printer) Flush() error { return p.w.Flush() }

// JSON prints v as indented JSON.
func (p *Printer) JSON(v any) error { return human.JSON(p.w, "  ", v) }

// paint gives a text a style, where colours are wanted. The text must hold no control characters of its own.
func (p *Printer) paint(s style.Style, text string) string {
	if !p.Color {
		return text
	}
	return s.Paint(text)
}

func (p *Printer) line(format string, args ...any) {
	fmt.Fprintf(p.w, format, args...)
	p.w.WriteByte('\n')
}

// Line prints a line. Texts of an image must be human.Clean.
func (p *Printer) Line(format string, args ...any) { p.line(format, args...) }

// Paint is paint for those who print elsewhere.
func (p *Printer) Paint(s style.Style, text string) string { return p.paint(s, text) }

// room cuts a text that has used so many columns of its line already.
func (p *Printer) room(used int, text string) string {
	if p.Width <= 0 {
		return text
	}
	return human.Shorten(text, max(p.Width-used, 8))
}

// counts prints "+213 ~2 -0", padded to width columns, with what is not zero in its colour.
func (p *Printer) counts(added, changed, removed, width int) string {
	plain := fmt.Sprintf("+%d ~%d -%d", added, changed, removed)
	paint := func(s style.Style, sign string, n int) string {
		text := fmt.Sprintf("%s%d", sign, n)
		if n == 0 {
			return p.paint(style.Faint, text)
		}
		return p.paint(s, text)
	}
	text := strings.Join([]string{paint(style.Green, "+", added), paint(style.Yellow, "~", changed), paint(style.Red, "-", removed)}, " ")
	return text + strings.Repeat(" ", max(0, width-len(plain)))
}

// decoration is what stands behind an ID in brackets: "(me/app:test, base: python:3.11)".
func (p *Printer) decoration(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return p.paint(style.Yellow, "(") + p.paint(style.Bold.With(style.Cyan), human.Clean(strings.Join(names, ", "))) + p.paint(style.Yellow, ")")
}

func shortID(d digest.Digest) string {
	if d == "" {
		return "-"
	}
	return image.ShortID(d)
}

// since is the age of a row; its time may be missing.
func since(t *time.Time) string {
	if t == nil {
		return human.Since(time.Time{})
	}
	return human.Since(*t)
}

// Signs and colours of the changes that views name.
var (
	signs  = map[string]string{"added": "+", "removed": "-", "changed": "~", "written": "=", "present": "*"}
	colors = map[string]style.Style{"added": style.Green, "removed": style.Red, "changed": style.Yellow, "written": style.Faint}
)

// mark is the sign of a change in its colour, a blank of none.
func (p *Printer) mark(change string) string {
	if change == "" {
		return " "
	}
	return p.tint(change, signs[change])
}
