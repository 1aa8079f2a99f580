package main

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// results has all measurements by scenario and builder.
type results map[string][]measurement

func key(s *scenario, b builder) string { return s.name + "\x00" + b.name() }

func (r results) add(s *scenario, b builder, m measurement) {
	r[key(s, b)] = append(r[key(s, b)], m)
}

// fail notes that a builder failed at a row.
func (r results) fail(s *scenario, b builder) { r[failedKey(s, b)] = []measurement{} }

func (r results) failed(s *scenario, b builder) bool { return r[failedKey(s, b)] != nil }

func failedKey(s *scenario, b builder) string { return key(s, b) + "\x00failed" }

// addLimit measures the limit of a scenario.
func (r results) addLimit(ctx context.Context, s *scenario) error {
	elapsed, err := s.limit.measure(ctx)
	if err != nil {
		return fmt.Errorf("the limit of %s: %s: %w", s.name, s.limit.name, err)
	}
	r[limitKey(s)] = append(r[limitKey(s)], measurement{elapsed: elapsed})
	return nil
}

// limit is a cell with what this machine needs for a scenario.
func (r results) limit(s *scenario) string {
	if limits := r[limitKey(s)]; len(limits) > 0 {
		return seconds(medianTime(limits))
	}
	return ""
}

// distance is a cell that says how many times the limit something took.
func (r results) distance(s *scenario, took []measurement) string {
	limits := r[limitKey(s)]
	if len(limits) == 0 || len(took) == 0 {
		return ""
	}
	return fmt.Sprintf("×%.2f", float64(medianTime(took))/float64(medianTime(limits)))
}

// A column of the table has a heading, and a cell for each row.
type column struct {
	heading string
	cell    func(*scenario) string
}

// columns are those of the table. An earlier strata comes before this one, other builders after it.
func (r results) columns(contenders []contender) []column {
	ours, stratas := contenders[0], []contender{contenders[0]}
	shown := slices.Clone(contenders)
	if len(contenders) > 1 && isStrata(contenders[1]) {
		shown[0], shown[1] = shown[1], shown[0]
		stratas = shown[:2]
	}
	var all []column
	add := func(heading string, cell func(*scenario) string) { all = append(all, column{heading, cell}) }
	add("work", func(s *scenario) string { return s.name })
	for _, c := range shown {
		add(c.name(), func(s *scenario) string { return r.time(s, c, ours) })
	}
	add("limit", r.limit)
	for _, c := range stratas {
		add(c.name()+" from it", func(s *scenario) string { return r.distance(s, r[key(s, c)]) })
	}
	add("to reach", func(s *scenario) string {
		if s.reach == 0 {
			return ""
		}
		return seconds(s.reach)
	})
	for _, c := range shown {
		if _, ok := c.builder.(daemon); ok || isStrata(c) {
			add("peak memory, "+c.name(), func(s *scenario) string { return memory(peak(r[key(s, c)])) })
		}
	}
	return all
}

func isStrata(c contender) bool {
	_, ok := c.builder.(*strata)
	return ok
}

// time is a cell with a builder's median, and how many times ours it is.
func (r results) time(s *scenario, c, ours contender) string {
	took := r[key(s, c)]
	switch {
	case r.failed(s, c):
		return "fails"
	case len(took) == 0:
		return ""
	case c.name() == ours.name():
		return seconds(medianTime(took))
	}
	return fmt.Sprintf("%s (×%.2f)", seconds(medianTime(took)), median(ratios(took, r[key(s, ours)])))
}

func memory(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f MB", float64(bytes)/1e6)
}

// report is the Markdown: the machine, what was compared, and the table of medians, each with its ratio
// to strata's.
func report(ctx context.Context, contenders []contender, r results) string {
	scenarios := contenders[0].scenarios
	var text strings.Builder
	fmt.Fprintf(&text, "%d cores, Linux %s; medians of %d runs, or the first one where another builder took longer than %d s; "+
		"×: how many times strata's time, the median of the rounds'\n\n",
		runtime.NumCPU(), release(), len(r[key(scenarios[0], contenders[0])]), int(onceIfLonger.Seconds()))
	for _, b := range contenders {
		fmt.Fprintf(&text, "- %s: %s\n", b.name(), b.version(ctx))
	}
	columns := r.columns(contenders)
	text.WriteString("\n|")
	for _, c := range columns {
		fmt.Fprintf(&text, " %s |", c.heading)
	}
	text.WriteString("\n|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, s := range scenarios {
		text.WriteString("|")
		for _, c := range columns {
			text.WriteString(strings.TrimSuffix(" "+c.cell(s), " ") + " |")
		}
		text.WriteString("\n")
	}
	return text.String()
}

// peak is the most memory in bytes; 0 where nothing was measured.
func peak(all []measurement) int64 {
	if len(all) == 0 {
		return 0
	}
	return slices.MaxFunc(all, func(a, b measurement) int { return cmp.Compare(a.memory, b.memory) }).memory
}

// seconds prints a time with three digits where it is short.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.3f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// release is the kernel's.
func release() string {
	var name syscall.Utsname
	if err := syscall.Uname(&name); err != nil {
		return "(unknown)"
	}
	var text strings.Builder
	for _, c := range name.Release {
		if c == 0 {
			break
		}
		text.WriteByte(byte(c))
	}
	return text.String()
}
