package bake

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/docker/buildx/bake/hclparser"
	"github.com/tonistiigi/go-csvvalue"
)

// List is what --list asks for: targets or variables, as a table or as JSON.
type List struct {
	Variables bool
	JSON      bool
}

// ParseList reads targets, variables, or type=targets,format=json.
func ParseList(text string) (l List, err error) {
	fields, err := csvvalue.Fields(text, nil)
	if err != nil {
		return l, err
	}
	if len(fields) == 1 && !strings.Contains(text, "=") {
		fields[0] = "type=" + fields[0]
	}
	kind := ""
	for _, field := range fields {
		name, value, _ := strings.Cut(field, "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "type":
			kind = value
		case "format":
			if value != "table" && value != "json" {
				return l, fmt.Errorf("format=%s: it is table or json", value)
			}
			l.JSON = value == "json"
		default:
			return l, fmt.Errorf("%s: it takes type and format", field)
		}
	}
	if kind != "targets" && kind != "variables" {
		return l, fmt.Errorf("%q: it is targets or variables", kind)
	}
	l.Variables = kind == "variables"
	return l, nil
}

// listed is a row of --list targets.
type listed struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Group       bool   `json:"group,omitempty"`
}

// Write lists what is asked for in the form that buildx has.
func (l List) Write(w io.Writer, c *Config) error {
	if l.Variables {
		return l.write(w, c.variables(), "VARIABLE\tTYPE\tVALUE\tDESCRIPTION", func(row io.Writer) {
			for _, v := range c.variables() {
				value := "<null>"
				if v.Value != nil {
					value = *v.Value
				}
				fmt.Fprintf(row, "%s\t%s\t%s\t%s\n", v.Name, v.Type, value, v.Description)
			}
		})
	}
	return l.write(w, c.listed(), "TARGET\tDESCRIPTION", func(row io.Writer) {
		for _, t := range c.listed() {
			fmt.Fprintf(row, "%s\t%s\n", t.Name, t.Description)
		}
	})
}

func (l List) write(w io.Writer, all any, heading string, rows func(io.Writer)) error {
	if l.JSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(all)
	}
	table := tabwriter.NewWriter(w, 1, 8, 1, '\t', 0)
	fmt.Fprintln(table, heading)
	rows(table)
	return table.Flush()
}

func (c *Config) variables() []*hclparser.Variable {
	return slices.SortedFunc(slices.Values(c.Variables), func(a, b *hclparser.Variable) int { return cmp.Compare(a.Name, b.Name) })
}

// listed are targets and groups by name, without those whose name begins with _, which are for others to inherit from.
func (c *Config) listed() []listed {
	var all []listed
	for _, t := range c.Targets {
		all = append(all, listed{Name: t.Name, Description: t.Description})
	}
	for _, g := range c.Groups {
		members := strings.Join(slices.Sorted(slices.Values(g.Targets)), ", ")
		if g.Description != "" && members != "" {
			members = g.Description + " (" + members + ")"
		}
		all = append(all, listed{Name: g.Name, Description: cmp.Or(members, g.Description), Group: true})
	}
	all = slices.DeleteFunc(all, func(l listed) bool { return strings.HasPrefix(l.Name, "_") })
	slices.SortStableFunc(all, func(a, b listed) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
