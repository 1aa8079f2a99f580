package subrequest

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/strata-build/strata/internal/builder/dockerfile"
)

// TargetList is the answer of targets: BuildKit's targets.List.
type TargetList struct {
	Targets []Target `json:"targets"`
	Sources [][]byte `json:"sources"`
}

// Target is a stage that can be built.
type Target struct {
	Name        string    `json:"name,omitempty"`
	Default     bool      `json:"default,omitempty"`
	Description string    `json:"description,omitempty"`
	Base        string    `json:"base,omitempty"`
	Platform    string    `json:"platform,omitempty"`
	Location    *Location `json:"location,omitempty"`
}

// NewTargetList lists the stages of a Dockerfile.
func NewTargetList(f *dockerfile.File) *TargetList {
	l := &TargetList{Sources: [][]byte{f.Source}}
	for _, t := range f.Targets() {
		l.Targets = append(l.Targets, Target{
			Name: t.Name, Default: t.Default, Description: t.Description, Base: t.Base, Platform: t.Platform,
			Location: location(t.Ranges),
		})
	}
	return l
}

// WriteJSON writes the list as JSON.
func (l *TargetList) WriteJSON(w io.Writer) error { return writeJSON(w, l) }

// Write writes the list as a table.
func (l *TargetList) Write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprint(tw, "TARGET\tDESCRIPTION\n")
	for _, t := range l.Targets {
		name := t.Name
		switch {
		case name == "" && t.Default:
			name = "(default)"
		case t.Default:
			name += " (default)"
		}
		fmt.Fprintf(tw, "%s\t%s\n", name, t.Description)
	}
	return tw.Flush()
}
