package subrequest

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/strata-build/strata/internal/builder/dockerfile"
)

// Findings is the answer of check: BuildKit's lint.LintResults. Its sources have no definition, since there is no build
// graph to take one from.
type Findings struct {
	Warnings []Finding `json:"warnings"`
	Sources  []Source  `json:"sources"`
	Error    *Failure  `json:"buildError,omitempty"`

	shown string // the path of the Dockerfile in texts
}

// Finding is what one rule found at one place.
type Finding struct {
	Rule        string    `json:"ruleName"`
	Description string    `json:"description,omitempty"`
	URL         string    `json:"url,omitempty"`
	Detail      string    `json:"detail,omitempty"`
	Location    *Location `json:"location,omitempty"`
}

// Source is a Dockerfile that was looked at.
type Source struct {
	Filename string `json:"filename,omitempty"`
	Data     []byte `json:"data,omitempty"`
	Language string `json:"language,omitempty"`
}

// Failure is why the file could not be built.
type Failure struct {
	Message  string   `json:"message"`
	Location Location `json:"location"`
}

// NewFindings makes the answer of what the rules found in a Dockerfile. As in buildx, texts have its path as it was given,
// JSON its name. failure is what kept it from being looked at to
// the end, nil if nothing did.
func NewFindings(name string, source []byte, found []dockerfile.Warning, failure error) *Findings {
	f := &Findings{shown: name, Sources: []Source{{Filename: filepath.Base(name), Data: source, Language: "Dockerfile"}}}
	for _, w := range found {
		if w.Rule == "" {
			continue
		}
		f.Warnings = append(f.Warnings, Finding{
			Rule: w.Rule, Description: w.Description, URL: w.URL, Detail: w.Message, Location: &Location{Ranges: w.Ranges},
		})
	}
	if failure == nil {
		return f
	}
	f.Error = &Failure{Message: failure.Error()}
	var located *dockerfile.Error
	if errors.As(failure, &located) {
		f.Error.Message = located.Err.Error()
		for line := located.Line; line > 0 && line <= located.EndLine; line++ {
			at := dockerfile.Position{Line: line}
			f.Error.Location.Ranges = append(f.Error.Location.Ranges, dockerfile.Range{Start: at, End: at})
		}
	}
	return f
}

// Clean says that nothing was found and nothing failed: check's exit code is 0.
func (f *Findings) Clean() bool { return len(f.Warnings) == 0 && f.Error == nil }

// WriteJSON writes the findings in the order in which they were made.
func (f *Findings) WriteJSON(w io.Writer) error { return writeJSON(w, f) }

// Write writes what was found, from the first line to the last, each with its lines, as buildx prints it. A failure is
// not among it: WriteFailure.
func (f *Findings) Write(w io.Writer) error {
	switch n := len(f.Warnings); {
	case n == 1:
		fmt.Fprintln(w, "Check complete, 1 warning has been found!")
	case n > 1:
		fmt.Fprintf(w, "Check complete, %d warnings have been found!\n", n)
	case f.Error == nil:
		fmt.Fprintln(w, "Check complete, no warnings found.")
	}
	sorted := slices.Clone(f.Warnings)
	slices.SortStableFunc(sorted, func(a, b Finding) int { return cmp.Compare(a.Location.line(), b.Location.line()) })
	for _, found := range sorted {
		fmt.Fprintf(w, "\nWARNING: %s", found.Rule)
		if found.URL != "" {
			fmt.Fprintf(w, " - %s", found.URL)
		}
		if _, err := fmt.Fprintf(w, "\n%s\n%s", found.Detail, f.excerpt(*found.Location)); err != nil {
			return err
		}
	}
	return nil
}

// WriteDetails writes what the rules want, where they are documented, and the lines, as buildx does after a build.
func (f *Findings) WriteDetails(w io.Writer) error {
	for _, found := range f.Warnings {
		fmt.Fprintln(w, found.Description)
		if found.URL != "" {
			fmt.Fprintf(w, "More info: %s\n", found.URL)
		}
		if _, err := fmt.Fprintf(w, "%s\n", f.excerpt(*found.Location)); err != nil {
			return err
		}
	}
	return nil
}

// WriteFailure writes why the file could not be looked at to the end, with its lines, as a build does.
func (f *Findings) WriteFailure(w io.Writer) error {
	if f.Error == nil {
		return nil
	}
	_, err := fmt.Fprintf(w, "%sstrata: %s\n", f.excerpt(f.Error.Location), f.Error.text(f.shown))
	return err
}

// text is the failure on one line, with its place.
func (f *Failure) text(name string) string {
	if at := f.Location.line(); at > 0 {
		return fmt.Sprintf("%s:%d: %s", name, at, f.Message)
	}
	return fmt.Sprintf("%s: %s", name, f.Message)
}

// excerpt shows the lines of a place and their neighbours.
func (f *Findings) excerpt(at Location) string {
	e := &dockerfile.Error{File: f.shown, Source: f.Sources[0].Data}
	for _, r := range at.Ranges {
		if e.Line == 0 || r.Start.Line < e.Line {
			e.Line = r.Start.Line
		}
		e.EndLine = max(e.EndLine, r.End.Line, r.Start.Line)
	}
	return e.Excerpt()
}
