package history

import (
	"strings"
)

// written writes an instruction with here-documents as its Dockerfile had it.
func (w *dockerfileWriter) written(text string) {
	w.WriteString(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, text))
	w.WriteByte('\n')
}

// runFlags are the flags of a RUN as written, with a blank after each: its mounts, network and security, which no row has.
func runFlags(written string) string {
	name, rest, _ := strings.Cut(strings.TrimSpace(written), " ")
	if !strings.EqualFold(name, "RUN") {
		return ""
	}
	flags := ""
	for {
		word, after, _ := strings.Cut(strings.TrimLeft(rest, " \t"), " ")
		if !strings.HasPrefix(word, "--") || strings.ContainsAny(word, "\"'\\") {
			return flags
		}
		flags += oneLine(word) + " "
		rest = after
	}
}
