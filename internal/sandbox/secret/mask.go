package secret

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// Masked stands in a text for what a secret says, as in BuildKit.
const Masked = "****"

// Of a secret of several lines, as a key or a file of settings is, lines and words that are shorter than this are no
// secret by themselves: "{", "true", the name of a setting.
const (
	shortestLine = 4
	shortestWord = 12
)

// mask replaces what the secrets say that steps were given.
type mask struct {
	mu     sync.Mutex
	given  map[string]bool // by id
	texts  []string
	hidden *strings.Replacer // nil for nothing
	length int               // of the longest text
}

// add hides a secret from now on.
func (m *mask) add(id string, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.given[id] {
		return
	}
	if m.given == nil {
		m.given = map[string]bool{}
	}
	m.given[id] = true
	m.texts = append(m.texts, telling(string(data))...)
	// Where several begin at one place, the first of the list counts: the longest.
	slices.SortFunc(m.texts, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	m.texts = slices.Compact(m.texts)
	var pairs []string
	for _, text := range m.texts {
		pairs = append(pairs, text, Masked)
		m.length = max(m.length, len(text))
	}
	if len(pairs) > 0 {
		m.hidden = strings.NewReplacer(pairs...)
	}
}

// Hide has Mask replace a text that is no secret of --secret, such as the password of a proxy.
func (s *Store) Hide(text string) { s.mask.add("hidden "+text, []byte(text)) }

// HidePassword hides the password in the address of a proxy.
func (s *Store) HidePassword(address string) {
	password := passwordOf(address)
	if password == "" {
		return
	}
	s.Hide(password)
	if plain, err := url.PathUnescape(password); err == nil {
		s.Hide(plain)
	}
}

// passwordOf is the password in the address of a proxy, with a scheme or without one, as it is written there; "" for none.
func passwordOf(address string) string {
	if _, rest, ok := strings.Cut(address, "://"); ok {
		address = rest
	}
	at := strings.LastIndexByte(address, '@')
	_, password, _ := strings.Cut(address[:max(0, at)], ":")
	return password
}

// telling are the parts of a secret that are not to be seen on a line of text: all of it where it is a line; else its lines,
// and words of them that are long enough to be a token.
func telling(secret string) []string {
	var all []string
	lines := strings.FieldsFunc(strings.TrimSpace(secret), func(r rune) bool { return r == '\n' || r == '\r' })
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line != "" && (len(lines) == 1 || len(line) >= shortestLine) {
			all = append(all, line)
		}
		for _, word := range strings.FieldsFunc(line, isBetweenWords) {
			if len(word) >= shortestWord {
				all = append(all, word)
			}
		}
	}
	return all
}

func isBetweenWords(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`"'=:,;@`, r) }

// Mask replaces in a line of text what the secrets say that steps were given until now. Length is that of the longest
// text that it replaces, 0 where there is none: so much of the end of a line that goes on may be the beginning of one.
func (s *Store) Mask(line string) (masked string, length int) {
	if s == nil {
		return line, 0
	}
	s.mask.mu.Lock()
	hidden, length := s.mask.hidden, s.mask.length
	s.mask.mu.Unlock()
	if hidden == nil {
		return line, 0
	}
	return hidden.Replace(line), length
}
