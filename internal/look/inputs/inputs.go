// Package inputs tells what the steps of an image read of the files that were copied, and which of these they did not.
package inputs

import (
	"cmp"
	"context"
	"errors"
	"path"
	"slices"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
	"github.com/strata-build/strata/internal/look/history"
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
	// InOtherLayer says that a name which the copied layers do not have is in another one, of the base image for instance.
	InOtherLayer bool `json:"in_other_layer,omitempty"`
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
		step := Step{Instruction: history.Instruction(c.History[row.Row].CreatedBy)}
		below := stackBelow(s, c, row.Row)
		step.Read, step.Files = in.Counts()
		known := map[Input]bool{}
		for _, t := range in.Trees {
			for _, x := range t.Inputs {
				i := Input{Path: shown(t.Mount, x.Path), How: x.Asked.String()}
				if known[i] {
					continue // it may be asked for in several layers
				}
				known[i] = true
				if x.Asked&observed.Absent != 0 && t.Mount == "" && below != nil {
					_, err := below.Lookup(ctx, x.Path)
					i.InOtherLayer = err == nil
				}
				step.Inputs = append(step.Inputs, i)
			}
			unread, err := unread(ctx, s, &t)
			if err != nil {
				return nil, err
			}
			step.Unread = append(step.Unread, unread...)
		}
		slices.SortStableFunc(step.Inputs, func(a, b Input) int {
			return cmp.Or(cmp.Compare(slices.Index(order, a.How), slices.Index(order, b.How)), cmp.Compare(a.Path, b.Path))
		})
		steps = append(steps, step)
	}
	return steps, nil
}

// order is that of inputs: first what says most of a step.
var order = []string{
	observed.Read.String(), observed.Whole.String(), observed.Listed.String(), observed.Followed.String(),
	observed.LookedUp.String(), observed.Absent.String(),
}

// stackBelow is the state that the step of a history row starts from; nil if a layer of it is not here.
func stackBelow(s *store.Store, c *image.Config, row int) *layer.Stack {
	layers := 0
	for _, h := range c.History[:row] {
		if !h.EmptyLayer {
			layers++
		}
	}
	chain := c.RootFS.DiffIDs[:min(layers, len(c.RootFS.DiffIDs))]
	for _, d := range chain {
		if l, err := s.Layer(d); err != nil || !l.Present() {
			return nil
		}
	}
	stack, err := s.Stack(chain)
	if err != nil {
		return nil
	}
	return stack
}

func shown(mount, name string) string { return path.Join("/", mount, name) }

// unread are the files of a layer or a mount that were not read.
func unread(ctx context.Context, s *store.Store, t *observed.Tree) ([]string, error) {
	toc, err := tocOf(ctx, s, t)
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

// tocOf is the table of contents of a layer or of what a mount showed, nil of one that is not here.
func tocOf(ctx context.Context, s *store.Store, t *observed.Tree) (*layer.TOC, error) {
	if t.Mount != "" {
		toc, err := s.Listing(t.Of)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		return toc, err
	}
	l, err := s.Layer(t.Of)
	if err != nil || !l.Present() {
		return nil, nil
	}
	return l.TOC(ctx)
}
