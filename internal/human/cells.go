package human

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

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

// Quoted makes a path fit for a line: one that holds what could do something to a terminal or turn the order of its
// letters round, or is not UTF-8, is written as a Go string, like git does it; also one with a name that begins or ends
// in a blank, which nobody would see.
func Quoted(path string) string {
	odd := func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }
	if !utf8.ValidString(path) || strings.ContainsFunc(path, odd) {
		return fmt.Sprintf("%q", path)
	}
	for name := range strings.SplitSeq(path, "/") {
		if strings.TrimSpace(name) != name {
			return fmt.Sprintf("%q", path)
		}
	}
	return path // quotes and backslashes too, and letters that this Go does not know
}
