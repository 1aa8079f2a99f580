package progress

import (
	"testing"

	"github.com/strata-build/strata/internal/human/style"
)

// colored is a look with colours, whatever the environment says.
func colored() look {
	l := lookOf(func(string) string { return "" })
	l.color = true
	return l
}

func TestLook(t *testing.T) {
	type want struct {
		run, failed, canceled, warning style.Style
		rows                           int
	}
	usual := want{style.Blue, style.Red, style.Yellow, style.Yellow, 6}
	for _, test := range []struct {
		colors, rows string
		want         want
	}{
		{"", "", usual},
		{"run=green:error=1,20,255:cancel=light-cyan:warning=default", "12", want{"32", "38;2;1;20;255", "96", "39", 12}},
		{"RUN=Magenta", "1", want{"35", style.Red, style.Yellow, style.Yellow, 1}},
		// what cannot be understood counts for nothing
		{"run=mauve:error=1,2:cancel=256,0,0:what=red:warning", "0", usual},
		{"nonsense", "many", usual},
	} {
		l := lookOf(func(name string) string {
			return map[string]string{"BUILDKIT_COLORS": test.colors, "BUILDKIT_TTY_LOG_LINES": test.rows}[name]
		})
		if got := (want{l.run, l.failed, l.canceled, l.warning, l.logRows}); got != test.want {
			t.Errorf("%q %q: %+v, want %+v", test.colors, test.rows, got, test.want)
		}
	}
}
