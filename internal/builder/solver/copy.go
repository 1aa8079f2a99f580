package solver

import (
	"context"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/copier"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/local"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/layer"
)

// copyOperation is a COPY or ADD. Its key holds what is written, but for the sources, and what the sources
// select: relative path, type, mode, size and contents; no times, and no owner of the host.
func (s *Solver) copyOperation(ctx context.Context, parent *State, step *dockerfile.Step, files layer.Tree) (*operation, error) {
	c := step.Copy
	sel, err := s.selectSources(ctx, step, files)
	if err != nil {
		return nil, err
	}
	if err := copier.CheckChmod(c.Chmod); err != nil {
		return nil, err
	}
	key := &cache.Key{Kind: cache.KindCopy}
	if c.Add {
		key.Kind = cache.KindAdd
	}
	key.Add(cache.PartDest, c.Dest, strconv.FormatBool(c.DestDir))
	key.Add(cache.PartChown, c.Chown)
	key.Add(cache.PartChmod, c.Chmod)
	addCopyFlags(key, c)
	sel.addTo(key, c)
	op := &operation{
		keys: keys{key: key}, from: sel.from, content: sel.name, matches: sel.Matches, selected: sel.steps(), link: c.Link, remote: copier.Describe(sel.Remote),
	}
	if !c.Link {
		op.seesBelow(s.weakBelow(parent, c.Dest, c.Chown))
	}
	op.prepare = func(ctx context.Context) error {
		var states []*State
		if !c.Link && op.weak == nil { // what is recorded of the state below may do
			states = append(states, parent)
		}
		if sel.from != nil {
			states = append(states, sel.from)
		}
		return s.bring(ctx, states...)
	}
	op.draft = func(ctx context.Context) (*copier.Draft, error) {
		below := layer.Tree(layer.NewStack()) // with --link, its layer fits any state
		if !c.Link {
			if err := s.seeBelow(ctx, op, parent); err != nil {
				return nil, err
			}
			below = op.below
		}
		if err := sel.read(ctx); err != nil {
			return nil, err
		}
		return s.copier().Copy(ctx, below, c, &sel.Selection)
	}
	var earlier func() []digest.Digest
	if s.forced(step) == "" { // what is forced is made of nothing that is here, which may be why
		earlier = func() []digest.Digest { return s.earlier(op.key, step) }
	}
	op.run = s.runDraft(op, earlier)
	return op, nil
}

// maxLike is how many of the layers that an instruction made before are looked at.
const maxLike = 20

// earlier are the layers that a step's instruction made before, the last one first.
func (s *Solver) earlier(key *cache.Key, step *dockerfile.Step) []digest.Digest {
	like, err := local.Like(s.store, key, step.Text, maxLike)
	if err != nil {
		return nil // it only saves time
	}
	var all []digest.Digest
	for _, r := range like {
		if r.Layer != "" {
			all = append(all, r.Layer)
		}
	}
	return all
}

// workdirOperation is a WORKDIR: a directory with its parents, made where they are missing.
func (s *Solver) workdirOperation(parent *State, step *dockerfile.Step) (*operation, error) {
	key := &cache.Key{Kind: cache.KindWorkdir}
	dir := strings.Trim(step.Workdir.Path, "/")
	key.Add(cache.PartPath, dir)
	key.Add(cache.PartUser, step.Workdir.User)
	op := &operation{keys: keys{key: key}}
	op.seesBelow(s.weakBelow(parent, dir))
	op.draft = func(ctx context.Context) (*copier.Draft, error) {
		if err := s.seeBelow(ctx, op, parent); err != nil {
			return nil, err
		}
		return copier.MakeDir(ctx, op.below, dir, step.Workdir.User)
	}
	op.run = s.runDraft(op, nil)
	return op, nil
}

// runDraft makes the layer that an operation's draft tells of, out of an earlier one where that is quicker; earlier
// may be nil.
func (s *Solver) runDraft(op *operation, earlier func() []digest.Digest) func(context.Context) (exec.Made, error) {
	return func(ctx context.Context) (made exec.Made, err error) {
		w, err := op.draft(ctx)
		if err != nil {
			return made, err
		}
		defer w.Close()
		w.Reuse(earlier)
		w.Watch(func(current, total int64) {
			status := ""
			if current == total {
				status = "done"
			}
			s.events.Send(event.Progress{Vertex: op.vertex, Item: "copying files", Current: current, Total: total, Status: status})
		})
		made.Layer, err = w.Commit(ctx, s.store, s.keepEmpty())
		return made, err
	}
}

// below is what a COPY sees of the state that it is laid on: nothing with --link, so that its layer fits any.
func (s *Solver) below(parent *State, link bool) (*layer.Stack, error) {
	if link {
		return layer.NewStack(), nil
	}
	return parent.Stack()
}

// copier makes the layers of COPY, ADD and WORKDIR.
func (s *Solver) copier() *copier.Copier {
	return copier.New(s.store, s.config.Inputs.Fetch, s.config.Dialect.Copy)
}
