package subrequest

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/strata-build/strata/internal/builder/dockerfile"
)

// TargetOutline is the answer of outline: BuildKit's outline.Outline, what a target can be given.
type TargetOutline struct {
	Name        string     `json:"name,omitempty"`
	Description string     `json:"description,omitempty"`
	Args        []Arg      `json:"args,omitempty"`
	Secrets     []Required `json:"secrets,omitempty"`
	SSH         []Required `json:"ssh,omitempty"`
	Sources     [][]byte   `json:"sources,omitempty"`
}

// Arg is a build argument that the target uses.
type Arg struct {
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Value       string    `json:"value,omitempty"`
	Location    *Location `json:"location,omitempty"`
}

// Required is a secret or an ssh agent that the target mounts.
type Required struct {
	Name     string    `json:"name"`
	Required bool      `json:"required,omitempty"`
	Location *Location `json:"location,omitempty"`
}

// NewOutline makes the answer of a plan whose stages were all walked.
func NewOutline(source []byte, o *dockerfile.Outline) *TargetOutline {
	out := &TargetOutline{Name: o.Name, Description: o.Description, Sources: [][]byte{source}}
	for _, a := range o.Args {
		out.Args = append(out.Args, Arg{Name: a.Name, Description: a.Description, Value: a.Value, Location: location(a.Ranges)})
	}
	for _, s := range o.Secrets {
		out.Secrets = append(out.Secrets, Required{Name: s.Name, Required: s.Required, Location: location(s.Ranges)})
	}
	for _, s := range o.SSH {
		out.SSH = append(out.SSH, Required{Name: s.Name, Required: s.Required, Location: location(s.Ranges)})
	}
	return out
}

// WriteJSON writes the outline as JSON.
func (o *TargetOutline) WriteJSON(w io.Writer) error { return writeJSON(w, o) }

// Write writes the outline as tables, of what there is.
func (o *TargetOutline) Write(w io.Writer) error {
	if o.Name != "" || o.Description != "" {
		tw := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
		name := o.Name
		if name == "" {
			name = "(default)"
		}
		fmt.Fprintf(tw, "TARGET:\t%s\n", name)
		if o.Description != "" {
			fmt.Fprintf(tw, "DESCRIPTION:\t%s\n", o.Description)
		}
		tw.Flush()
		fmt.Fprintln(w)
	}
	if len(o.Args) > 0 {
		tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
		fmt.Fprint(tw, "BUILD ARG\tVALUE\tDESCRIPTION\n")
		for _, a := range o.Args {
			fmt.Fprintf(tw, "%s\t%s\t%s\n", a.Name, a.Value, a.Description)
		}
		tw.Flush()
		fmt.Fprintln(w)
	}
	writeRequired(w, "SECRET", o.Secrets)
	writeRequired(w, "SSH", o.SSH)
	return nil
}

func writeRequired(w io.Writer, title string, list []Required) {
	if len(list) == 0 {
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(tw, "%s\tREQUIRED\n", title)
	for _, r := range list {
		required := ""
		if r.Required {
			required = "true"
		}
		fmt.Fprintf(tw, "%s\t%s\n", r.Name, required)
	}
	tw.Flush()
	fmt.Fprintln(w)
}
