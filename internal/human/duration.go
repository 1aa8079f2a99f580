package human

import (
	"regexp"
	"strconv"
	"sync"
	"time"
)

// form is a number and a unit, several times: 24h, 7d, 1w2d, 1.5h.
var form = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h|d|w)`) })

// limit is the longest that is taken: a time.Duration ends at 292 years.
const limit = 200 * 365 * 24 * time.Hour

// ParseDuration reads a duration such as 24h, 7d or 1w12h: what time.ParseDuration reads, without a sign, and days of
// 24 hours and weeks too. ok is false for what is none. Wherever a person may type a duration, this reads it.
func ParseDuration(text string) (d time.Duration, ok bool) {
	units := map[string]time.Duration{
		"ns": time.Nanosecond, "us": time.Microsecond, "µs": time.Microsecond, "ms": time.Millisecond,
		"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
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
