package equal

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// A listing has a line for each path that an image has and its base has not, or not like that:
//
//	path type mode uid:gid size-or-link attributes...
//
// The type is file, directory, symlink, fifo, character-device or block-device; "removed" follows the path of what
// the base has and the image has not. The mode is octal with four digits; a directory's size is "-", a symlink's
// place has its target. A path, target or text with blanks, quotes or bytes that do not print is quoted as in Go.
//
// Attributes are, in any order:
//
//	"text"         a file's contents, if they are no more than 200 bytes of UTF-8
//	sha256:<hex>   a file's contents
//	mtime=2026-01-02T03:04:05Z
//	linked=/path   the first of the names that are hard links of each other
//	xattr:NAME=hex an extended attribute
//
// "*" stands for any field, such as the size of a file that comes from the machine. A line that leaves out text, digest,
// mtime or linked does not mind them; extended attributes are never left out.

// row is a line of a listing: fields come first and are compared as they are, options where they are expected.
type row struct {
	fields  string
	options []string
}

// list makes the rows, by path, of what an image has over its base.
func list(image, base tree) map[string]row {
	rows := map[string]row{}
	for _, name := range paths(image, base) {
		n, there := image[name]
		before, wasThere := base[name]
		switch {
		case !there:
			rows[name] = row{fields: quote(name) + " removed"}
		case !wasThere || !cmp.Equal(n, before, unexported):
			rows[name] = n.row(name)
		}
	}
	return rows
}

func (n node) row(name string) row {
	what := "-"
	var options []string
	switch n.Type {
	case "file":
		what = strconv.FormatInt(n.Size, 10)
		options = append(options, "sha256:"+n.Digest)
		if int64(len(n.text)) == n.Size {
			options = append(options, strconv.Quote(n.text))
		}
	case "symlink":
		what = quote(n.Link)
	case "character device", "block device":
		what = n.Device
	}
	options = append(options, "mtime="+n.modTime.UTC().Format(time.RFC3339))
	if n.Linked != "" {
		options = append(options, quote("linked="+n.Linked))
	}
	fields := fmt.Sprintf("%s %s %04o %d:%d %s", quote(name), strings.ReplaceAll(n.Type, " ", "-"), n.Mode, n.UID, n.GID, what)
	for _, key := range sortedNames(n.Xattrs) {
		fields += fmt.Sprintf(" xattr:%s=%s", key, n.Xattrs[key])
	}
	return row{fields, options}
}

// String is the row as a case can expect it, with the text if it has one.
func (r row) String() string {
	for _, option := range r.options {
		if option[0] == '"' {
			return r.fields + " " + option
		}
	}
	return r.fields
}

// compareListing tells how rows differ from the lines that are expected, "" if they do not.
func compareListing(expected string, rows map[string]row) string {
	var want []string
	got := map[string]string{}
	for name, r := range rows {
		got[name] = r.String()
	}
	for line := range strings.Lines(expected) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		words, err := words(line)
		if err != nil {
			return fmt.Sprintf("%s: %v", line, err)
		}
		want = append(want, line)
		name, _ := unquote(words[0])
		if r := rows[name]; r.matches(words) {
			got[name] = line
		} else if strings.HasPrefix(line, r.fields+" ") {
			got[name] = strings.Join(append([]string{r.fields}, r.options...), " ")
		}
	}
	return compareLines(want, slices.Sorted(maps.Values(got)))
}

// compareLines shows the lines that are only in one of two lists; "" if there are none.
func compareLines(want, got []string) string {
	var b strings.Builder
	for _, line := range want {
		if !slices.Contains(got, line) {
			b.WriteString("-\t" + line + "\n")
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			b.WriteString("+\t" + line + "\n")
		}
	}
	return b.String()
}

// matches says whether a row is as the words of a line have it.
func (r row) matches(line []string) bool {
	var fields []string
	for i, word := range line {
		if i >= 5 && !strings.HasPrefix(word, "xattr:") {
			if !slices.Contains(r.options, word) {
				return false
			}
			continue
		}
		fields = append(fields, word)
	}
	have, _ := words(r.fields)
	return slices.EqualFunc(fields, have, func(want, got string) bool { return want == got || want == "*" })
}

// words cuts a line at its blanks, which quotes protect.
func words(line string) ([]string, error) {
	var words []string
	for line != "" {
		word, _, _ := strings.Cut(line, " ")
		if line[0] == '"' {
			var err error
			if word, err = strconv.QuotedPrefix(line); err != nil {
				return nil, err
			}
		}
		words = append(words, word)
		line = strings.TrimLeft(line[len(word):], " ")
	}
	return words, nil
}

func quote(text string) string {
	plain := func(r rune) bool { return r != ' ' && r != '"' && r != '\uFFFD' && unicode.IsPrint(r) }
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return !plain(r) }) {
		return strconv.Quote(text)
	}
	return text
}

func unquote(word string) (string, error) {
	if strings.HasPrefix(word, `"`) {
		return strconv.Unquote(word)
	}
	return word, nil
}
