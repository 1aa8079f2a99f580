package remote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/strata-build/strata/internal/builder/source/address"
)

// Commit is what a repository's ref stands for.
type Commit struct {
	Repository *address.Repository
	// ID is the commit.
	ID string
	// Ref is the whole name of the ref, "refs/heads/main"; "" if a commit was asked for.
	Ref string
	// Tag is the object of an annotated tag, "" if the ref is none.
	Tag string
}

// Commit finds out what a repository's ref stands for, which asks the server once in a build and moves no files. A
// whole commit needs no answer.
func (f *Fetcher) Commit(ctx context.Context, r *address.Repository) (*Commit, error) {
	c, err := f.commit(ctx, r)
	if err == nil {
		algorithm := "sha1"
		if len(c.ID) == 64 { // of a repository with SHA-256 (gitformat-hash-function-transition(5))
			algorithm = "sha256"
		}
		f.take(r.String(), algorithm, c.ID)
	}
	return c, err
}

func (f *Fetcher) commit(ctx context.Context, r *address.Repository) (*Commit, error) {
	if address.IsCommit(r.Ref) {
		return &Commit{Repository: r, ID: r.Ref}, checkCommit(r, r.Ref)
	}
	if r.ByCommit {
		return &Commit{Repository: r, ID: r.Checksum, Ref: branchName(r.Ref)}, nil
	}
	c, err := once(&f.mu, f.commits, r.Remote+"#"+r.Ref, func() (*Commit, error) {
		g, err := f.gitFor(r)
		if err != nil {
			return nil, err
		}
		c, err := g.resolve(ctx, r)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		dir, release, lockErr := f.folder(ctx, "git", mirrorName(r.Remote))
		if lockErr != nil {
			return nil, lockErr
		}
		defer release()
		if err != nil {
			return nil, gitHint(r, err, readSeen(dir)[r.Ref])
		}
		return c, writeSeen(dir, r.Ref, c.ID)
	})
	if err != nil {
		return nil, fmt.Errorf("asking the git repository %s: %w", address.Redact(r.Remote), err)
	}
	own := *c
	own.Repository = r
	return &own, checkCommit(r, c.ID, c.Tag)
}

func branchName(ref string) string {
	if ref == "" || strings.HasPrefix(ref, "refs/") {
		return ref
	}
	return "refs/heads/" + ref
}

// checkCommit compares a commit with the checksum that it is to have, which may be the beginning of it. That of an
// annotated tag may be meant too.
func checkCommit(r *address.Repository, ids ...string) error {
	if r.Checksum == "" {
		return nil
	}
	for _, id := range ids {
		if id != "" && strings.HasPrefix(id, r.Checksum) {
			return nil
		}
	}
	return fmt.Errorf("the git repository %s: expected checksum to match %s, got %s; see whether that is the commit that you want before you write it there",
		r, r.Checksum, ids[0])
}

// resolve asks the server what a ref stands for. In case of doubt a branch is meant, as for git checkout.
func (g *git) resolve(ctx context.Context, r *address.Repository) (*Commit, error) {
	if r.Ref == "" {
		return g.resolveHead(ctx, r)
	}
	out, err := g.run(ctx, nil, "ls-remote", "--", address.Redact(r.Remote), r.Ref, r.Ref+"^{}")
	if err != nil {
		return nil, err
	}
	refs := readRefs(out)
	for _, name := range []string{
		withPrefix("refs/", r.Ref), withPrefix("refs/heads/", r.Ref), withPrefix("refs/tags/", r.Ref),
	} {
		id, ok := refs[name]
		if !ok {
			continue
		}
		if commit, ok := refs[name+"^{}"]; ok {
			return &Commit{ID: commit, Ref: name, Tag: id}, nil
		}
		return &Commit{ID: id, Ref: name}, nil
	}
	return nil, fmt.Errorf("repository does not contain ref %s; give a branch, a tag or a whole commit that it has", r.Ref)
}

func (g *git) resolveHead(ctx context.Context, r *address.Repository) (*Commit, error) {
	out, err := g.run(ctx, nil, "ls-remote", "--symref", "--", address.Redact(r.Remote), "HEAD")
	if err != nil {
		return nil, err
	}
	c := &Commit{ID: readRefs(out)["HEAD"]}
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(line, "ref: "); ok {
			c.Ref, _, _ = strings.Cut(name, "\t")
		}
	}
	if c.ID == "" {
		return nil, errors.New("could not find its default branch; name a branch, a tag or a commit")
	}
	return c, nil
}

// readRefs reads what git ls-remote prints: object, tab, name.
func readRefs(out string) map[string]string {
	refs := map[string]string{}
	for line := range strings.Lines(out) {
		id, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if ok && address.IsCommit(id) {
			refs[name] = id
		}
	}
	return refs
}

func withPrefix(prefix, name string) string {
	if strings.HasPrefix(name, prefix) {
		return name
	}
	return prefix + name
}

// gitHint says what can be done about a git that failed.
func gitHint(r *address.Repository, err error, seen string) error {
	var failed *gitError
	if !errors.As(err, &failed) {
		return err
	}
	said := failed.said
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(said, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("terminal prompts disabled", "could not read Username", "Authentication failed", "returned error: 403", "returned error: 401"):
		return fmt.Errorf("%w; see whether the address is right; a private repository wants a token: --secret id=GIT_AUTH_TOKEN,src=FILE, or to bake BUILDX_BAKE_GIT_AUTH_TOKEN in the environment", err)
	case has("Permission denied (publickey"):
		return fmt.Errorf("%w; a repository through ssh wants a key: --ssh default with an agent that has it (SSH_AUTH_SOCK)", err)
	case has("not found", "does not appear to be a git repository", "repository not exported"):
		return fmt.Errorf("%w; see whether the address is right", err)
	}
	return &UnreachableError{Cause: err, Known: seen}
}

// mirrorName is the folder of a remote.
func mirrorName(address string) string {
	sum := sha256.Sum256([]byte(address))
	return hex.EncodeToString(sum[:16])
}

// readSeen gives what the refs of a remote stood for when it was last asked.
func readSeen(dir string) map[string]string {
	seen := map[string]string{}
	if data, err := os.ReadFile(filepath.Join(dir, "seen")); err == nil && json.Unmarshal(data, &seen) != nil {
		return map[string]string{}
	}
	return seen
}

func writeSeen(dir, ref, id string) error {
	before := readSeen(dir)
	seen := maps.Clone(before)
	seen[ref] = id
	now := time.Now()
	if before[ref] == id {
		return os.Chtimes(dir, now, now)
	}
	data, err := json.Marshal(seen)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, ".seen"), data, 0o600)
	}
	if err == nil {
		err = os.Rename(filepath.Join(dir, ".seen"), filepath.Join(dir, "seen"))
	}
	return err
}
