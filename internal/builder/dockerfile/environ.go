package dockerfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// environ is an environment that remembers in which order its variables were last set, which is the order that a
// RUN of BuildKit sees them in. Setting is cheap: an old entry stays as a hole until there are more holes than entries.
type environ struct {
	entries []variable
	at      map[string]int // name → index in entries
}

type variable struct {
	name, value string
	hole        bool
}

func newEnviron(list []string) *environ {
	e := &environ{at: make(map[string]int, len(list))}
	for _, kv := range list {
		e.set(cutVariable(kv))
	}
	return e
}

func cutVariable(kv string) (name, value string) {
	name, value, _ = strings.Cut(kv, "=")
	return name, value
}

func (e *environ) set(name, value string) {
	if i, ok := e.at[name]; ok {
		e.entries[i].hole = true
	}
	e.at[name] = len(e.entries)
	e.entries = append(e.entries, variable{name: name, value: value})
	if len(e.entries) > 2*len(e.at)+16 {
		e.entries = slices.DeleteFunc(e.entries, func(v variable) bool { return v.hole })
		for i, v := range e.entries {
			e.at[v.name] = i
		}
	}
}

func (e *environ) unset(name string) {
	if i, ok := e.at[name]; ok {
		e.entries[i].hole = true
		delete(e.at, name)
	}
}

// Get and Keys make environ BuildKit's shell.EnvGetter.
func (e *environ) Get(name string) (string, bool) {
	i, ok := e.at[name]
	if !ok {
		return "", false
	}
	return e.entries[i].value, true
}

func (e *environ) Keys() []string {
	keys := make([]string, 0, len(e.at))
	for _, v := range e.entries {
		if !v.hole {
			keys = append(keys, v.name)
		}
	}
	return keys
}

func (e *environ) list() []string {
	list := make([]string, 0, len(e.at))
	for _, v := range e.entries {
		if !v.hole {
			list = append(list, v.name+"="+v.value)
		}
	}
	return list
}

func (e *environ) clone() *environ {
	return &environ{entries: slices.Clone(e.entries), at: maps.Clone(e.at)}
}

const (
	// maxExpansion bounds what the variables of one word may add up to, in bytes: without it, forty lines of
	// `ENV A=$A$A` ask for a terabyte.
	maxExpansion = 1 << 20
	// maxReplace is the same for words with ${name//pattern/text}, whose result grows with the product of two sizes:
	// at most maxReplace²/4 bytes.
	maxReplace = 16 << 10
	// maxNested is how deep ${name:-word} may be nested: the lexer reads an inner one once for each outer one.
	maxNested = 100
)

var errExpansion = errors.New("the variables here expand to more than is allowed")

// expansion is the result of expanding a word.
type expansion struct {
	text  string
	words []string            // if split
	used  map[string]struct{} // variables that are set
	unset map[string]struct{} // variables that are not
}

// expander expands words in an environment.
type expander struct {
	lex *shell.Lex
	env shell.EnvGetter
}

func (x expander) word(word string) (expansion, error)  { return x.expand(word, false) }
func (x expander) split(word string) (expansion, error) { return x.expand(word, true) }

func (x expander) expand(word string, split bool) (expansion, error) {
	word = string([]rune(word)) // the lexer complains on standard error about what is no UTF-8, then does the same
	if !strings.ContainsAny(word, "$\\`'\"<") && !split {
		return expansion{text: word}, nil // nothing in it is special
	}
	if nested(word) > maxNested {
		return expansion{}, fmt.Errorf("%.40s…: variables in variables more than %d deep are not supported; use several instructions", word, maxNested)
	}
	meter := &meteredEnv{EnvGetter: x.env, left: maxExpansion}
	if depth := replaceDepth(word); depth > 0 {
		if depth > 1 || len(word) > maxReplace {
			return expansion{}, fmt.Errorf("%.40s…: a ${name//pattern/text} inside another one is not supported; use two instructions", word)
		}
		meter.left = maxReplace
	}
	if split {
		words, err := x.lex.ProcessWords(word, meter)
		return expansion{words: words}, errors.Join(meter.err, unclosed(word, err))
	}
	r, err := x.lex.ProcessWordWithMatches(word, meter)
	if meter.err != nil {
		return expansion{}, meter.err
	}
	return expansion{text: r.Result, used: r.Matched, unset: r.Unmatched}, unclosed(word, err)
}

// unclosed explains what the lexer says of a ${name without an end: that the end of the text is no modifier.
func unclosed(word string, err error) error {
	if err != nil && strings.Contains(err.Error(), "unsupported modifier (\uFFFD)") {
		return fmt.Errorf("%.80s: syntax error: missing '}'", word)
	}
	return err
}

// meteredEnv gives values out until they add up to too much.
type meteredEnv struct {
	shell.EnvGetter
	left int
	err  error
}

func (m *meteredEnv) Get(name string) (string, bool) {
	value, ok := m.EnvGetter.Get(name)
	if m.left -= len(value); m.left < 0 {
		m.err = fmt.Errorf("$%s: %w", name, errExpansion)
		return "", ok
	}
	return value, ok
}

// nested is how deep ${ are nested in word, each closing brace taken for one.
func nested(word string) int {
	if strings.Count(word, "${") <= maxNested {
		return 0
	}
	deepest, now := 0, 0
	for i := range len(word) {
		switch {
		case strings.HasPrefix(word[i:], "${"):
			now++
			deepest = max(deepest, now)
		case word[i] == '}':
			now = max(now-1, 0)
		}
	}
	return deepest
}

// replaceDepth is how deep ${name//pattern/text} are nested in word: 0 without any. It may find more than there are,
// never fewer: where quotes or escapes could hide a closing brace, none is believed.
func replaceDepth(word string) int {
	closes := !strings.ContainsAny(word, "\\`'\"")
	deepest, now := 0, 0
	var open []bool // for every ${ that is open, whether it is a replacement
	for i := range len(word) {
		switch {
		case strings.HasPrefix(word[i:], "${"):
			replaces := strings.HasPrefix(afterName(word[i+2:]), "//")
			if open = append(open, replaces); replaces {
				now++
				deepest = max(deepest, now)
			}
		case word[i] == '}' && closes && len(open) > 0:
			if open[len(open)-1] {
				now--
			}
			open = open[:len(open)-1]
		}
	}
	return deepest
}

// afterName is what follows a variable's name: letters, digits and _, or one special character such as @.
func afterName(s string) string {
	_, size := utf8.DecodeRuneInString(s)
	return strings.TrimLeftFunc(s[size:], func(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) })
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
