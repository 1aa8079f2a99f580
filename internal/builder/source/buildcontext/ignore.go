package buildcontext

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/selection"
)

// Rule is a line of .dockerignore.
type Rule struct {
	File    string // as it can be shown: ".dockerignore" or the path of NAME.dockerignore
	Line    int    // from 1
	Pattern string // as patternmatcher takes it: cleaned, "!" in front of an exception
}

func (r Rule) String() string { return fmt.Sprintf("%s line %d (%s)", r.File, r.Line, r.Pattern) }

// rules are the rules of the .dockerignore that is in force.
type rules struct {
	list []Rule
	// prefixes says that no exception has a wildcard before its last component, so that a directory can
	// be left out unless an exception starts with its name. As in BuildKit's fsutil (filter.go).
	prefixes bool
}

type matchInfo = patternmatcher.MatchInfo

// readRules finds and reads the file with the rules, if there is one.
func readRules(dir, dockerfile string) (*rules, error) {
	if dockerfile != "" && dockerfile != "-" {
		name := dockerfile + ".dockerignore"
		b, err := readIgnoreFile(dir, name)
		if err == nil {
			return parseRules(shown(dir, name), b)
		}
		if !missing(err) {
			return nil, fmt.Errorf("read %s: %w", name, leadsOut(hintOf(err, "make it readable")))
		}
	}
	b, err := readIgnoreFile(dir, filepath.Join(dir, ".dockerignore"))
	if err != nil && !missing(err) {
		return nil, fmt.Errorf("read .dockerignore: %w", leadsOut(hintOf(err, "make it readable")))
	}
	return parseRules(".dockerignore", b)
}

// shown is how messages call the file: by its path in the context where it is there, which may be a temporary folder.
func shown(dir, name string) string {
	if rel, err := relative(dir, name); err == nil && filepath.IsAbs(name) {
		return rel
	}
	return name
}

func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

// readIgnoreFile reads a file; one inside the context through an os.Root, so that a symlink in a context
// that came as a tar does not lead out of it.
func readIgnoreFile(dir, name string) ([]byte, error) {
	const limit, flags = 4 << 20, os.O_RDONLY | unix.O_NONBLOCK // a pipe is refused, not waited for
	rel, err := relative(dir, name)
	if err != nil {
		f, err := os.OpenFile(name, flags, 0)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readBounded(f, limit)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(rel, flags, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, limit)
}

// relative returns name relative to dir, or an error if it is not below it.
func relative(dir, name string) (string, error) {
	d, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	n, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(d, n)
	if err == nil && !filepath.IsLocal(rel) {
		err = errors.New("outside")
	}
	return rel, err
}

// parseRules reads the rules of a file, line by line so as to keep the numbers of the lines.
func parseRules(file string, b []byte) (*rules, error) {
	r := &rules{prefixes: true}
	for i, line := range strings.Split(string(b), "\n") {
		if i > 0 {
			line = "\n" + line // so that only the first line of the file has its byte order mark removed
		}
		patterns, err := ignorefile.ReadAll(strings.NewReader(line))
		if err == nil {
			_, err = patternmatcher.New(patterns)
		}
		if err != nil {
			return nil, fmt.Errorf("%s line %d: %w; see \".dockerignore file\" in the Dockerfile reference", file, i+1, err)
		}
		for _, p := range patterns {
			p = selection.Pattern(p)
			r.list = append(r.list, Rule{File: file, Line: i + 1, Pattern: p})
			if p[0] == '!' && strings.ContainsAny(withoutGlob(p), `*[]?^\`) {
				r.prefixes = false
			}
		}
	}
	// A pattern that Match takes can still fail when it is compiled.
	if m := r.matcher(); m.all != nil {
		for i := range r.list {
			if _, err := newMatcher(r.list[i : i+1]).MatchesOrParentMatches("x"); err != nil {
				return nil, fmt.Errorf("%v: %w; correct the pattern", r.list[i], err)
			}
		}
	}
	return r, nil
}

func newMatcher(list []Rule) *patternmatcher.PatternMatcher {
	patterns := make([]string, len(list))
	for i, r := range list {
		patterns[i] = r.Pattern
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		panic(err) // each one was tried when it was read
	}
	return m
}

// excludedBy returns the last rule that turns a path from included to excluded.
func (r *rules) excludedBy(path string) (by Rule, excluded bool) {
	for i, rule := range r.list {
		if strings.HasPrefix(rule.Pattern, "!") != excluded {
			continue // it would change nothing
		}
		m, err := newMatcher(r.list[:i+1]).MatchesOrParentMatches(path)
		if err != nil {
			continue
		}
		if m && !excluded {
			by = rule
		}
		excluded = m
	}
	return by, excluded
}

// matcher matches paths for one goroutine: patternmatcher compiles its patterns when they are first used.
type matcher struct {
	rules *rules
	all   *patternmatcher.PatternMatcher // nil without rules
}

func (r *rules) matcher() *matcher {
	m := &matcher{rules: r}
	if len(r.list) > 0 {
		m.all = newMatcher(r.list)
	}
	return m
}

// match tells whether a path is excluded, given the result for its directory.
func (m *matcher) match(path string, parent matchInfo) (bool, matchInfo, error) {
	if m.all == nil {
		return false, matchInfo{}, nil
	}
	return m.all.MatchesUsingParentResults(path, parent)
}

// exceptionBelow tells whether an exception could let something below an excluded directory through.
func (m *matcher) exceptionBelow(dir string) bool {
	if !m.all.Exclusions() {
		return false
	}
	if !m.rules.prefixes {
		return true
	}
	for _, p := range m.all.Patterns() {
		if p.Exclusion() && strings.HasPrefix(withoutGlob(p.String())+"/", dir+"/") {
			return true
		}
	}
	return false
}

func withoutGlob(pattern string) string {
	return strings.TrimSuffix(strings.TrimSuffix(pattern, "/**"), "/*")
}

// IgnoresSource tells whether .dockerignore certainly keeps all that a COPY names from it, as BuildKit decides it for its
// warning (validateCopySourcePath): not where there are exceptions, and the context itself only by a pattern for all.
// source is as written in the Dockerfile.
func (c *Context) IgnoresSource(source string) bool {
	m := c.rules.matcher().all
	if m == nil || m.Exclusions() {
		return false
	}
	source = filepath.Clean(source)
	if source == "." || source == "/" {
		all := func(p *patternmatcher.Pattern) bool {
			return p.String() == "*" || p.String() == "**" || p.String() == "**/*"
		}
		return slices.ContainsFunc(m.Patterns(), all)
	}
	ignored, err := m.MatchesOrParentMatches(source)
	return err == nil && ignored
}
