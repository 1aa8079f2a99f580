package progress

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/strata-build/strata/internal/event"
)

// transfer is one row of sub-progress: an item's bytes on their way, or what is done to it afterwards.
type transfer struct {
	item    string
	label   string
	current int64
	total   int64
	started time.Time
	ended   time.Time // zero while it is under way
}

// transfers are those of one step, in the order in which they began.
type transfers []*transfer

// update applies one report and returns the rows that it changed. A new status of the same item ends the row
// of the old one, as BuildKit shows a layer's download and its extraction.
func (ts *transfers) update(now time.Time, p event.Progress) []*transfer {
	item, status := oneLine(p.Item), strings.ToLower(oneLine(p.Status))
	done := status == "done" || status == "complete"
	label := item
	if status != "" && status != "downloading" && !done {
		label = status + " " + item
	}
	var changed []*transfer
	for _, t := range *ts {
		if t.item != item || !t.ended.IsZero() {
			continue
		}
		if t.label == label || done {
			t.set(p.Current, p.Total)
		}
		if t.label != label || done {
			t.end(now)
		}
		changed = append(changed, t)
	}
	if done && (len(changed) > 0 || ts.has(item)) || len(changed) > 0 && changed[len(changed)-1].label == label {
		return changed
	}
	t := &transfer{item: item, label: label, started: now}
	t.set(p.Current, p.Total)
	if done {
		t.end(now)
	}
	*ts = append(*ts, t)
	return append(changed, t)
}

func (ts transfers) has(item string) bool {
	return slices.ContainsFunc(ts, func(t *transfer) bool { return t.item == item })
}

// set takes new numbers; zeros say nothing and leave the old ones.
func (t *transfer) set(current, total int64) {
	if current > 0 {
		t.current = current
	}
	if total > 0 {
		t.total = total
	}
}

// end ends the row, whole where the size is known.
func (t *transfer) end(now time.Time) { t.current, t.ended = max(t.current, t.total), now }

// size is "3.10MB / 10.00MB 31%", without the percent once it has ended; "3.10MB" where the total is unknown, "" where
// both are.
func (t *transfer) size() string {
	switch {
	case t.total > 0:
		size := bytesText(t.current) + " / " + bytesText(t.total)
		if t.ended.IsZero() {
			size += " " + percent(t.current, t.total)
		}
		return size
	case t.current > 0:
		return bytesText(t.current)
	}
	return ""
}

// percent is how much of a total there is, rounded down, so that 100% is all of it.
func percent(current, total int64) string {
	return fmt.Sprintf("%d%%", int64(float64(min(current, total))/float64(total)*100))
}

func (t *transfer) elapsed(now time.Time) time.Duration {
	if !t.ended.IsZero() {
		now = t.ended
	}
	return now.Sub(t.started)
}

// bytesText formats a size as BuildKit does: decimal units, two digits, none for bytes.
func bytesText(n int64) string {
	if n < 1000 {
		return units.CustomSize("%.0f%s", float64(n), 1000, sizeUnits())
	}
	return units.CustomSize("%.2f%s", float64(n), 1000, sizeUnits())
}

func sizeUnits() []string { return []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"} }
