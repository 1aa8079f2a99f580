package page

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// shown is a text of an image as a page shows it: what is not seen, or turns the order of letters round, is written
// as JSON and Go do, \u202e for instance. Ends of lines and tabs stay. Markup is html/template's affair.
func shown(text string) string {
	if !strings.ContainsFunc(text, isHidden) && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case isHidden(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(text[i : i+n])
		}
		i += n
	}
	return b.String()
}

func isHidden(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || unicode.Is(unicode.Cf, r) && r != '\u00ad')
}

// oneLine is shown for a text that has one line's room.
func oneLine(text string) string { return strings.Join(strings.Fields(shown(text)), " ") }

// maxShown is how much of a text that an image brings is shown, in bytes: a config may have 16 MB of labels.
const maxShown = 16 << 10

// clipped is shown, and says how much is left out of a text that nobody would read.
func clipped(text string) string {
	if len(text) <= maxShown {
		return shown(text)
	}
	return shown(strings.ToValidUTF8(text[:maxShown], "")) + fmt.Sprintf("… (%d more bytes)", len(text)-maxShown)
}

// date is a time as pages show it, "" for one that is not known. Images that are made reproducibly say 1970.
func date(t *time.Time) string {
	if t == nil || t.IsZero() || t.Unix() == 0 {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04")
}

// duration is a time that something took: "40 ms", "1.4 s", "12 s", "3 min 5 s".
func duration(d time.Duration) string {
	switch {
	case d < 0:
		return "?"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

// count is "1 file", "12,345 files".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return thousands(n) + " " + plural(what)
}

// plural is a noun's plural, by the rules that the words of these pages need.
func plural(what string) string {
	if strings.HasSuffix(what, "y") {
		return strings.TrimSuffix(what, "y") + "ies"
	}
	return what + "s"
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
