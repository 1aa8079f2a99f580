// Package duration reads times as people type them, in days and weeks too.
package duration

import (
	"regexp"
	"strconv"
	"sync"
	"time"
)

// form is a number and a unit, several times: 24h, 7d, 1w2d, 1.5h.
var form = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(\d+(?:\.\d+)?)(ms|s|m|h|d|w)`) })

// limit is the longest that is taken: a time.Duration ends at 292 years.
const limit = 200 * 365 * 24 * time.Hour

// Parse reads a duration such as 24h, 7d or 1w12h; a day has 24 hours. ok is false for what is none.
func Parse(text string) (d time.Duration, ok bool) {
	units := map[string]time.Duration{
		"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
	}
	for rest := text; rest != ""; {
		m := form().FindStringSubmatch(rest)
		if m == nil {
			return 0, false
		}
		n, err := strconv.ParseFloat(m[1], 64)
		ns := n * float64(units[m[2]])
		if err != nil || float64(d)+ns > float64(limit) {
			return 0, false
		}
		d += time.Duration(ns)
		rest = rest[len(m[0]):]
	}
	return d, text != ""
}
