package dockerfile

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/builder/source/address"
)

// RemoteSource is a source of an ADD that is not in the context.
type RemoteSource struct {
	*address.Source
	// Checksum is the digest that a URL's bytes have to have, "" for any. That of a repository is in it.
	Checksum digest.Digest
	// KeepGitDir keeps a repository's .git.
	KeepGitDir bool
}

// remoteSources finds the sources that are URLs and git repositories: as many as there are sources,
// with nil for a path; nil if all are paths. checksum and keepGitDir are the flags of the
// instruction.
func (in *instruction) remoteSources(add bool, sources []string, checksum string, keepGitDir *bool) ([]*RemoteSource, error) {
	if checksum != "" && len(sources) != 1 {
		return nil, errors.New("ADD --checksum: checksum can't be specified for multiple sources; write an ADD for each")
	}
	var all []*RemoteSource
	for i, text := range sources {
		s, err := address.Parse(text)
		if err != nil {
			return nil, err
		}
		if s == nil {
			continue
		}
		if err := checkRemote(s, add, in.dialect.File); err != nil {
			return nil, err
		}
		e := &RemoteSource{Source: s}
		if err := e.flags(checksum, keepGitDir); err != nil {
			return nil, err
		}
		if all == nil {
			all = make([]*RemoteSource, len(sources))
		}
		all[i] = e
	}
	if checksum != "" && all == nil {
		return nil, errors.New("ADD --checksum: checksum requires HTTP(S) or Git sources; leave it away for a file of the context")
	}
	return all, nil
}

func checkRemote(s *address.Source, add bool, rules dialect.File) error {
	kind := "URL"
	if s.Git != nil {
		kind = "git repository"
	}
	switch {
	case !add:
		return fmt.Errorf("COPY %s: the source of a COPY cannot be a %s; use ADD", s, kind)
	case !rules.BuildKit && s.Git != nil:
		return fmt.Errorf("ADD %s: a git repository requires BuildKit: build without DOCKER_BUILDKIT=0", s)
	}
	return nil
}

// flags applies --checksum and --keep-git-dir.
func (e *RemoteSource) flags(checksum string, keepGitDir *bool) error {
	if e.Git == nil {
		if checksum == "" {
			return nil
		}
		var err error
		if e.Checksum, err = digest.Parse(checksum); err != nil {
			return fmt.Errorf("ADD --checksum=%s: %w; it takes sha256:, sha384: or sha512: and the digits", checksum, err)
		}
		return nil
	}
	if keep := e.Git.KeepGitDir; keep != nil {
		if keepGitDir != nil && *keepGitDir != *keep {
			return fmt.Errorf("ADD %s: the address contradicts --keep-git-dir; leave one away", e)
		}
		keepGitDir = keep
	}
	e.KeepGitDir = keepGitDir != nil && *keepGitDir
	if checksum == "" {
		return nil
	}
	git, err := e.Git.WithChecksum(checksum)
	if err != nil {
		return fmt.Errorf("ADD %s: %w", e, err)
	}
	e.Source = &address.Source{Git: git}
	return nil
}
