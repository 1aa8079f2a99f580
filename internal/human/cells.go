package human

import (
	"strings"
	"time"
	"unicode"

	"github.com/docker/go-units"
)

// Size formats a number of bytes as docker does: "1.98MB"; "?" if it is negative, which means
// unknown.
func Size(n int64) string {
	if n < 0 {
		return "?"
	}
	return units.HumanSizeWithPrecision(float64(n), 3)
}

// FullSize is Size with one more digit, the format of docker's totals.
func FullSize(n int64) string {
	if n < 0 {
		return "?"
	}
	return units.HumanSize(float64(n))
}

// Since returns the time that has passed since t: "5 minutes ago"; "N/A" if t is zero.
func Since(t time.Time) string {
	if t.IsZero() || t.Unix() == 0 {
		return "N/A"
	}
	return units.HumanDuration(time.Since(t)) + " ago"
}

// Shorten cuts a text to n characters, the last of them an ellipsis.
func Shorten(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

// Clean makes a third-party text safe to print on one line of a terminal. Tabs and line ends become
// blanks; other control characters, which could move the cursor, hide text or reverse it, become
// question marks.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return '?'
		}
		return r
	}, s)
}
