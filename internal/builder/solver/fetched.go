package solver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/source/address"
	"github.com/strata-build/strata/internal/builder/source/buildcontext"
	"github.com/strata-build/strata/internal/builder/source/remote"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/layer"
)

// fetched is a source of an ADD that is elsewhere, as its server says that it is now. Its bytes come when a step has to
// run: for the key, the digest of a URL's bytes and the commit of a repository are enough.
type fetched struct {
	*dockerfile.RemoteSource
	// sum and name are of a URL: the digest of its bytes, and what the file is called in a directory.
	sum  digest.Digest
	name string
	// file is nil while --checksum says all.
	file   *remote.File
	commit *remote.Commit // of a repository
}

// askElsewhere asks what the sources are now that are elsewhere: at the places of c.Sources, nil for a path.
func (s *Solver) askElsewhere(ctx context.Context, c *dockerfile.Copy) ([]*fetched, error) {
	if c.Remote == nil {
		return nil, nil
	}
	all := make([]*fetched, len(c.Remote))
	for i, e := range c.Remote {
		if e == nil {
			continue
		}
		var err error
		all[i] = &fetched{RemoteSource: e}
		if e.Git != nil {
			all[i].commit, err = s.Fetch.Commit(ctx, e.Git)
		} else {
			err = s.askURL(ctx, all[i], c)
		}
		if err != nil {
			return nil, advise(err, e)
		}
	}
	return all, nil
}

func (s *Solver) askURL(ctx context.Context, f *fetched, c *dockerfile.Copy) (err error) {
	f.name, f.sum = address.FileName(f.URL), f.Checksum
	if f.Checksum != "" {
		return nil
	}
	if f.file, err = s.Fetch.File(ctx, f.URL, ""); err != nil {
		return err
	}
	f.sum = f.file.Digest
	if s.Engine != dockerfile.Classic {
		return nil
	}
	// Docker's classic builder knows Content-Disposition where the URL names no file (getFilenameForDownload).
	name, named := address.LastPart(f.URL)
	if !named {
		name = f.file.Name
	}
	switch {
	case name != "":
		f.name = name
	case c.DestDir:
		return fmt.Errorf("cannot determine filename for source %s: write the file's whole destination", address.Redact(f.URL))
	}
	return nil
}

// advise says how a build does without a server that does not answer, where it was asked before.
func advise(err error, e *dockerfile.RemoteSource) error {
	var u *remote.UnreachableError
	if !errors.As(err, &u) || u.Known == "" {
		return err
	}
	if e.Git != nil {
		return fmt.Errorf("%w; it was %s when it last answered: with that commit in place of the ref, the build does not ask", err, u.Known)
	}
	return fmt.Errorf("%w; what it last gave is here: with ADD --checksum=%s the build does not ask", err, u.Known)
}

// addTo makes the key's parts of what the sources selected: of files their contents, of a URL the digest of its bytes
// and the file's name, of a repository the commit and what is taken of it.
func (sel *selection) addTo(key *cache.Key, c *dockerfile.Copy) {
	if sel.elsewhere == nil {
		key.Add(cache.PartContent, string(sel.sum))
		return
	}
	order := ""
	for _, f := range sel.elsewhere {
		switch {
		case f == nil:
			order += "f"
		case f.commit != nil:
			order += "g"
			f.addCommit(key)
		default:
			order += "u"
			key.Add(cache.PartURL, string(f.sum))
			key.Add(cache.PartFile, f.name)
		}
	}
	if strings.Contains(order, "f") {
		key.Add(cache.PartContent, string(sel.sum))
		key.Add(cache.PartOrder, order)
	}
	if strings.Contains(order, "u") && c.UnpackURL {
		key.Add(cache.PartUnpackURL, "true")
	}
	key.Add(cache.PartExclude, c.Exclude...)
}

func (f *fetched) addCommit(key *cache.Key) {
	key.Add(cache.PartGit, f.commit.ID)
	if f.Git.Subdir != "" {
		key.Add(cache.PartSubdir, f.Git.Subdir)
	}
	if f.keepsGitDir() {
		// The clone knows where it comes from.
		key.Add(cache.PartGitDir, address.Redact(f.Git.Remote), f.commit.Ref, f.commit.Tag)
	}
	if !f.takesSubmodules() {
		key.Add(cache.PartSubmodules, "false")
	}
	if f.Git.CommitTime {
		key.Add(cache.PartMTime, "commit")
	}
}

func (f *fetched) keepsGitDir() bool { return f.KeepGitDir && f.Git.Subdir == "" }

func (f *fetched) takesSubmodules() bool { return f.Git.Submodules == nil || *f.Git.Submodules }

// describe names sources that are elsewhere, for people.
func describe(all []*fetched) []string {
	var names []string
	for _, f := range all {
		switch {
		case f == nil:
		case f.commit == nil:
			names = append(names, "the URL "+address.Redact(f.URL))
		case f.commit.Ref == "":
			names = append(names, address.Redact(f.Git.Remote))
		default:
			kind, name := "the ref ", f.commit.Ref
			if branch, ok := strings.CutPrefix(name, "refs/heads/"); ok {
				kind, name = "the branch ", branch
			} else if tag, ok := strings.CutPrefix(name, "refs/tags/"); ok {
				kind, name = "the tag ", tag
			}
			names = append(names, kind+name+" of "+address.Redact(f.Git.Remote))
		}
	}
	return names
}

// classicNameElsewhere is classicName where a source is a URL: of one alone the digest of its bytes.
func (sel *selection) classicNameElsewhere() string {
	if len(sel.elsewhere) == 1 && sel.elsewhere[0].sum != "" {
		return "file:" + sel.elsewhere[0].sum.Encoded()
	}
	all := string(sel.sum)
	for _, f := range sel.elsewhere {
		if f != nil {
			all += " " + string(f.sum)
		}
	}
	return "multi:" + digest.FromString(all).Encoded()
}

// copyElsewhere copies a source that is elsewhere, and fetches it before.
func (s *Solver) copyElsewhere(ctx context.Context, w *copier, f *fetched, c *dockerfile.Copy) error {
	if f.commit != nil {
		return s.copyRepository(ctx, w, f, c)
	}
	if excluded, err := buildcontext.ExcludesFile(c.Exclude, f.name); err != nil || excluded {
		return err
	}
	if f.file == nil {
		var err error
		if f.file, err = s.Fetch.File(ctx, f.URL, f.Checksum); err != nil {
			return err
		}
	}
	plain := *c
	plain.Unpack = c.UnpackURL
	tree := newURLTree(f)
	return s.copyMatch(ctx, w, tree, buildcontext.Match{Path: f.name, Name: f.name, Items: []buildcontext.Item{{Entry: &tree.entry, Name: f.name}}}, &plain)
}

// copyRepository copies a repository's files as those of a directory.
func (s *Solver) copyRepository(ctx context.Context, w *copier, f *fetched, c *dockerfile.Copy) error {
	dir, err := s.Store.Temp("git")
	if err != nil {
		return err
	}
	w.cleanup = append(w.cleanup, func() { os.RemoveAll(dir) })
	files := filepath.Join(dir, "files")
	if err := os.Mkdir(files, 0o755); err != nil {
		return err
	}
	err = s.Fetch.Checkout(ctx, f.commit, remote.Tree{
		KeepGitDir: f.keepsGitDir(), Submodules: f.takesSubmodules(), CommitTime: f.Git.CommitTime,
	}, files)
	if err != nil {
		return err
	}
	tree, err := buildcontext.Open(files, buildcontext.Options{All: true})
	if err != nil {
		return err
	}
	w.cleanup = append(w.cleanup, func() { tree.Close() })
	matches, err := buildcontext.Select(ctx, tree, "/", buildcontext.SelectOptions{Instruction: "ADD", Exclude: c.Exclude})
	if err != nil {
		return err
	}
	for _, m := range matches {
		var entries []*layer.Entry
		for _, item := range m.Items {
			entries = append(entries, item.Entry)
		}
		if err := tree.Sum(ctx, entries); err != nil {
			return err
		}
		if err := s.copyMatch(ctx, w, tree, m, c); err != nil {
			return err
		}
	}
	return nil
}

// urlTree is a tree that holds the file of a URL: with the mode and owner that BuildKit and Docker's classic builder
// give it, and the time that the server said, 1970 without one.
type urlTree struct {
	entry layer.Entry
	file  *remote.File
}

func newURLTree(f *fetched) *urlTree {
	t := &urlTree{file: f.file}
	t.entry = layer.Entry{Path: f.name, Type: layer.File, Mode: 0o600, Size: f.file.Size, Digest: f.file.Digest}
	if !f.file.Modified.IsZero() {
		t.entry.ModTime = f.file.Modified.Unix()
	}
	return t
}

// Lookup, ReadDir, Sum and Open make it a layer.Tree.
func (t *urlTree) Lookup(path string) (*layer.Entry, error) {
	if path != t.entry.Path {
		return nil, &fs.PathError{Op: "lookup", Path: path, Err: fs.ErrNotExist}
	}
	e := t.entry
	return &e, nil
}

func (t *urlTree) ReadDir(path string) ([]*layer.Entry, error) {
	return nil, &fs.PathError{Op: "readdir", Path: path, Err: fs.ErrNotExist}
}

func (t *urlTree) Sum(context.Context, []*layer.Entry) error { return nil }

func (t *urlTree) Open(*layer.Entry) (io.ReadCloser, error) {
	return io.NopCloser(t.file.Reader()), nil
}
