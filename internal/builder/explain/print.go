package explain

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
)

// Line says a reason on one line, of a step that runs now.
func (r Reason) Line() string {
	text := human.Clean(r.Text)
	if !r.At.IsZero() {
		text += " " + since(r.At)
	}
	return text
}

// Line says why a step runs on one line: the first reason, and how many more there are.
func Line(reasons []Reason) string {
	switch len(reasons) {
	case 0:
		return ""
	case 1:
		return reasons[0].Line()
	}
	return fmt.Sprintf("%s (+%d)", reasons[0].Line(), len(reasons)-1)
}

// Print writes what became of a build's steps, and why. step limits it to one: the number that progress shows, in
// every stage or, as "stage:2", in one.
func Print(w io.Writer, b *Build, step string) error {
	p := &printer{w: w, b: b}
	if step == "" {
		p.head()
	}
	found := false
	for _, st := range b.Stages {
		for _, s := range st.Steps {
			if step == "" && s.Status == Config || step != "" && !b.matches(st, s, step) {
				continue
			}
			found = true
			p.step(st, s)
		}
	}
	if step != "" && !found {
		return b.noStep(step)
	}
	return p.err
}

// noStep is the error for a step that a person named and the build does not have.
func (b *Build) noStep(step string) error {
	return fmt.Errorf("build %s has no step %s: give the number that progress shows, or STAGE:NUMBER", b.ID, step)
}

// matches says whether a person means a step by text.
func (b *Build) matches(st *Stage, s *Step, text string) bool {
	stage, number, ok := strings.Cut(text, ":")
	if !ok {
		stage, number = "", text
	} else if stage != st.Name && stage != strconv.Itoa(st.Index) {
		return false
	}
	n := s.Number
	if dialect.Of(b.Engine).Output.StepLines {
		n = s.Position
	}
	return n > 0 && strconv.Itoa(n) == number
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	b   *Build
	err error
}

func (p *printer) print(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *printer) head() {
	b := p.b
	p.print("Build %s, %s, took %s: ", b.ID, since(b.Started), Seconds(b.Took))
	if b.Total == 0 {
		p.print("no step needed the cache\n")
	} else {
		p.print("%d of %d steps from the cache, %s saved\n", b.Hits, b.Total, Seconds(b.Saved))
	}
	p.print("  context %s, %s, engine %s\n", human.Clean(b.Context), human.Clean(b.Dockerfile), b.Engine)
	if b.Image != "" {
		p.print("  %s\n", strings.TrimRight("image "+image.ShortID(b.Image)+" "+strings.Join(b.Tags, " "), " "))
	}
	if b.Error != "" {
		p.print("  failed: %s\n", human.Clean(b.Error))
	}
	p.print("\n")
}

func (p *printer) step(st *Stage, s *Step) {
	p.print("%-8s %s\n", s.Status, human.Clean(p.b.Label(st, s)))
	switch s.Status {
	case Hit:
		if s.Read != "" {
			p.detail("%s", s.Read)
		}
		if s.Host != "" {
			p.detail("ran on %s, waited %s", human.Clean(s.Host), Seconds(s.Waited))
			break
		}
		p.detail("%s; saved %s", s.Recorded(), Seconds(s.Took))
	case Ran, Failed:
		text := "took " + Seconds(s.Took)
		if s.Host != "" {
			text += " on " + human.Clean(s.Host)
		}
		if s.Source != "" {
			text += ", fetched " + human.Clean(s.Source)
		}
		p.detail("%s", text)
	}
	for _, r := range s.Reasons {
		p.reason(r)
	}
}

// Recorded says when and where the record was made that a step came from.
func (s *Step) Recorded() string {
	text := "recorded " + since(s.Made) + " on this machine"
	if s.Origin != "" {
		text = "recorded " + since(s.Made) + ", from " + human.Clean(s.Origin)
	}
	switch {
	case s.Source != "":
		text += ", fetched " + human.Clean(s.Source)
	case s.Fetches != "":
		text += ", fetches from the network (" + s.Fetches + ")"
	}
	return text
}

func (p *printer) detail(format string, args ...any) {
	p.print("         "+format+"\n", args...)
}

func (p *printer) reason(r Reason) {
	switch {
	case len(r.Files) > 0:
		p.files(r)
	case r.Kind == BaseImage && strings.HasPrefix(r.Before, "sha256:"):
		p.detail("why: %s", human.Clean(r.Text))
		p.detail("  was %s", r.Before)
		p.detail("  is  %s", r.After)
	default:
		p.detail("why: %s", r.Line())
	}
}

func (p *printer) files(r Reason) {
	for i, f := range r.Files {
		lead := "     "
		if i == 0 {
			lead = "why: "
		}
		text := human.Clean(f.place()) + " " + f.Change
		if f.Detail != "" {
			text += ": " + human.Clean(f.Detail)
		}
		if len(f.Lines) > 0 {
			text += fmt.Sprintf(", line %d", f.Line)
		}
		p.detail("%s%s", lead, text)
		for _, l := range f.Lines {
			p.detail("       %s", human.Clean(l))
		}
	}
	if r.More > 0 {
		p.detail("     and %d more", r.More)
	}
}

// since is human.Since inside a sentence.
func since(t time.Time) string {
	text := human.Since(t)
	return strings.ToLower(text[:1]) + text[1:]
}

// Seconds formats milliseconds.
func Seconds(n int64) string {
	d := ms(n)
	switch {
	case d < time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}
