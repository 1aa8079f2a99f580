package human

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"unicode"
)

func TestJSONIsHarmless(t *testing.T) {
	value := map[string]string{"a": "x\u009b2J\u202ey\x1b[2J\x7f\U000e0001é漢\u2028<>", "b": "plain"}
	for _, indent := range []string{"", "  "} {
		var b strings.Builder
		if err := JSON(&b, indent, value); err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(b.String(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%q", b.String())
		}
		var back map[string]string
		if err := json.Unmarshal([]byte(b.String()), &back); err != nil || back["a"] != value["a"] {
			t.Errorf("%q, %v", back, err)
		}
		if !strings.Contains(b.String(), "é漢") || !strings.Contains(b.String(), "<>") || !strings.HasSuffix(b.String(), "}\n") {
			t.Errorf("%q", b.String())
		}
	}
}

// What a template prints of an image reaches a terminal as text only; lines, tabs and all that can be seen stay.
func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"plain\ttext, ü €\n":     "plain\ttext, ü €\n",
		"left\u202eright":        `left\u202eright`,
		"\x1b[2J \u009b2J \r \a": `\u001b[2J \u009b2J \u000d \u0007`,
		"\x9b2J":                 "\ufffd2J",
	} {
		var b strings.Builder
		n, err := io.WriteString(Visible(&b), text)
		if b.String() != want || n != len(text) || err != nil {
			t.Errorf("%q gives %q, %d, %v; want %q", text, b.String(), n, err, want)
		}
		var pieces strings.Builder
		w := Visible(&pieces)
		for i := range len(text) {
			if _, err := io.WriteString(w, text[i:i+1]); err != nil {
				t.Fatal(err)
			}
		}
		if pieces.String() != want {
			t.Errorf("%q, byte by byte, gives %q; want %q", text, pieces.String(), want)
		}
	}
}
