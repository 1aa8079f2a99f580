package page

import (
	"strings"
	"unicode"
)

// splitInstruction splits an instruction into its name and what it says. A text that begins with no name in
// capitals has none.
func splitInstruction(text string) (name, rest string) {
	name, rest, _ = strings.Cut(text, " ")
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r < 'A' || r > 'Z' }) {
		return "", text
	}
	return name, strings.TrimLeft(rest, " ")
}

// format lays an instruction out for reading: what a RUN's shell gets, one command a line, as a Dockerfile would
// have it. A text of several lines is left as it was written.
func format(text string) string {
	name, rest := splitInstruction(text)
	if name != "RUN" || strings.Contains(strings.TrimSpace(text), "\n") || strings.HasPrefix(rest, "[") {
		return text
	}
	return name + " " + strings.Join(commands(rest), " \\\n    ")
}

// commands splits a shell's command behind ";" and before "&&" and "||" that are not quoted, and makes one blank of
// several. In braces, parentheses and loops it splits too: only how it reads is meant, and a person can copy the
// text as it was.
func commands(text string) []string {
	var all []string
	var line strings.Builder
	end := func() {
		if s := strings.TrimSpace(line.String()); s != "" {
			all = append(all, s)
		}
		line.Reset()
	}
	var quote rune
	escaped, blank := false, false
	runes := []rune(text)
	for i, r := range runes {
		next := rune(0)
		if i+1 < len(runes) {
			next = runes[i+1]
		}
		if quote == 0 && !escaped && unicode.IsSpace(r) {
			if !blank {
				line.WriteRune(' ')
			}
			blank = true
			continue
		}
		blank = false
		switch {
		case escaped:
			escaped = false
		case r == '\\' && quote != '\'':
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"' || r == '`':
			quote = r
		case (r == '&' && next == '&' || r == '|' && next == '|') && (i == 0 || runes[i-1] != r):
			end()
		case r == ';' && next != ';' && (i == 0 || runes[i-1] != ';'):
			line.WriteRune(r)
			end()
			continue
		}
		line.WriteRune(r)
	}
	end()
	return all
}
