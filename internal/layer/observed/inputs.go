package observed

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// Questions is a set of what was asked of a name.
type Questions uint8

// The questions. Every name that anything was asked of was looked up.
const (
	LookedUp     Questions = 1 << iota // it was found
	Absent                             // it was looked up and is not there
	Read                               // its contents, or some of them
	Listed                             // the names in it
	Followed                           // where it leads, of a symbolic link
	Whole                              // it and all that is in it: asked in the place of many questions
	allQuestions = LookedUp | Absent | Read | Listed | Followed | Whole
)

// String says it for people: "read".
func (q Questions) String() string {
	switch {
	case q&Absent != 0:
		return "looked for"
	case q&Whole != 0:
		return "read with all in it"
	case q&Read != 0:
		return "read"
	case q&Listed != 0:
		return "listed"
	case q&Followed != 0:
		return "followed"
	}
	return "looked up"
}

// Input is a name that something was asked of, with the answer.
type Input struct {
	Path   string // as layer.Entry has it
	Asked  Questions
	Answer Sum // zero if it is absent
}

// Tree is what a step asked of one layer, or of what a mount shows.
type Tree struct {
	// Of is the layer's diffID, or the digest of what the mount shows.
	Of digest.Digest
	// Mount is where the mount is; "" for a layer.
	Mount string
	// Files is how many regular files there are, and Read how many of them were read.
	Files, Read int
	Inputs      []Input // in canonical order
}

// Inputs are what a step asked of all that was served to it, the lowest layer first, then the mounts in their order.
type Inputs struct{ Trees []Tree }

// Counts is how many files there were to read, and how many were read.
func (in *Inputs) Counts() (read, files int) {
	for _, t := range in.Trees {
		read, files = read+t.Read, files+t.Files
	}
	return read, files
}

// Change is an answer that has changed.
type Change struct {
	Mount string
	Path  string
	Asked Questions
	// Gone says that the name is not there any more.
	Gone bool
}

// String says it for people: "/app/requirements.txt, which it read, has changed".
func (c *Change) String() string {
	path := strings.TrimSuffix(c.Mount, "/") + "/" + c.Path
	switch {
	case c.Asked&Absent != 0:
		return path + ", which it looked for, is there now"
	case c.Gone:
		return fmt.Sprintf("%s, which it %s, is gone", path, c.Asked)
	case c.Asked&Whole != 0:
		return fmt.Sprintf("something in %s, of which it read most, has changed", path)
	}
	return fmt.Sprintf("%s, which it %s, has changed", path, c.Asked)
}

// Served is a layer, or what a mount shows, that a step would be served.
type Served struct {
	Of digest.Digest
	// TOC reads its table of contents.
	TOC func() (*layer.TOC, error)
}

// Compare asks other layers what a step asked, and returns the first answer that is another one; nil if all are the same. What is
// served has to stand in the order that the step had it in. Nothing is read of a layer that is the same. Another error of
// TOC is returned.
func (in *Inputs) Compare(served []Served) (*Change, error) {
	if len(served) != len(in.Trees) {
		return &Change{Asked: Listed}, nil // other layers altogether: their key is another one
	}
	for i, t := range in.Trees {
		if t.Of == served[i].Of || len(t.Inputs) == 0 {
			continue
		}
		toc, err := served[i].TOC()
		if err != nil {
			return nil, err
		}
		if c := t.compare(NewView(toc)); c != nil {
			return c, nil
		}
	}
	return nil, nil
}

func (t *Tree) compare(v *View) *Change {
	for _, in := range t.Inputs {
		n, there := v.Find(in.Path)
		switch {
		case in.Asked&Absent != 0:
			if there && counts(Absence) {
				return &Change{t.Mount, in.Path, in.Asked, false}
			}
		case !there:
			return &Change{t.Mount, in.Path, in.Asked, true}
		case v.sum(n, in.Asked) != in.Answer:
			return &Change{t.Mount, in.Path, in.Asked, false}
		}
	}
	return nil
}

// Rebase returns the inputs as those of what was found to give the same answers.
func (in *Inputs) Rebase(served []Served) *Inputs {
	out := &Inputs{Trees: append([]Tree(nil), in.Trees...)}
	for i := range out.Trees {
		out.Trees[i].Of = served[i].Of
	}
	return out
}
