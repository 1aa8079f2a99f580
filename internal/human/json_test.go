package human

import (
	"encoding/json"
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
