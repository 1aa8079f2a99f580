package style

import "testing"

func TestPaint(t *testing.T) {
	for _, test := range []struct {
		style      Style
		text, want string
	}{
		{Red, "x", "\x1b[31mx\x1b[0m"},
		{Bold.With(Cyan), "x", "\x1b[1;36mx\x1b[0m"},
		{None, "x", "x"},
		{Red, "", ""},
	} {
		if got := test.style.Paint(test.text); got != test.want {
			t.Errorf("%q: %q, want %q", test.style, got, test.want)
		}
	}
}

func TestWanted(t *testing.T) {
	for _, test := range []struct {
		noColor, term string
		want          bool
	}{{"", "xterm", true}, {"1", "xterm", false}, {"", "dumb", false}} {
		t.Setenv("NO_COLOR", test.noColor)
		t.Setenv("TERM", test.term)
		if Wanted() != test.want {
			t.Errorf("%+v: %v", test, !test.want)
		}
	}
}
