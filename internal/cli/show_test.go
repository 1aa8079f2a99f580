package cli

import (
	"bufio"
	"strings"
	"testing"
)

// What an image's file could do to a terminal does not reach it.
func TestCopyPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "",
		"a\tb\nc €\n":               "a\tb\nc €\n",
		"dos\r\nlines\r\n":          "dos\nlines\n",
		"over\rwritten":             "over�written",
		"\x1b]0;title\a\x1b[2Jx":    "�]0;title��[2Jx",
		"c1 \u009b2J \xff \u202e x": "c1 �2J � � x",
	} {
		var b strings.Builder
		// A reader with a small buffer, so that what belongs together comes in parts.
		if err := copyPrintable(&b, bufio.NewReaderSize(strings.NewReader(text), 16)); err != nil || b.String() != want {
			t.Errorf("%q: %q, %v; want %q", text, b.String(), err, want)
		}
	}
}
