// Package address reads the texts that name something which is neither in the build's context nor an image: a file that
// an http server has, or a directory of a git repository. It asks nobody; package remote does.
package address

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode"
)

// Source is what such a text names: exactly one of its fields is set.
type Source struct {
	// URL is the address of a file, http or https, as written.
	URL string
	// Git is a directory of a repository.
	Git *Repository
}

// String is the source without passwords, for messages.
func (s *Source) String() string {
	if s.Git != nil {
		return s.Git.String()
	}
	return Redact(s.URL)
}

// Parse reads a source of an ADD; nil if it is a path. What is a URL and what a repository is decided as in BuildKit
// (dockerfile2llb/convert_copy.go): an http URL is a repository if its path ends with ".git".
func Parse(text string) (*Source, error) {
	r, err := parseRepository(text)
	if err != nil {
		return nil, err
	}
	if r != nil && !r.local {
		return &Source{Git: r}, nil
	}
	if !isHTTP(text) {
		return nil, nil
	}
	return parseURL(text)
}

// ParseContext reads the argument of a build; nil if it is a path. There the old form github.com/owner/name is a
// repository too, unless there is a directory of that name (docker build, "Git repositories").
func ParseContext(text string) (*Source, error) {
	r, err := parseRepository(text)
	if err != nil {
		return nil, err
	}
	switch {
	case r != nil && r.local && isDir(text):
		return nil, nil
	case r != nil:
		return &Source{Git: r}, nil
	case !isHTTP(text):
		return nil, nil
	}
	return parseURL(text)
}

func isDir(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.IsDir()
}

func isHTTP(text string) bool {
	return strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://")
}

func parseURL(text string) (*Source, error) {
	u, err := url.Parse(text)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) { // it repeats the text, with a password that may be in it
			err = inner.Err
		}
		return nil, fmt.Errorf("not a URL: %w", err)
	}
	if u.Hostname() == "" {
		return nil, fmt.Errorf("the URL %s names no host", text)
	}
	return &Source{URL: text}, nil
}

// unnamed is how a file is called in a directory if its URL has no last part, in BuildKit and in Docker's classic
// builder.
const unnamed = "__unnamed__"

// FileName is the name that the file of a URL gets in a directory: the last part of the URL's path.
func FileName(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return unnamed
	}
	if base := path.Base(u.Path); base != "." && base != "/" {
		return safeName(base)
	}
	return unnamed
}

// LastPart is FileName for those who take a path that ends with a slash for that of a directory: ok is false then, and
// without a path.
func LastPart(text string) (name string, ok bool) {
	u, err := url.Parse(text)
	if err != nil || u.Path == "" || strings.HasSuffix(u.Path, "/") {
		return "", false
	}
	return FileName(text), true
}

// safeName makes a name of what may be a path, as BuildKit's pathutil.SafeFileName does: no directory, no control
// characters.
func safeName(text string) string {
	const other = "download"
	name := filepath.Base(strings.TrimSpace(text))
	if name == "." || name == ".." || name == "/" || strings.ContainsFunc(name, unicode.IsControl) {
		return other
	}
	return name
}

// Redact takes the password out of a URL, and leaves other texts as they are.
func Redact(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return text
	}
	return u.Redacted()
}
