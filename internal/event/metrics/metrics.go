// Package metrics counts things and shows the counts to Prometheus, and to whatever else reads OpenMetrics.
//
//	m := metrics.New()
//	steps := m.Counter("strata_steps", "Steps, by what became of them.", "outcome")
//	took := m.Histogram("strata_step_duration_seconds", "What a step took.", metrics.Durations)
//	address, err := metrics.Serve(ctx, "localhost:9464", m, nil)
//	…
//	steps.Add(1, "ran")
//	took.Observe(1.25)
//
// A nil Set gives nil metrics, which count nothing: who counts need not know whether somebody reads. Names follow
// https://prometheus.io/docs/practices/naming/: a unit is the last word of a name and a base unit, seconds or bytes.
// Labels are for what has few values, such as outcomes and platforms: each combination is a row that is kept for good.
//
// github.com/prometheus/client_golang is not used: it would bring protobuf's reflection and collectors of its own into
// every start of strata, for what is some hundred lines of text.
package metrics

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Durations are bounds for a histogram of what steps and builds take, in seconds: 10 ms to an hour.
var Durations = []float64{0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600}

// Set is all that a process counts. Several goroutines may use it and its metrics at once.
type Set struct {
	mu       sync.Mutex // of all below, and of the rows of all families
	families []*family
	before   []func()
}

// New returns a Set that holds nothing yet.
func New() *Set { return &Set{} }

// Counter adds a metric that only grows. Its name is without the suffix _total, which its rows get when they are written.
// A name that is in use or not valid is a mistake of the program's and panics, as for the other kinds.
func (s *Set) Counter(name, help string, labels ...string) *Counter {
	if s == nil {
		return nil
	}
	return &Counter{s.add(&family{name: name, help: help, kind: counter, labels: labels})}
}

// Gauge adds a metric that goes up and down.
func (s *Set) Gauge(name, help string, labels ...string) *Gauge {
	if s == nil {
		return nil
	}
	return &Gauge{s.add(&family{name: name, help: help, kind: gauge, labels: labels})}
}

// Histogram adds a metric that counts values by their size. bounds are the largest values of its buckets, in order; a bucket
// for all that is larger is added.
func (s *Set) Histogram(name, help string, bounds []float64, labels ...string) *Histogram {
	if s == nil {
		return nil
	}
	if !slices.IsSorted(bounds) {
		panic("metrics: " + name + ": the bounds of the buckets are not in order")
	}
	return &Histogram{s.add(&family{name: name, help: help, kind: histogram, labels: labels, bounds: bounds})}
}

// Info adds what does not change while the process lives, such as its version, as the labels of a row that is always 1.
// Its name is without the suffix _info.
func (s *Set) Info(name, help string, values map[string]string) {
	if s == nil {
		return
	}
	labels := slices.Sorted(maps.Keys(values))
	f := s.add(&family{name: name, help: help, kind: info, labels: labels})
	var texts []string
	for _, l := range labels {
		texts = append(texts, values[l])
	}
	f.change(texts, func(r *row) { r.value = 1 })
}

// Before has f called each time before the set is written: there gauges are set of what is only known by looking.
func (s *Set) Before(f func()) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = append(s.before, f)
}

func (s *Set) add(f *family) *family {
	if !isName(f.name) || slices.ContainsFunc(f.labels, func(l string) bool { return !isName(l) || l == "le" }) {
		panic("metrics: " + f.name + ": the name or a label is not valid")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.families {
		if other.name == f.name {
			panic("metrics: " + f.name + " is there already")
		}
	}
	f.set, f.rows = s, map[string]*row{}
	if len(f.labels) == 0 {
		f.row(nil) // so that it is shown as 0 before anything is counted
	}
	s.families = append(s.families, f)
	return f
}

// isName says that s can be the name of a metric or label: letters, digits and _, and no digit first. OpenMetrics allows
// colons in the names of metrics too, which are for those that Prometheus derives.
func isName(s string) bool {
	for i, r := range s {
		switch {
		case r == '_', 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z':
		case '0' <= r && r <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}

// Counter is a metric that only grows.
type Counter struct{ family *family }

// Add adds n, which is not negative, to the row with these values of the labels, which are as many as the labels and in
// their order.
func (c *Counter) Add(n float64, values ...string) {
	if c == nil || n < 0 {
		return
	}
	c.family.change(values, func(r *row) { r.value += n })
}

// Gauge is a metric that goes up and down.
type Gauge struct{ family *family }

// Set sets the row with these values of the labels.
func (g *Gauge) Set(to float64, values ...string) {
	if g == nil {
		return
	}
	g.family.change(values, func(r *row) { r.value = to })
}

// Add adds n, which may be negative.
func (g *Gauge) Add(n float64, values ...string) {
	if g == nil {
		return
	}
	g.family.change(values, func(r *row) { r.value += n })
}

// Histogram is a metric that counts values by their size.
type Histogram struct{ family *family }

// Observe counts a value in the row with these values of the labels.
func (h *Histogram) Observe(value float64, values ...string) {
	if h == nil {
		return
	}
	h.family.change(values, func(r *row) {
		r.value += value
		r.count++
		if i, _ := slices.BinarySearch(h.family.bounds, value); i < len(r.buckets) {
			r.buckets[i]++
		}
	})
}

// kind is a type of metric, as its # TYPE line has it.
type kind string

const (
	counter   kind = "counter"
	gauge     kind = "gauge"
	histogram kind = "histogram"
	info      kind = "info"
)

// family is a metric with a row for each combination of its labels' values.
type family struct {
	set        *Set
	name, help string
	kind       kind
	labels     []string
	bounds     []float64 // of a histogram
	rows       map[string]*row
}

// row is a metric with one value for each label.
type row struct {
	values  []string
	value   float64  // of a histogram the sum
	count   uint64   // of a histogram, as all below
	buckets []uint64 // how many values are in each and in no smaller one; those above the last bound are in none
}

func (f *family) change(values []string, by func(*row)) {
	f.set.mu.Lock()
	defer f.set.mu.Unlock()
	by(f.row(values))
}

// row is the row with these values, which is new if nothing was counted there. The set's lock is held.
func (f *family) row(values []string) *row {
	if len(values) != len(f.labels) {
		panic(fmt.Sprintf("metrics: %s: %d values for the labels %q", f.name, len(values), f.labels))
	}
	key := strings.Join(values, "\xff") // which is in no valid UTF-8
	r := f.rows[key]
	if r == nil {
		r = &row{values: slices.Clone(values), buckets: make([]uint64, len(f.bounds))}
		f.rows[key] = r
	}
	return r
}
