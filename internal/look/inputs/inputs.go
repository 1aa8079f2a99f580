// Package inputs tells what the steps of an image read of the files that were copied, and which of these they did not.
package inputs

import (
	"context"
	"path"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
	"github.com/strata-build/strata/internal/store"
)

// Step is a RUN that was observed.
type Step struct {
	Instruction string `json:"instruction"`
	// Files is how many regular files it could have read, and Read how many it did.
	Files  int     `json:"files"`
	Read   int     `json:"read"`
	Inputs []Input `json:"inputs"`
	// Unread are the files that it did not read, as far as the layers that were copied are here.
	Unread []string `json:"unread,omitempty"`
}

// Input is a name that a step asked for.
type Input struct {
	Path string `json:"path"`
	// How is what was asked: "read", "listed", "looked up", …
	How string `json:"how"`
}

// Of gives the steps of an image that were observed. Nothing is fetched.
func Of(ctx context.Context, s *store.Store, c *image.Config) ([]Step, error) {
	var steps []Step
	for _, row := range c.Cached {
		if row.Weak == "" {
			continue
		}
		in, err := observed.Decode(row.Inputs)
		if err != nil {
			continue // of a COPY, or of another version
		}
		step := Step{Instruction: c.History[row.Row].CreatedBy}
		step.Read, step.Files = in.Counts()
		known := map[Input]bool{}
		for _, t := range in.Trees {
			for _, x := range t.Inputs {
				if i := (Input{shown(t.Mount, x.Path), x.Asked.String()}); !known[i] {
					known[i] = true // others may be asked for in several layers
					step.Inputs = append(step.Inputs, i)
				}
			}
			unread, err := unread(ctx, s, &t)
			if err != nil {
				return nil, err
			}
			step.Unread = append(step.Unread, unread...)
		}
		steps = append(steps, step)
	}
	return steps, nil
}

func shown(mount, name string) string { return path.Join("/", mount, name) }

// unread are the files of a layer that were not read.
func unread(ctx context.Context, s *store.Store, t *observed.Tree) ([]string, error) {
	toc, err := tocOf(ctx, s, t.Of)
	if toc == nil || err != nil {
		return nil, err
	}
	read := map[string]observed.Questions{}
	for _, x := range t.Inputs {
		read[x.Path] = x.Asked
	}
	var found []string
	for _, e := range toc.Entries {
		if e.Type == layer.File && read[e.Path]&observed.Read == 0 && !whole(read, e.Path) {
			found = append(found, shown(t.Mount, e.Path))
		}
	}
	return found, nil
}

// whole says whether a path is in a directory that counts as a whole.
func whole(read map[string]observed.Questions, name string) bool {
	for at := name; ; at = layer.Parent(at) {
		if read[at]&observed.Whole != 0 {
			return true
		}
		if at == "" {
			return false
		}
	}
}

// tocOf is the table of contents of a layer that is here, nil of another.
func tocOf(ctx context.Context, s *store.Store, diffID digest.Digest) (*layer.TOC, error) {
	l, err := s.Layer(diffID)
	if err != nil || !l.Present() {
		return nil, nil
	}
	return l.TOC(ctx)
}
