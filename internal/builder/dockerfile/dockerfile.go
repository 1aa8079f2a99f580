// Package dockerfile turns the text of a Dockerfile into stages, and each stage into steps: its
// instructions, one after the other, with arguments and variables expanded, together with the image
// config and the history row that each leaves.
//
// The syntax is BuildKit's own parser's; what the instructions do to the config and the history
// follows BuildKit's frontend (graph engine) or Docker 20.10's builder (classic engine), and the
// comments say which where they differ.
package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// maxSource is the size of the largest Dockerfile that is read, in bytes.
const maxSource = 1 << 20

// maxInstructions bounds a file's instructions. Every step has a config of its own, so the work grows faster than
// their number: 20,000 LABELs take seconds.
const maxInstructions = 20_000

// maxLine is the length of the longest line: bufio.Scanner's limit in BuildKit's parser, which would stop there.
const maxLine = 64<<10 - 2

// File is a parsed Dockerfile. It does not change: one File can be planned many times, also at once.
type File struct {
	Name   string
	Source []byte

	escape     rune
	stages     []instructions.Stage
	globalArgs []instructions.ArgCommand // before the first FROM
	lint       lintRules
	warnings   []Warning  // found while parsing
	mounts     sync.Mutex // see rawMounts
}

// Parse reads a Dockerfile; name stands in its error messages. Errors are *Error; the File that
// comes with one is good for Warnings only, or nil.
func Parse(source []byte, name string) (*File, error) {
	f := &File{Name: name, Source: source}
	if err := f.check(); err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(bytes.NewReader(source))
	if err != nil {
		return nil, f.foreign(err)
	}
	if n := len(parsed.AST.Children); n > maxInstructions {
		return nil, f.errorAt(fmt.Errorf("the Dockerfile has %d instructions, more than the %d that are allowed", n, maxInstructions), 0, 0)
	}
	f.escape = parsed.EscapeToken
	if err := f.readLintRules(); err != nil {
		return nil, err
	}
	rules := f.lint.linter(func(w Warning) { f.warnings = append(f.warnings, w) })
	lintParsed(parsed, rules)
	f.stages, f.globalArgs, err = instructions.Parse(parsed.AST, rules)
	if err != nil {
		return f, f.foreign(err)
	}
	if len(f.stages) == 0 {
		return f, f.errorAt(errors.New("no FROM: a Dockerfile needs at least one stage"), 0, 0)
	}
	return f, nil
}

// check refuses what the parser would report badly: without a line, or with one that is off by one.
func (f *File) check() error {
	if len(f.Source) > maxSource {
		return f.errorAt(fmt.Errorf("the Dockerfile has more than the %d bytes that are allowed; see whether it is one, or name another with -f", maxSource), 0, 0)
	}
	if len(bytes.TrimSpace(bytes.TrimPrefix(f.Source, []byte("\xef\xbb\xbf")))) == 0 {
		return f.errorAt(errors.New("the Dockerfile is empty"), 0, 0)
	}
	var directives parser.DirectiveParser
	line := 0
	for text := range bytes.SplitSeq(bytes.TrimPrefix(f.Source, []byte("\xef\xbb\xbf")), []byte("\n")) {
		line++
		if len(text) > maxLine {
			return f.errorAt(fmt.Errorf("the line has %d bytes, more than the %d that are allowed", len(text), maxLine), line, line)
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return f.errorAt(errors.New("the line has a NUL byte: the file is not text, or not in UTF-8"), line, line)
		}
		d, err := directives.ParseLine(bytes.TrimSpace(text))
		if err != nil {
			return f.errorAt(err, line, line)
		}
		if d != nil && d.Name == "escape" && d.Value != "`" && d.Value != `\` {
			return f.errorAt(fmt.Errorf("escape=%s: the escape character is either ` or \\", d.Value), line, line)
		}
	}
	return nil
}

// checkSyntax refuses a `# syntax=` line, or the build argument that replaces it, that asks for
// another language than Dockerfile. Which release of Docker's frontend it asks for makes no
// difference: what is not supported is refused where it is used.
func (f *File) checkSyntax(args map[string]string) error {
	if text, ok := args["BUILDKIT_SYNTAX"]; ok {
		name, _, _ := strings.Cut(strings.TrimSpace(text), " ")
		if name == "dockerfile.v0" || isDockerfileFrontend(name) {
			return nil
		}
		return fmt.Errorf("--build-arg BUILDKIT_SYNTAX=%s: only docker/dockerfile is understood; leave it out to read the file as a Dockerfile", text)
	}
	name, _, at, ok := parser.DetectSyntax(f.Source)
	if !ok || isDockerfileFrontend(name) {
		return nil
	}
	return f.errorIn(fmt.Errorf("syntax=%s: only docker/dockerfile is understood; remove the line to read the file as a Dockerfile", name), at)
}

// foreign is a parser's error, or that the file is in another language, which then is why.
func (f *File) foreign(err error) *Error {
	var syntax *Error
	if errors.As(f.checkSyntax(nil), &syntax) {
		return syntax
	}
	return f.parseError(err)
}

// isDockerfileFrontend knows the images of Docker's own frontend, stable, labs and upstream,
// whichever the tag or digest.
func isDockerfileFrontend(name string) bool {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "index."), "docker.io/")
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	return name == "docker/dockerfile" || name == "docker/dockerfile-upstream"
}
