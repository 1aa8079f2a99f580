package address

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Repository is a directory of a git repository, in the state that a ref or a commit names. The forms are BuildKit's:
// REPOSITORY#REF:DIRECTORY, and REPOSITORY?ref=…&tag=…&branch=…&commit=…&checksum=…&subdir=…&keep-git-dir=…
// &submodules=…&mtime=… (docker build, "URL queries").
type Repository struct {
	// Remote is the address for git: https, http, ssh, git, or user@host:path.
	Remote string
	// Ref is a branch, a tag or a whole commit, "" for the default branch.
	Ref string
	// Checksum is the commit that the ref has to stand for, or how it begins; "" for any.
	Checksum string
	// Subdir is a directory of the repository, relative to its root and clean; "" for the root.
	Subdir string
	// KeepGitDir and Submodules are nil if nothing was said.
	KeepGitDir, Submodules *bool
	// CommitTime gives all files the time of the commit, instead of that of the checkout.
	CommitTime bool
	// ByCommit takes the checksum, a whole commit, without asking what the ref stands for.
	ByCommit bool

	local bool // written like a path: github.com/owner/name
}

// String is the repository in the form with a fragment, without passwords.
func (r *Repository) String() string {
	text := Redact(r.Remote)
	if r.Ref == "" && r.Subdir == "" {
		return text
	}
	text += "#" + r.Ref
	if r.Subdir != "" {
		text += ":" + r.Subdir
	}
	return text
}

// SSH says that the repository is reached through ssh.
func (r *Repository) SSH() bool {
	return strings.HasPrefix(r.Remote, "ssh://") || !strings.Contains(r.Remote, "://")
}

// Host is the remote's host, with its port if it is a URL that has one.
func (r *Repository) Host() string {
	if u, err := url.Parse(r.Remote); err == nil && u.Host != "" {
		return u.Host
	}
	_, rest, _ := strings.Cut(r.Remote, "@")
	host, _, _ := strings.Cut(rest, ":")
	return host
}

// parseRepository reads a reference to a repository; nil if the text is something else.
func parseRepository(text string) (*Repository, error) {
	address, fragment, query, ok := splitAddress(text)
	if !ok {
		return nil, nil
	}
	r := &Repository{Remote: address, local: strings.HasPrefix(text, "github.com/")}
	ref, dir, _ := strings.Cut(fragment, ":")
	r.Ref, r.Subdir = ref, strings.Trim(path.Clean("/"+dir), "/")
	if err := r.query(query); err != nil {
		return nil, fmt.Errorf("the address of the git repository %s: %w", Redact(r.Remote), err)
	}
	return r, r.check()
}

// scpStyle is user@host:path, which git understands beside URLs.
var scpStyle = regexp.MustCompile(`^[a-zA-Z0-9_-]+@[a-zA-Z0-9.-]+:`)

// splitAddress takes the address of a repository apart; ok is false for what is none.
func splitAddress(text string) (address, fragment string, query url.Values, ok bool) {
	if scpStyle.MatchString(text) {
		address, fragment, _ = strings.Cut(text, "#")
		address, raw, _ := strings.Cut(address, "?")
		query, err := url.ParseQuery(raw)
		return address, fragment, query, err == nil
	}
	short := strings.HasPrefix(text, "github.com/")
	if short {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", "", nil, false
	}
	switch u.Scheme {
	case "git", "ssh":
		ok = true
	case "http", "https":
		ok = short || strings.HasSuffix(u.Path, ".git")
	}
	ok = ok && strings.HasPrefix(text[len(u.Scheme):], "://")
	fragment, query = u.Fragment, u.Query()
	u.Fragment, u.RawFragment, u.RawQuery, u.ForceQuery = "", "", "", false
	return u.String(), fragment, query, ok
}

// WithChecksum is the repository with what --checksum says, which must not contradict the address.
func (r *Repository) WithChecksum(sum string) (*Repository, error) {
	if r.Checksum != "" && r.Checksum != sum {
		return nil, fmt.Errorf("--checksum=%s says another commit than the address, which says %s; leave one away", sum, r.Checksum)
	}
	c := *r
	c.Checksum = sum
	return &c, c.check()
}

var hexadecimal = regexp.MustCompile(`^[0-9a-fA-F]+$`)

// check refuses what git could take for an option (git-remote(1) and ssh(1) both had such holes), and refs that git
// knows none of (git-check-ref-format(1)).
func (r *Repository) check() error {
	user, rest, scp := strings.Cut(r.Remote, "@")
	if strings.Contains(r.Remote, "://") {
		u, err := url.Parse(r.Remote)
		if err != nil {
			return fmt.Errorf("%s is not the address of a git repository", Redact(r.Remote))
		}
		user, rest, scp = u.User.Username(), u.Host, true
		if u.Host == "" && !r.local {
			return fmt.Errorf("the address %s names no host", Redact(r.Remote))
		}
	}
	_, after, _ := strings.Cut(rest, ":")
	if strings.HasPrefix(user, "-") || scp && strings.HasPrefix(rest, "-") || strings.HasPrefix(after, "-") {
		return fmt.Errorf("%s: a part of the address begins with a dash", Redact(r.Remote))
	}
	if strings.ContainsFunc(r.Remote+r.Subdir, isControl) {
		return fmt.Errorf("the address of the git repository has a control character")
	}
	if strings.HasPrefix(r.Ref, "-") || strings.ContainsFunc(r.Ref, isControl) || strings.ContainsAny(r.Ref, " ~^:?*[\\") ||
		strings.Contains(r.Ref, "..") {
		return fmt.Errorf("invalid git ref %q: give a branch, a tag or a whole commit", r.Ref)
	}
	if r.Checksum != "" && !hexadecimal.MatchString(r.Checksum) {
		return fmt.Errorf("invalid checksum %s of a git repository: it takes a commit, in hexadecimal digits", r.Checksum)
	}
	if r.ByCommit && !IsCommit(r.Checksum) && !IsCommit(r.Ref) {
		return fmt.Errorf("fetch-by-commit needs a whole commit: give it with checksum=…")
	}
	return nil
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

// IsCommit says that a text is a whole commit: 40 hexadecimal digits in lower case, or 64 in a repository of SHA-256.
func IsCommit(text string) bool {
	return (len(text) == 40 || len(text) == 64) && hexadecimal.MatchString(text) && strings.ToLower(text) == text
}

// Submodule is the repository of a submodule, at a commit. Its address need not end with ".git", and has no fragment
// and no query.
func Submodule(address, commit string) (*Repository, error) {
	u, err := url.Parse(address)
	known := err == nil && u.Host != "" && slices.Contains([]string{"https", "http", "ssh", "git"}, u.Scheme)
	if !known && !scpStyle.MatchString(address) {
		return nil, fmt.Errorf("its address %s is not allowed: it takes https, http, ssh or git", Redact(address))
	}
	r := &Repository{Remote: address, Ref: commit}
	return r, r.check()
}
