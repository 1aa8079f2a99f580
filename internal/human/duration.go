package human

import (
	"regexp"
	"strconv"
	"sync"
	"time"
)

// form matches one number with its unit; a duration is one or several of them: 24h, 7d, 1w2d, 1.5h.
var form = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h|d|w)`) })

// limit is the longest duration that is accepted: a time.Duration ends at 292 years.
const limit = 200 * 365 * 24 * time.Hour

// ParseDuration parses a duration such as 24h, 7d or 1w12h: the syntax of time.ParseDuration
// without a sign, and also d for days of 24 hours and w for weeks. ok is false if the text is not a
// duration. All commands and filters parse durations with it.
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
