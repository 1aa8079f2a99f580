package load

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// journal is which commands ran when.
type journal struct {
	mu      sync.Mutex
	entries []entry
}

type entry struct {
	worker       string
	began, ended time.Time
	err          error
	args         []string
}

func (j *journal) add(worker string, began time.Time, err error, args []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, entry{worker, began, time.Now(), err, args})
}

// since lists the commands that ended since a moment, and the last few of one worker before that, each with when it began
// and ended in milliseconds after the moment.
func (j *journal) since(began time.Time, worker string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var lines []string
	before := 8
	for _, e := range slices.Backward(j.entries) {
		if !e.ended.After(began) {
			if e.worker != worker || before == 0 {
				continue
			}
			before--
		}
		failed := ""
		if e.err != nil {
			failed = " FAILED"
		}
		lines = append(lines, fmt.Sprintf("  %6d to %6d  %s: %s%s\n", e.began.Sub(began).Milliseconds(), e.ended.Sub(began).Milliseconds(),
			e.worker, strings.Join(e.args, " "), failed))
	}
	slices.Reverse(lines)
	return strings.Join(lines, "")
}

// summary counts the commands.
func (j *journal) summary() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	type count struct {
		times, failed int
		longest       time.Duration
	}
	counts := map[string]*count{}
	for _, e := range j.entries {
		c := counts[e.args[0]]
		if c == nil {
			c = &count{}
			counts[e.args[0]] = c
		}
		c.times++
		if e.err != nil {
			c.failed++
		}
		c.longest = max(c.longest, e.ended.Sub(e.began))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d commands:", len(j.entries))
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		c := counts[name]
		fmt.Fprintf(&b, "\n  %-8s %5d, %d of them on names that were gone, the longest %s", name, c.times, c.failed, c.longest.Round(time.Millisecond))
	}
	return b.String()
}
