package human

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
)

// JSON writes a value as JSON and a line's end, indented by indent, "" for one line. What a terminal would act upon or
// reorder (U+009B, U+202E and their like) is escaped, which JSON allows for every character: the values come from
// images that may be anybody's.
func JSON(w io.Writer, indent string, v any) error {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, escapeJSON(b.String()))
	return err
}

// Visible returns a writer of text for a terminal. What the terminal would act upon or reorder is written to w as JSON
// writes it, \u202e for instance, since templates print texts of images, which may be anybody's. Each Write is to be of
// whole characters.
func Visible(w io.Writer) io.Writer { return &visible{w} }

type visible struct{ w io.Writer }

func (v *visible) Write(p []byte) (int, error) {
	lines := strings.Split(strings.ToValidUTF8(string(p), "\ufffd"), "\t") // tabs only move on
	for i := range lines {
		lines[i] = escapeJSON(lines[i])
	}
	if _, err := io.WriteString(v.w, strings.Join(lines, "\t")); err != nil {
		return 0, err
	}
	return len(p), nil
}

// escapeJSON escapes what is not printable in a JSON text, where it can stand in strings only.
func escapeJSON(text string) string {
	if strings.IndexFunc(text, isUnprintable) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !isUnprintable(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func isUnprintable(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
