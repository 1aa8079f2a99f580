package copier

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
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/selection"
	"github.com/strata-build/strata/internal/sandbox/workspace"
)

// Remote is a remote source of an ADD, as its server says that it is now. Its bytes come when a step has to
// run: for the key, the digest of a URL's bytes and the commit of a repository are enough.
type Remote struct {
	*dockerfile.RemoteSource
	// Sum and Name are of a URL: the digest of its bytes, and what the file is called in a directory.
	Sum  digest.Digest
	Name string
	// file is nil while --checksum says all.
	file   *remote.File
	Commit *remote.Commit // of a repository, nil for a URL
}

// Ask asks what the remote sources of an ADD are now: at the places of c.Sources, nil for a path.
func (k *Copier) Ask(ctx context.Context, c *dockerfile.Copy) ([]*Remote, error) {
	if c.Remote == nil {
		return nil, nil
	}
	all := make([]*Remote, len(c.Remote))
	for i, e := range c.Remote {
		if e == nil {
			continue
		}
		var err error
		all[i] = &Remote{RemoteSource: e}
		if e.Git != nil {
			all[i].Commit, err = k.fetch.Commit(ctx, e.Git)
		} else {
			err = k.askURL(ctx, all[i], c)
		}
		if err != nil {
			return nil, advise(err, e)
		}
	}
	return all, nil
}

func (k *Copier) askURL(ctx context.Context, f *Remote, c *dockerfile.Copy) (err error) {
	f.Name, f.Sum = address.FileName(f.URL), f.Checksum
	if f.Checksum != "" {
		return nil
	}
	if f.file, err = k.fetch.File(ctx, f.URL, ""); err != nil {
		return err
	}
	f.Sum = f.file.Digest
	if !k.rules.ServerNamesFiles {
		return nil
	}
	name, named := address.LastPart(f.URL)
	if !named {
		name = f.file.Name
	}
	switch {
	case name != "":
		f.Name = name
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

// KeepsGitDir says that the copy has the repository itself beside its files.
func (f *Remote) KeepsGitDir() bool { return f.KeepGitDir && f.Git.Subdir == "" }

// TakesSubmodules says that the files of submodules are copied too.
func (f *Remote) TakesSubmodules() bool { return f.Git.Submodules == nil || *f.Git.Submodules }

// Describe names remote sources for people, in their order: "the URL http://…", "the branch main of https://…".
func Describe(all []*Remote) []event.RemoteSource {
	var names []event.RemoteSource
	for _, f := range all {
		switch {
		case f == nil:
		case f.Commit == nil:
			names = append(names, event.RemoteSource{Name: "the URL " + address.Redact(f.URL)})
		case f.Commit.Ref == "":
			names = append(names, event.RemoteSource{Name: address.Redact(f.Git.Remote), Git: true})
		default:
			kind, name := "the ref ", f.Commit.Ref
			if branch, ok := strings.CutPrefix(name, "refs/heads/"); ok {
				kind, name = "the branch ", branch
			} else if tag, ok := strings.CutPrefix(name, "refs/tags/"); ok {
				kind, name = "the tag ", tag
			}
			names = append(names, event.RemoteSource{Name: kind + name + " of " + address.Redact(f.Git.Remote), Git: true})
		}
	}
	return names
}

// copyRemote fetches a remote source and copies it.
func (k *Copier) copyRemote(ctx context.Context, w *Draft, f *Remote, c *dockerfile.Copy) error {
	if f.Commit != nil {
		return k.copyRepository(ctx, w, f, c)
	}
	if excluded, err := selection.ExcludesFile(c.Exclude, f.Name); err != nil || excluded {
		return err
	}
	if f.file == nil {
		var err error
		if f.file, err = k.fetch.File(ctx, f.URL, f.Checksum); err != nil {
			return err
		}
	}
	plain := *c
	plain.Unpack = c.UnpackURL
	tree := newURLTree(f)
	return k.copyMatch(ctx, w, tree, selection.Match{Path: f.Name, Name: f.Name, Entry: &tree.entry}, &plain)
}

// copyRepository copies a repository's files as those of a directory.
func (k *Copier) copyRepository(ctx context.Context, w *Draft, f *Remote, c *dockerfile.Copy) error {
	dir, err := k.store.Temp("git")
	if err != nil {
		return err
	}
	w.cleanup = append(w.cleanup, func() { os.RemoveAll(dir) })
	files := filepath.Join(dir, "files")
	if err := workspace.Mkdir(files, 0o755); err != nil {
		return err
	}
	err = k.fetch.Checkout(ctx, f.Commit, remote.Tree{
		KeepGitDir: f.KeepsGitDir(), Submodules: f.TakesSubmodules(), CommitTime: f.Git.CommitTime,
	}, files)
	if err != nil {
		return err
	}
	tree, err := buildcontext.Open(files, buildcontext.Options{All: true})
	if err != nil {
		return err
	}
	w.cleanup = append(w.cleanup, func() { tree.Close() })
	matches, err := selection.Select(ctx, tree, "/", selection.Options{Instruction: "ADD", Exclude: c.Exclude})
	if err != nil {
		return err
	}
	for _, m := range matches {
		if _, err := selection.Sum(ctx, tree, m.Items); err != nil {
			return err
		}
		if err := k.copyMatch(ctx, w, tree, m, c); err != nil {
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

func newURLTree(f *Remote) *urlTree {
	t := &urlTree{file: f.file}
	t.entry = layer.Entry{Path: f.Name, Type: layer.File, Mode: 0o600, Size: f.file.Size, Digest: f.file.Digest}
	if !f.file.Modified.IsZero() {
		t.entry.ModTime = f.file.Modified.Unix()
	}
	return t
}

// Capabilities, Lookup, ReadDir, Sum and Open make it a layer.Tree.
func (t *urlTree) Capabilities() layer.Capabilities { return layer.Capabilities{} }

func (t *urlTree) Lookup(_ context.Context, path string) (*layer.Entry, error) {
	if path != t.entry.Path {
		return nil, &fs.PathError{Op: "lookup", Path: path, Err: fs.ErrNotExist}
	}
	e := t.entry
	return &e, nil
}

func (t *urlTree) ReadDir(_ context.Context, path string) ([]*layer.Entry, error) {
	return nil, &fs.PathError{Op: "readdir", Path: path, Err: fs.ErrNotExist}
}

func (t *urlTree) Sum(context.Context, []*layer.Entry) error { return nil }

func (t *urlTree) Open(context.Context, *layer.Entry) (io.ReadCloser, error) {
	return io.NopCloser(t.file.Reader()), nil
}
