package layer

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
)

// Partial is a tree of which some is known beforehand. What is not known is looked up in the tree itself, whose layers may have to
// be fetched for that. It can be used by several goroutines.
type Partial struct {
	Tree
	known []*TOC

	mu    sync.Mutex
	asked map[string]bool
}

// NewPartial returns a tree of which Excerpt has told something before, maybe several times. nil or none is a tree of which nothing
// is known.
func NewPartial(t Tree, known []*TOC) *Partial {
	return &Partial{Tree: t, known: known, asked: map[string]bool{}}
}

// Lookup returns the entry of a path; the root is "".
func (p *Partial) Lookup(ctx context.Context, path string) (*Entry, error) {
	p.mu.Lock()
	p.asked[path] = true
	p.mu.Unlock()
	for _, t := range p.known {
		if e, ok := t.recall(path); ok && e != nil {
			return e, nil
		} else if ok {
			return nil, &fs.PathError{Op: "lookup", Path: path, Err: fs.ErrNotExist}
		}
	}
	return p.Tree.Lookup(ctx, path)
}

// Open reads a file of the tree itself.
func (p *Partial) Open(ctx context.Context, e *Entry) (io.ReadCloser, error) {
	real, err := p.Tree.Lookup(ctx, e.Path)
	if err != nil {
		return nil, err
	}
	return p.Tree.Open(ctx, real)
}

// recall is what an excerpt says of a path: its entry, nil where it is known not to be there; false if it says nothing. In an excerpt,
// a Whiteout is a path that is not there, and an opaque directory one that holds nothing beside what the excerpt lists.
func (t *TOC) recall(path string) (*Entry, bool) {
	for at := path; ; at = Parent(at) {
		e := t.Lookup(at)
		switch {
		case e == nil && at == "":
			return nil, false
		case e == nil:
			continue
		case e.Type == Whiteout:
			return nil, true
		case at == path:
			plain := *e
			plain.Opaque = false
			return &plain, true
		case e.Type != Dir:
			return nil, true
		}
		return nil, e.Opaque
	}
}

// maxListed is how many names a directory has at most of which an excerpt lists all. Names that are new in it are then known not to
// be there.
const maxListed = 64

// Excerpt is what was looked up, and what is beside it where that is little: enough for those who look up about the same.
func (p *Partial) Excerpt(ctx context.Context) (*TOC, error) {
	p.mu.Lock()
	asked := slices.Sorted(maps.Keys(p.asked))
	p.mu.Unlock()
	x := &excerpt{tree: p, found: map[string]*Entry{}, listed: map[string]bool{}}
	for _, path := range asked {
		if err := x.add(ctx, path); err != nil {
			return nil, err
		}
	}
	return NewTOC(slices.Collect(maps.Values(x.found)))
}

// excerpt is an excerpt that is being made.
type excerpt struct {
	tree   *Partial
	found  map[string]*Entry
	listed map[string]bool // directories of which it was seen whether they can be listed
}

// add adds a path with the directories above it; of a path that is not there, the uppermost of them that is not.
func (x *excerpt) add(ctx context.Context, path string) error {
	if path != "" {
		if err := x.add(ctx, Parent(path)); err != nil {
			return err
		}
	}
	e := x.found[path]
	if e == nil {
		parent := x.found[Parent(path)]
		if path != "" && (parent == nil || parent.Type != Dir || parent.Opaque) {
			return nil // what is above says it
		}
		found, err := x.tree.Lookup(ctx, path)
		if errors.Is(err, fs.ErrNotExist) {
			x.found[path] = &Entry{Path: path, Type: Whiteout}
			return nil
		}
		if err != nil {
			return err
		}
		e = x.put(found)
	}
	if e.Type != Dir || x.listed[path] {
		return nil
	}
	x.listed[path] = true
	children, known := x.tree.list(ctx, path)
	if !known || len(children) > maxListed {
		return nil
	}
	e.Opaque = true
	for _, c := range children {
		if x.found[c.Path] == nil {
			x.put(c)
		}
	}
	return nil
}

func (x *excerpt) put(e *Entry) *Entry {
	c := *e
	c.Offset, c.Opaque = 0, false
	x.found[e.Path] = &c
	return &c
}

// list are the entries in a directory, if they are known.
func (p *Partial) list(ctx context.Context, dir string) ([]*Entry, bool) {
	for _, t := range p.known {
		e := t.Lookup(dir)
		if e == nil || !e.Opaque {
			continue
		}
		var children []*Entry
		for _, c := range t.Entries {
			if c.Path != dir && Parent(c.Path) == dir {
				children = append(children, c)
			}
		}
		return children, true
	}
	if len(p.known) > 0 {
		return nil, false // the tree itself may not be here
	}
	children, err := p.Tree.ReadDir(ctx, dir)
	return children, err == nil
}
