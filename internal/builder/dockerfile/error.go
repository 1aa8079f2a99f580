package dockerfile

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/strata-build/strata/internal/human/suggest"
)

// Error is what is wrong with a Dockerfile, or went wrong while one of its steps ran, and where.
type Error struct {
	File string // the name given to Parse
	// Line and EndLine are the first and last line of the instruction, counted from 1. Line is 0 if no line is to blame.
	Line, EndLine int
	Source        []byte // the whole Dockerfile
	Err           error
}

// Error is one line: the file, the line and the reason.
func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Excerpt shows the lines of the instruction and their neighbours the way BuildKit does (its solver/errdefs): two
// neighbours on each side of a single line, one on each side of a longer instruction. Empty without a line.
func (e *Error) Excerpt() string {
	lines := strings.Split(string(e.Source), "\n")
	if e.Line < 1 || e.Line > len(lines) {
		return ""
	}
	last := min(max(e.EndLine, e.Line), len(lines))
	around := 1
	if last == e.Line {
		around = 2
	}
	const rule = "--------------------\n"
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d\n%s", e.File, e.Line, rule)
	for i := max(e.Line-around, 1); i <= min(last+around, len(lines)); i++ {
		mark := "   "
		if i >= e.Line && i <= last {
			mark = ">>>"
		}
		fmt.Fprintf(&b, " %3d | %s %s\n", i, mark, strings.TrimSuffix(lines[i-1], "\r"))
	}
	b.WriteString(rule)
	return b.String()
}

// errorAt blames the lines of an instruction. An error that already has its place keeps it.
func (f *File) errorAt(err error, line, endLine int) *Error {
	var located *Error
	if errors.As(err, &located) {
		return located
	}
	return &Error{File: f.Name, Line: line, EndLine: max(line, endLine), Source: f.Source, Err: err}
}

func (f *File) errorIn(err error, at []parser.Range) *Error {
	line, endLine := lines(at)
	return f.errorAt(err, line, endLine)
}

// parseError turns an error of BuildKit's parser, which wraps the reason in several layers, into ours.
func (f *File) parseError(err error) *Error {
	var located *parser.LocationError
	if !errors.As(err, &located) {
		return f.errorAt(strictly(err), 0, 0)
	}
	reason := located.Unwrap()
	if m := unknownFlag.FindStringSubmatch(reason.Error()); m != nil && len(located.Locations) > 0 {
		line, _ := lines(located.Locations[0])
		return f.errorIn(fmt.Errorf("unknown flag: --%s%s", m[1],
			suggest.Question("--", suggest.Near(m[1], flags[f.instruction(line)]))), located.Locations[0])
	}
	reason = strictly(reason)
	if reason.Error() == "no build stage in current context" {
		reason = errors.New("no FROM before this instruction: only ARG may stand before the first FROM")
	}
	var line, endLine int
	if len(located.Locations) > 0 {
		line, endLine = lines(located.Locations[0])
	}
	return f.errorAt(reason, max(line, 1), endLine)
}

// unknownFlag is the parser's error for a flag that the instruction does not have. Its suggestion depends on the order
// of a map where two flags differ in as many letters, so ours takes its place.
var unknownFlag = regexp.MustCompile(`^unknown flag: --(\S+)`)

// flags are those of each instruction that has some (the parser's, of the Dockerfile reference).
var flags = map[string][]string{
	"ADD":         {"checksum", "chmod", "chown", "exclude", "keep-git-dir", "link", "unpack"},
	"COPY":        {"chmod", "chown", "exclude", "from", "link", "parents"},
	"FROM":        {"platform"},
	"HEALTHCHECK": {"interval", "retries", "start-interval", "start-period", "timeout"},
	"RUN":         {"device", "mount", "network", "security"},
}

// instruction is the name of the one that begins in a line, in upper case.
func (f *File) instruction(line int) string {
	source := strings.Split(string(f.Source), "\n")
	if line < 1 || line > len(source) {
		return ""
	}
	name, _, _ := strings.Cut(strings.TrimSpace(source[line-1]), " ")
	return strings.ToUpper(name)
}

// suggestion is what BuildKit's parser adds to an error: any word that differs in fewer than three letters, RUN for FN.
var suggestion = regexp.MustCompile(`^(.*?)(: --|: |'|")([^\s'"]+)(.*) \(did you mean (\S+)\?\)$`)

// strictly is a parser's error with a suggestion only where it is like the word that is wrong, as everywhere else.
func strictly(err error) error {
	var unknown *instructions.UnknownInstructionError
	if errors.As(err, &unknown) {
		known := slices.Sorted(maps.Keys(command.Commands))
		if near := suggest.DidYouMean(unknown.Instruction, upper(known)); near != "" {
			return fmt.Errorf("%w%s", unknown, near)
		}
		return fmt.Errorf("%w; a line goes on with the instruction above it if that ends in \\, and a comment begins with #", unknown)
	}
	if what := advice[err.Error()]; what != "" {
		return fmt.Errorf("%w; %s", err, what)
	}
	for _, form := range adviceByForm {
		if form.text.MatchString(err.Error()) {
			return fmt.Errorf("%w; %s", err, form.what)
		}
	}
	m := suggestion.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	before, mark, word, after := m[1], m[2], m[3], m[4]
	dashes := strings.TrimLeft(mark, `'": `)
	return errors.New(before + mark + word + after + suggest.Question(dashes, suggest.Near(word, []string{m[5]})))
}

// advice is what to write instead, for errors of the parser that do not say.
var advice = map[string]string{
	"unterminated heredoc":                            "end it with a line that has its name only, such as EOF",
	"file with no instructions":                       "a Dockerfile begins with FROM IMAGE",
	"ENV must have two arguments":                     "write ENV NAME=VALUE",
	"LABEL must have two arguments":                   "write LABEL NAME=VALUE",
	"FROM requires either one or three arguments":     "write FROM IMAGE, or FROM IMAGE AS NAME",
	"SHELL requires the arguments to be in JSON form": `write SHELL ["/bin/bash", "-c"]`,
}

// adviceByForm is advice for errors that hold a word of the Dockerfile.
var adviceByForm = []struct {
	text *regexp.Regexp
	what string
}{
	{regexp.MustCompile(`^time: (missing|unknown) unit `), "write a duration with its unit, such as 30s or 5m"},
	{regexp.MustCompile(`^time: invalid duration `), "write a duration such as 30s or 5m"},
	{regexp.MustCompile(`^Unknown type .* in HEALTHCHECK`), "write HEALTHCHECK CMD COMMAND, or HEALTHCHECK NONE"},
	{regexp.MustCompile(`^Syntax error - can't find = in `), "a value with blanks needs quotes: NAME=\"a value\""},
	{regexp.MustCompile(`^COPY requires at least two arguments`), "write COPY SOURCE DESTINATION, such as COPY . /app"},
	{regexp.MustCompile(`^ADD requires at least two arguments`), "write ADD SOURCE DESTINATION"},
	{regexp.MustCompile(`^invalid name for build stage: `), "begin it with a letter, and use letters, digits, _, - and ."},
	{regexp.MustCompile(`^Chaining ONBUILD `), "write ONBUILD once"},
	{regexp.MustCompile(`^security ".*" is not valid`), "it is sandbox or insecure"},
	{regexp.MustCompile(`^invalid network mode `), "it is default, none or host"},
	{regexp.MustCompile(`^unsupported sharing value `), "it is shared, private or locked"},
	{regexp.MustCompile(`^invalid value for size: `), "write a size such as 64m"},
	{regexp.MustCompile(`^invalid value .* for mode`), "write it in octal, such as 0400"},
	{regexp.MustCompile(`^missing a value on flag: --`), "write --FLAG=VALUE"},
	{regexp.MustCompile(`^strconv\.ParseInt: `), "write a number"},
	{regexp.MustCompile(`^WORKDIR requires exactly one argument`), "write WORKDIR /DIRECTORY; one with blanks needs quotes"},
}

func upper(words []string) []string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = strings.ToUpper(w)
	}
	return all
}

// lines is the first and the last line of an instruction; the parser gives one range per line.
func lines(at []parser.Range) (first, last int) {
	for _, r := range at {
		if first == 0 || r.Start.Line < first {
			first = r.Start.Line
		}
		last = max(last, r.End.Line, r.Start.Line)
	}
	return first, last
}
