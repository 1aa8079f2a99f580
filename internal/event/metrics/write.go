package metrics

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Form is a text that metrics are written as.
type Form struct {
	// ContentType is its media type in HTTP.
	ContentType string
	open        bool
}

var (
	// OpenMetrics is version 1.0.0 of https://prometheus.io/docs/specs/om/open_metrics_spec/.
	OpenMetrics = Form{"application/openmetrics-text; version=1.0.0; charset=utf-8", true}
	// Text is Prometheus' older form, which node_exporter reads in files:
	// https://prometheus.io/docs/instrumenting/exposition_formats/.
	Text = Form{"text/plain; version=0.0.4; charset=utf-8", false}
)

// Write returns the set as it is now, families in the order in which they were added and rows in that of their labels.
func (s *Set) Write(form Form) []byte {
	s.mu.Lock()
	before := slices.Clone(s.before)
	s.mu.Unlock()
	for _, f := range before {
		f()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &writer{form: form}
	for _, f := range s.families {
		w.family(f)
	}
	if form.open {
		w.WriteString("# EOF\n")
	}
	return w.Bytes()
}

type writer struct {
	bytes.Buffer
	form Form
}

func (w *writer) family(f *family) {
	name, kind := f.name, f.kind
	if !w.form.open {
		// The older form names families as their rows, and has no type for what does not change.
		name += f.suffix()
		if kind == info {
			kind = gauge
		}
	}
	fmt.Fprintf(w, "# TYPE %s %s\n", name, kind)
	if unit := f.unit(); unit != "" && w.form.open {
		fmt.Fprintf(w, "# UNIT %s %s\n", name, unit)
	}
	help := strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	if w.form.open {
		help = escape
	}
	fmt.Fprintf(w, "# HELP %s %s\n", name, help.Replace(f.help))
	for _, key := range slices.Sorted(maps.Keys(f.rows)) {
		r := f.rows[key]
		if f.kind != histogram {
			w.row(f.name+f.suffix(), f.labels, r.values, formatNumber(r.value))
			continue
		}
		var below uint64
		for i, bound := range append(slices.Clone(f.bounds), math.Inf(1)) {
			if i < len(r.buckets) {
				below += r.buckets[i]
			} else {
				below = r.count
			}
			w.row(f.name+"_bucket", append(slices.Clone(f.labels), "le"), append(slices.Clone(r.values), formatNumber(bound)), fmt.Sprint(below))
		}
		w.row(f.name+"_count", f.labels, r.values, fmt.Sprint(r.count))
		w.row(f.name+"_sum", f.labels, r.values, formatNumber(r.value))
	}
}

// suffix is what the names of the family's rows end in.
func (f *family) suffix() string {
	switch f.kind {
	case counter:
		return "_total"
	case info:
		return "_info"
	}
	return ""
}

// unit is the unit that the name ends in, "" if in none.
func (f *family) unit() string {
	for _, unit := range []string{"seconds", "bytes"} {
		if strings.HasSuffix(f.name, "_"+unit) {
			return unit
		}
	}
	return ""
}

func (w *writer) row(name string, labels, values []string, number string) {
	w.WriteString(name)
	for i, l := range labels {
		w.WriteByte("{,"[min(i, 1)])
		fmt.Fprintf(w, `%s="%s"`, l, escape.Replace(strings.ToValidUTF8(values[i], "\uFFFD")))
	}
	if len(labels) > 0 {
		w.WriteByte('}')
	}
	fmt.Fprintf(w, " %s\n", number)
}

// escape is how OpenMetrics writes the values of labels and texts.
var escape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// formatNumber is a number as OpenMetrics recommends for the bounds of buckets, so that 1 and 1.0 are one row: a whole number
// has ".0", infinity is "+Inf".
func formatNumber(v float64) string {
	text := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(text, ".eIN") {
		text += ".0"
	}
	return text
}
