// Package human formats and parses what people read and type: tables with Docker's columns and
// spacing, JSON, Go templates with Docker's fields and functions, sizes, ages and durations.
package human

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"
)

// Row is one line of a listing: its columns by name.
type Row map[string]string

// Label is the value of a label in the column Labels, which is NAME=VALUE,NAME=VALUE; for {{.Label "NAME"}} in a
// template. A value may have commas in it.
func (r Row) Label(name string) string {
	var value string
	inside := false
	for part := range strings.SplitSeq(r["Labels"], ",") {
		key, text, isLabel := strings.Cut(part, "=")
		switch {
		case isLabel:
			if inside = key == name; inside {
				value = text
			}
		case inside:
			value += "," + part
		}
	}
	return value
}

// Listing describes a table: its columns and their headers.
type Listing struct {
	// Headers are the headers of all columns that a template can name.
	Headers map[string]string
	// Default are the columns of the table that is printed when no format is asked for.
	Default []string
	// Raw are the lines that the format "raw" prints for each row: a name and a column, "image_id ID". Without any,
	// "raw" is a template like any other text.
	Raw []string
}

// Write prints rows in a format: "" or "table" is the default table, "table TEMPLATE" a table with
// the columns of the template, "json" one object per line; any other format is a template that is
// executed for each row.
func (l Listing) Write(w io.Writer, format string, rows []Row) error {
	b := bufio.NewWriterSize(w, 64<<10) // a table is written cell by cell
	if err := l.write(b, format, rows); err != nil {
		return err
	}
	return b.Flush()
}

func (l Listing) write(w io.Writer, format string, rows []Row) error {
	switch {
	case format == "" || format == "table":
		return l.writeTable(w, rows)
	case format == "json":
		return writeJSON(w, rows)
	case format == "raw" && l.Raw != nil:
		return l.writeRaw(w, rows)
	}
	text, isTable := strings.CutPrefix(format, "table")
	// Shells leave \t and \n in a template as two characters.
	text = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(strings.Trim(text, " "))
	if !isTable {
		t, err := parse(text, functions())
		if err != nil {
			return err
		}
		return l.execute(w, t, rows)
	}
	t, err := parse(text, functions())
	if err != nil {
		return err
	}
	head, err := parse(text, headerFunctions())
	if err != nil {
		return err
	}
	tw := newTable(w)
	if err := l.execute(tw, head, []Row{l.Headers}); err != nil {
		return err
	}
	if err := l.execute(tw, t, rows); err != nil {
		return err
	}
	return tw.Flush()
}

// newTable returns a writer that aligns columns as docker does: at least ten characters wide, three
// blanks between them.
func newTable(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 10, 1, 3, ' ', 0) }

func (l Listing) writeTable(w io.Writer, rows []Row) error {
	tw := newTable(w)
	for _, row := range append([]Row{l.Headers}, rows...) {
		for i, name := range l.Default {
			if i > 0 {
				io.WriteString(tw, "\t")
			}
			io.WriteString(tw, row[name])
		}
		io.WriteString(tw, "\n")
	}
	return tw.Flush()
}

func (l Listing) writeRaw(w io.Writer, rows []Row) error {
	for _, row := range rows {
		for _, line := range l.Raw {
			name, column, _ := strings.Cut(line, " ")
			fmt.Fprintln(w, strings.TrimSpace(name+": "+row[column]))
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
	}
	return nil
}

func writeJSON(w io.Writer, rows []Row) error {
	for _, row := range rows {
		data, err := encode(row)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w, data); err != nil {
			return err
		}
	}
	return nil
}

func encode(v any) (string, error) {
	var b strings.Builder
	err := JSON(&b, "", v)
	return strings.TrimSpace(b.String()), err
}

// parse reads a template for rows, in which a field that no row has is an error.
func parse(text string, functions template.FuncMap) (*template.Template, error) {
	return parseFor("missingkey=error", text, functions)
}

// parseFor reads a template; missing says what a key that a map does not have gives (text/template, Option).
func parseFor(missing, text string, functions template.FuncMap) (*template.Template, error) {
	t, err := template.New("").Option(missing).Funcs(functions).Parse(text)
	if err != nil {
		return nil, &FormatError{Err: err}
	}
	return t, nil
}

func (l Listing) execute(w io.Writer, t *template.Template, rows []Row) error {
	for _, row := range rows {
		if err := t.Execute(w, row); err != nil {
			err = formatError(err)
			if e := (*FormatError)(nil); errors.As(err, &e) {
				e.Fields = slices.Sorted(maps.Keys(row))
			}
			return err
		}
		io.WriteString(w, "\n")
	}
	return nil
}

// FormatError is an error in a --format: it is not a valid template, or names an unknown field.
type FormatError struct {
	Err    error
	Fields []string // of the rows; none where those are not known
}

func (e *FormatError) Error() string {
	text := fmt.Sprintf("--format: %s; it takes a Go template such as '{{.ID}}', or json", strings.TrimPrefix(e.Err.Error(), "template: "))
	if len(e.Fields) > 0 {
		text += "; the fields are " + strings.Join(e.Fields, ", ")
	}
	return text
}

// Unwrap gives the template package's error.
func (e *FormatError) Unwrap() error { return e.Err }

// formatError is the error of executing a template: one of writing is no mistake in the template.
func formatError(err error) error {
	var e template.ExecError
	if errors.As(err, &e) {
		return &FormatError{Err: err}
	}
	return err
}

// Template prints a value through a template with Docker's functions, and a line's end. A key that a map does not
// have, such as a label, is "<no value>", as docker has it.
func Template(w io.Writer, format string, values ...any) error {
	if format == "json" {
		format = "{{json .}}"
	}
	t, err := parseFor("missingkey=default", format, functions())
	if err != nil {
		return err
	}
	for _, v := range values {
		if err := t.Execute(w, v); err != nil {
			return formatError(err)
		}
		if _, err := io.WriteString(w, "\n"); err != nil {
			return err
		}
	}
	return nil
}

// TemplateIndented prints a value through a template as buildx imagetools does: json indents, and no line's end is
// added.
func TemplateIndented(w io.Writer, format string, value any) error {
	f := functions()
	f["json"] = func(v any) (string, error) {
		var b strings.Builder
		err := JSON(&b, "  ", v)
		return strings.TrimSpace(b.String()), err
	}
	t, err := parse(format, f)
	if err != nil {
		return err
	}
	if err := t.Execute(w, value); err != nil {
		return formatError(err)
	}
	return nil
}

// TemplateOfRows prints a value that has rows in it through one template. A column that a row does not have is an
// error, and the end of the last line is added only if the template did not.
func TemplateOfRows(w io.Writer, format string, value any) error {
	if format == "json" {
		format = "{{json .}}"
	}
	t, err := parse(strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(format), functions())
	if err != nil {
		return err
	}
	var b strings.Builder
	if err := t.Execute(&b, value); err != nil {
		return formatError(err)
	}
	if !strings.HasSuffix(b.String(), "\n") {
		b.WriteByte('\n')
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// functions are the template functions of docker (docker/cli templates).
func functions() template.FuncMap {
	return template.FuncMap{
		"json":  encode,
		"split": strings.Split,
		"join":  strings.Join,
		//lint:ignore SA1019 the texts are ASCII
		"title": strings.Title,
		"lower": strings.ToLower,
		"upper": strings.ToUpper,
		"pad": func(s string, before, after int) string {
			if s == "" {
				return s
			}
			return strings.Repeat(" ", min(max(before, 0), 1000)) + s + strings.Repeat(" ", min(max(after, 0), 1000))
		},
		"truncate": func(s string, n int) string { return s[:min(max(n, 0), len(s))] },
	}
}

// headerFunctions replace the functions where a template prints the headers: they do not change
// them.
func headerFunctions() template.FuncMap {
	same := func(s string, _ ...any) string { return s }
	f := functions()
	for _, name := range []string{"json", "split", "join", "title", "lower", "upper", "truncate"} {
		f[name] = same
	}
	return f
}
