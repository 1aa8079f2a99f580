package progress

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func cleaned(in string, keepColor bool, piece int) []string {
	c := cleaner{keepColor: keepColor}
	var lines []string
	emit := func(l string) { lines = append(lines, l) }
	for data := []byte(in); len(data) > 0; {
		n := min(piece, len(data))
		c.write(data[:n], emit)
		data = data[n:]
	}
	c.endRune()
	c.flush(emit)
	return lines
}

func TestCleaner(t *testing.T) {
	tests := []struct {
		name, in  string
		keepColor bool
		want      []string
	}{
		{name: "lines", in: "a\r\n\nb", want: []string{"a", "", "b"}},
		{name: "progress bar", in: "10%\r20%\r\x1b[K30%\r\n", want: []string{"30%"}},
		{name: "spinner", in: "x |\b/\b-\n", want: []string{"x -"}},
		{name: "tab", in: "ab\tc\n", want: []string{"ab      c"}},
		{name: "colours dropped", in: "\x1b[1;31mred\x1b[m\n", want: []string{"red"}},
		{name: "colours kept and reset", in: "\x1b[1;31mred\n", keepColor: true, want: []string{"\x1b[1;31mred\x1b[0m"}},
		{name: "private SGR is none", in: "\x1b[>4;2mx\x1b[?1m\n", keepColor: true, want: []string{"x"}},
		{name: "title", in: "\x1b]0;mine\x07a\x1b]2;mine\x1b\\b\n", want: []string{"ab"}},
		{name: "DCS APC PM SOS", in: "\x1bP1$q\x1b\\a\x1b_G\x1b\\b\x1b^x\x1b\\c\x1bXx\x1b\\d\n", want: []string{"abcd"}},
		{name: "charset and reset", in: "\x1b(0a\x1bcb\x1b#8c\n", want: []string{"abc"}},
		{name: "8-bit controls", in: "\u009b2Ja\x9b2Jb\n", want: []string{"2Ja\ufffd2Jb"}},
		{name: "a sequence without an end", in: "a\x1b]0;b\nc\x1b[1\nd", want: []string{"a", "c", "d"}},
		{name: "reordering", in: "a\u202eb\u2066c\u2028d\n", want: []string{"abcd"}},
		{name: "bell and nul", in: "a\x07\x00\x7fb\n", want: []string{"ab"}},
		{name: "broken UTF-8", in: "a\xe6\xbcb\xff\n", want: []string{"a\ufffd\ufffdb\ufffd"}},
		{name: "UTF-8", in: "漢字 é\n", want: []string{"漢字 é"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, piece := range []int{1000, 1} {
				if d := cmp.Diff(tt.want, cleaned(tt.in, tt.keepColor, piece)); d != "" {
					t.Errorf("in pieces of %d (-want +got):\n%s", piece, d)
				}
			}
		})
	}
	long := cleaned(strings.Repeat("x", 3*maxLine), false, 100)
	if len(long) != 3 || len(long[0]) != maxLine {
		t.Errorf("a long line gave %d lines", len(long))
	}
}

func FuzzCleaner(f *testing.F) {
	f.Add([]byte("a\x1b[31mb\x1b]0;t\x07\r\n\b\tc\xe6\xbc"), uint8(3), true)
	f.Add([]byte("\x1b[\x1b]\x1b\\\u009b\u202e"), uint8(1), false)
	f.Fuzz(func(t *testing.T, data []byte, piece uint8, keepColor bool) {
		lines := cleaned(string(data), keepColor, max(1, int(piece)))
		if d := cmp.Diff(cleaned(string(data), keepColor, 1<<20), lines); d != "" {
			t.Fatalf("in pieces of %d:\n%s", piece, d)
		}
		for _, l := range lines {
			if len(l) > 2*maxLine || !utf8.ValidString(l) {
				t.Fatalf("line %q", l)
			}
			if keepColor {
				l = withoutColors(l)
			}
			if i := strings.IndexFunc(l, unicode.IsControl); i >= 0 {
				t.Fatalf("control character in %q", l)
			}
		}
		if s := oneLine(string(data)); strings.IndexFunc(s, unicode.IsControl) >= 0 {
			t.Fatalf("control character in %q", s)
		}
	})
}

// withoutColors removes ESC [ digits ; : m and nothing else.
func withoutColors(s string) string {
	parts := strings.Split(s, "\x1b[")
	for i, p := range parts[1:] {
		rest := strings.TrimLeft(p, "0123456789;:")
		if !strings.HasPrefix(rest, "m") {
			return s
		}
		parts[i+1] = rest[1:]
	}
	return strings.Join(parts, "")
}

func BenchmarkCleaner(b *testing.B) {
	data := []byte(strings.Repeat("gcc -O2 -c -o main.o main.c && echo \x1b[32mdone\x1b[0m\n", 1000))
	b.SetBytes(int64(len(data)))
	var c cleaner
	for b.Loop() {
		c.write(data, func(string) {})
	}
}
