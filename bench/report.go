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

// addLimit measures the limit of a scenario.
func (r results) addLimit(ctx context.Context, s *scenario) error {
	elapsed, err := s.limit.measure(ctx)
	if err != nil {
		return fmt.Errorf("the limit of %s: %s: %w", s.name, s.limit.name, err)
	}
	r[limitKey(s)] = append(r[limitKey(s)], measurement{elapsed: elapsed})
	return nil
}

// distance is a cell with a scenario's limit, and how many times it strata takes.
func (r results) distance(s *scenario, ours []measurement) string {
	limits := r[limitKey(s)]
	if len(limits) == 0 {
		return ""
	}
	return fmt.Sprintf("%s (×%.2f), %s", seconds(medianTime(limits)), float64(medianTime(ours))/float64(medianTime(limits)), s.limit.name)
}

// report is the Markdown: the machine, what was compared, and the table of medians, each with its ratio
// to strata's.
func report(ctx context.Context, contenders []contender, r results) string {
	scenarios := contenders[0].scenarios
	var text strings.Builder
	fmt.Fprintf(&text, "%d cores, Linux %s; medians of %d runs; ×: how many times strata's time, the median of the rounds'\n\n",
		runtime.NumCPU(), release(), len(r[key(scenarios[0], contenders[0])]))
	for _, b := range contenders {
		fmt.Fprintf(&text, "- %s: %s\n", b.name(), b.version(ctx))
	}
	text.WriteString("\n| work |")
	for _, b := range contenders {
		fmt.Fprintf(&text, " %s |", b.name())
	}
	text.WriteString(" limit, and how far from it | to reach | strata's peak memory |\n|---|" + strings.Repeat("---|", len(contenders)+3) + "\n")
	for i, s := range scenarios {
		ours := r[key(s, contenders[0])]
		fmt.Fprintf(&text, "| %s | %s |", s.name, seconds(medianTime(ours)))
		for _, b := range contenders[1:] {
			if i < len(b.scenarios) && b.scenarios[i] == nil {
				text.WriteString(" fails |")
				continue
			}
			if len(r[key(s, b)]) == 0 {
				text.WriteString(" |")
				continue
			}
			theirs := r[key(s, b)]
			fmt.Fprintf(&text, " %s (×%.2f) |", seconds(medianTime(theirs)), median(ratios(theirs, ours)))
		}
		reach := ""
		if s.reach > 0 {
			reach = seconds(s.reach)
		}
		memory := ""
		if most := peak(ours); most > 0 {
			memory = fmt.Sprintf("%.0f MB", float64(most)/1e6)
		}
		fmt.Fprintf(&text, " %s | %s | %s |\n", r.distance(s, ours), reach, memory)
	}
	return text.String()
}

func peak(all []measurement) int64 {
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
