package history

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// instruction is what a row's text says of the instruction that made it.
type instruction struct {
	name string // "ENV", "RUN", …; "" if the text tells of none
	args string // what followed the name; a RUN's command without the shell
	// shell is the shell of a RUN in shell form, "" for a RUN in exec form.
	shell string
}

// instructionNames are those that a row may tell of. FROM makes no row.
var instructionNames = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	for name := range strings.FieldsSeq("ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR") {
		names[name] = true
	}
	return names
})

// shellPrefix matches the shell with its flags in front of a command: "/bin/bash -o pipefail -c ".
var shellPrefix = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(/[^\s"']*/)?(ba|da|a|z|k|mk)?sh( [-+][A-Za-z]+( pipefail)?)* -[A-Za-z]*c `)
})

// parseCreatedBy reads a row's text. Docker's classic builder and buildah give "/bin/sh -c #(nop)  ENV A=b" and
// "/bin/sh -c make", BuildKit "ENV A=b" and "RUN |1 A=b /bin/sh -c make # buildkit", kaniko the instruction as it
// stood in the Dockerfile.
func parseCreatedBy(text string) instruction {
	if shell, comment, ok := strings.Cut(text, "#(nop) "); ok && len(shell) < 100 && !strings.ContainsAny(shell, "\n'\"") {
		if in, ok := named(strings.TrimSpace(comment)); ok {
			return in
		}
	}
	plain, buildkit := strings.CutSuffix(text, " # buildkit")
	if in, ok := named(plain); ok {
		if in.name == "RUN" {
			kaniko := !buildkit && !strings.HasPrefix(in.args, "|") && !shellPrefix().MatchString(in.args)
			return run(in.args, kaniko)
		}
		return in
	}
	if strings.HasPrefix(text, "|") || strings.HasPrefix(text, "/") || shellPrefix().MatchString(text) {
		return run(text, false)
	}
	return instruction{args: text}
}

func named(text string) (instruction, bool) {
	name, args, _ := strings.Cut(text, " ")
	return instruction{name: name, args: strings.TrimSpace(args)}, instructionNames()[name]
}

// run takes build arguments ("|1 A=b ") and the shell off a command.
func run(command string, shellForm bool) instruction {
	if shellForm {
		return instruction{name: "RUN", args: command, shell: "/bin/sh -c"}
	}
	if count, rest, ok := strings.Cut(command, " "); ok && strings.HasPrefix(count, "|") {
		command = withoutBuildArgs(count[1:], rest)
	}
	if shell := shellPrefix().FindString(command); shell != "" {
		return instruction{name: "RUN", args: command[len(shell):], shell: strings.TrimSpace(shell)}
	}
	return instruction{name: "RUN", args: command}
}

// withoutBuildArgs drops as many NAME=VALUE words as count says. Since values may have blanks in them, a shell
// that follows somewhere is what the command starts with.
func withoutBuildArgs(count, rest string) string {
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return rest
	}
	for i, r := range rest {
		if (i == 0 || rest[i-1] == ' ') && r != ' ' && shellPrefix().MatchString(rest[i:]) {
			return rest[i:]
		}
	}
	for range n {
		_, after, ok := strings.Cut(rest, " ")
		if !ok {
			break
		}
		rest = after
	}
	return rest
}

// pair is a NAME=VALUE of ENV or LABEL.
type pair struct{ key, value string }

// assignments takes the pairs of an ENV or LABEL apart. The rows have no quotes, so "A=b C=d" may be one pair or
// two: a name counts only if the final config has it, which keeps every variable and label that was ever set.
func assignments(args string, final map[string]string) []pair {
	if key, value, ok := strings.Cut(args, " "); ok && !strings.Contains(key, "=") {
		return []pair{{key, strings.TrimSpace(value)}} // ENV A b
	}
	var pairs []pair
	for args != "" {
		key, rest, ok := strings.Cut(args, "=")
		if !ok {
			break
		}
		key = strings.Trim(key, `"' `)
		end := valueEnd(rest, final[key], final)
		pairs = append(pairs, pair{key, unquote(rest[:end])})
		args = strings.TrimLeft(rest[end:], " ")
	}
	return pairs
}

// valueEnd is where the value at the beginning of text ends: behind what the final config has, if that fits,
// else before the next name.
func valueEnd(text, likely string, final map[string]string) int {
	if after, ok := strings.CutPrefix(text, likely); ok && likely != "" && (after == "" || startsPair(after, final)) {
		return len(likely)
	}
	for i := range text {
		if text[i] == ' ' && startsPair(text[i:], final) {
			return i
		}
	}
	return len(text)
}

// startsPair says whether text is a blank and a name of the final config with "=".
func startsPair(text string, final map[string]string) bool {
	if !strings.HasPrefix(text, " ") {
		return false
	}
	key, _, ok := strings.Cut(text[1:], "=")
	if !ok {
		return false
	}
	_, known := final[strings.Trim(key, `"'`)]
	return known
}

func unquote(s string) string {
	if len(s) >= 2 && s[0] == s[len(s)-1] && (s[0] == '"' || s[0] == '\'') {
		return s[1 : len(s)-1]
	}
	return s
}

// words reads a list of words as rows have them: JSON, Go's %q ("["a" "b"]") or Go's %v ("[a b]").
func words(args string) (list []string, ok bool) {
	if !strings.HasPrefix(args, "[") || !strings.HasSuffix(args, "]") {
		return nil, false
	}
	if json.Unmarshal([]byte(args), &list) == nil {
		return list, true
	}
	inner := strings.TrimSpace(args[1 : len(args)-1])
	if !strings.HasPrefix(inner, `"`) {
		return strings.Fields(inner), true
	}
	list = nil
	for inner != "" {
		quoted, err := strconv.QuotedPrefix(inner)
		if err != nil {
			return strings.Fields(inner), true
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return strings.Fields(inner), true
		}
		list = append(list, word)
		inner = strings.TrimLeft(inner[len(quoted):], " ,")
	}
	return list, true
}

// commandLine reads the argv of CMD or ENTRYPOINT; without brackets it is a shell form.
func commandLine(args string, shell []string) []string {
	if list, ok := words(args); ok {
		return list
	}
	if args == "" {
		return nil
	}
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	return append(slices.Clone(shell), args)
}

// paths reads the list of a VOLUME.
func paths(args string) []string {
	if list, ok := words(args); ok {
		return list
	}
	return strings.Fields(args)
}

// ports reads the list of an EXPOSE, "8000", "8000/tcp 53/udp", "map[8000/tcp:{}]" or "[8000/tcp]", as the config
// has them: "8000/tcp".
func ports(args string) []string {
	args = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(args, "map"), "["), "]")
	var list []string
	for word := range strings.FieldsSeq(args) {
		word = strings.TrimSuffix(word, ":{}")
		number, protocol, ok := strings.Cut(word, "/")
		if !ok {
			protocol = "tcp"
		}
		list = append(list, portRange(number, strings.ToLower(protocol))...)
	}
	return list
}

func portRange(number, protocol string) []string {
	from, to, isRange := strings.Cut(number, "-")
	a, err := strconv.ParseUint(from, 10, 16)
	b, err2 := strconv.ParseUint(to, 10, 16)
	if !isRange || err != nil || err2 != nil || b < a {
		return []string{number + "/" + protocol}
	}
	var list []string
	for p := a; p <= b; p++ {
		list = append(list, strconv.FormatUint(p, 10)+"/"+protocol)
	}
	return list
}

// Instruction is a row's text as the instruction that it tells of, on one line: "RUN pip install -r requirements.txt". A
// text that tells of none is given as it is.
func Instruction(createdBy string) string {
	in := parseCreatedBy(createdBy)
	text := in.args
	if in.name != "" {
		text = strings.TrimSpace(in.name + " " + in.args)
	}
	return strings.Join(strings.Fields(oneLine(text)), " ")
}
