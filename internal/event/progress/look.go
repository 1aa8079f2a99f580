package progress

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/strata-build/strata/internal/human/style"
)

// look is what of the terminal display a person can choose, by BuildKit's variables of the environment (progressui of
// buildkit).
type look struct {
	color                          bool // NO_COLOR, TERM=dumb
	run, failed, canceled, warning style.Style
	logRows                        int // how many lines of output a running step shows
}

// defaultLogRows is BuildKit's number.
const defaultLogRows = 6

// lookOf reads the environment: BUILDKIT_COLORS, as run=blue:cancel=yellow:error=red:warning=1,2,3, and
// BUILDKIT_TTY_LOG_LINES. What cannot be understood counts for nothing, as in BuildKit.
func lookOf(env func(string) string) look {
	l := look{
		color: style.Wanted(), run: style.Blue, failed: style.Red, canceled: style.Yellow, warning: style.Yellow, logRows: defaultLogRows,
	}
	if n, err := strconv.Atoi(env("BUILDKIT_TTY_LOG_LINES")); err == nil && n > 0 {
		l.logRows = n
	}
	styles := map[string]*style.Style{"run": &l.run, "error": &l.failed, "cancel": &l.canceled, "warning": &l.warning}
	for field := range strings.SplitSeq(env("BUILDKIT_COLORS"), ":") {
		name, value, ok := strings.Cut(field, "=")
		to := styles[strings.ToLower(name)]
		if c, known := colorNamed(strings.ToLower(strings.Trim(value, `"`))); ok && known && to != nil {
			*to = c
		}
	}
	return l
}

// colorNamed is a colour by its name, or by its red, green and blue of 0 to 255.
func colorNamed(text string) (style.Style, bool) {
	if parts := strings.Split(text, ","); len(parts) == 3 {
		var rgb [3]uint64
		for i, part := range parts {
			var err error
			if rgb[i], err = strconv.ParseUint(part, 10, 8); err != nil {
				return "", false
			}
		}
		return style.Style(fmt.Sprintf("38;2;%d;%d;%d", rgb[0], rgb[1], rgb[2])), true
	}
	text, light := strings.CutPrefix(text, "light-")
	n, ok := colorNumbers[text]
	switch {
	case !ok:
		return "", false
	case light && text != "default":
		n += 60
	}
	return style.Style(strconv.Itoa(n)), true
}

// colorNumbers are the SGR parameters of BuildKit's names of colours; the light ones are 60 above (aixterm).
var colorNumbers = map[string]int{
	"black": 30, "red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36, "white": 37, "default": 39,
}
