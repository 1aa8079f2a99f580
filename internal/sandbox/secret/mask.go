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
	texts  []string        // sorted; nobody changes one that is there
	length int             // of the longest text
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
	m.texts = slices.Concat(m.texts, telling(string(data)))
	slices.Sort(m.texts)
	m.texts = slices.Compact(m.texts)
	for _, text := range m.texts {
		m.length = max(m.length, len(text))
	}
}

// span is a part of a line, in bytes.
type span struct{ from, to int }

// hide replaces in a line what any of some texts covers. Where they overlap, all of it is one: what one covers of the other's
// beginning must not leave its end.
func hide(line string, texts []string) string {
	var found []span
	for _, text := range texts {
		for from := 0; ; {
			i := strings.Index(line[from:], text)
			if i < 0 {
				break
			}
			found = append(found, span{from + i, from + i + len(text)})
			from += i + 1
		}
	}
	if found == nil {
		return line
	}
	slices.SortFunc(found, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	var b strings.Builder
	end := 0 // of what is in b, or hidden
	for i, s := range found {
		if i == 0 || s.from >= end {
			b.WriteString(line[end:s.from])
			b.WriteString(Masked)
		}
		end = max(end, s.to)
	}
	b.WriteString(line[end:])
	return b.String()
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

// passwordOf is the password in the address of a proxy, with a scheme or without one, as it is written there. Where there is only a
// user who is as long as a token, that is one: some proxies want it so. "" is for none.
func passwordOf(address string) string {
	if _, rest, ok := strings.Cut(address, "://"); ok {
		address = rest
	}
	at := strings.LastIndexByte(address, '@')
	user, password, _ := strings.Cut(address[:max(0, at)], ":")
	if password == "" && len(user) >= shortestWord {
		return user
	}
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
	texts, length := s.mask.texts, s.mask.length
	s.mask.mu.Unlock()
	return hide(line, texts), length
}
