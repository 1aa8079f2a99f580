package human

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
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
// writes it, \u202e for instance, since templates print texts of images, which may be anybody's.
func Visible(w io.Writer) io.Writer { return &visible{w: w} }

type visible struct {
	w    io.Writer
	rest []byte // the beginning of a character whose end is to come
}

func (v *visible) Write(p []byte) (int, error) {
	text := append(v.rest, p...)
	whole := len(text)
	for i := 1; i < utf8.UTFMax && i <= len(text); i++ {
		if start := len(text) - i; utf8.RuneStart(text[start]) {
			if !utf8.FullRune(text[start:]) {
				whole = start
			}
			break
		}
	}
	v.rest = bytes.Clone(text[whole:])
	lines := strings.Split(strings.ToValidUTF8(string(text[:whole]), "\ufffd"), "\t") // tabs only move on
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
