package layer

import (
	"context"
	"io"
	"time"
)

// Tree is a file tree whose entries can be listed and opened: a build context, or the merged state that a
// chain of layers gives. Paths are as in Entry.Path and are looked up as they stand: symlinks are
// not followed. errors.Is(err, fs.ErrNotExist) holds for a path that is not there, and for nothing else.
type Tree interface {
	// Capabilities are what the tree offers beside its entries.
	Capabilities() Capabilities
	// Lookup returns the entry of a path; the root is "". Its digest need not be known, see Sum.
	Lookup(ctx context.Context, path string) (*Entry, error)
	// ReadDir returns the entries of a directory, sorted by Compare; with their digests it is the same.
	ReadDir(ctx context.Context, path string) ([]*Entry, error)
	// Sum fills in Digest of those regular files among entries, all of this tree, that have none yet, or puts entries
	// that have it in their place. With it come the attributes (Xattrs) of a build context's files, which nobody reads
	// before.
	Sum(ctx context.Context, entries []*Entry) error
	// Open reads the contents of a regular file (or hard link) entry of this tree.
	Open(ctx context.Context, e *Entry) (io.ReadCloser, error)
}

// Capabilities are what some Trees offer and others do not. The zero value offers nothing; a nil function is one that
// the tree does not have.
type Capabilities struct {
	// Name is what the tree is called in each build that reads it, so that what is made of it can be kept under that
	// name; "" where no later build will meet it.
	Name string
	// Outside says that the tree is a part of a larger one and that a path that leads out of it is a mistake, as of a
	// build context. Other trees are a root: ".." stays there.
	Outside bool
	// Identities says of entries that ReadDir gave for dir which are names of one file: these have equal values. nil
	// is a file with one name; nil for all may stand for the whole list.
	Identities func(ctx context.Context, dir string, entries []*Entry) ([]any, error)
	// ModTime is the time of a path, finer than the seconds of an Entry; the zero time where it is not known.
	ModTime func(path string) time.Time
	// Preload lists a directory and all below it, which is quicker than one ReadDir after the other.
	Preload func(ctx context.Context, dir string) error
	// Excluded is the rule by which a path that is there does not show; "" if there is none.
	Excluded func(path string) string
}
