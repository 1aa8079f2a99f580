package solver

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/copier"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/selection"
)

// findMounts finds what the mounts of a RUN show, in the order in which they are mounted: by
// target, so that one can lie in another (BuildKit, client/llb/exec.go).
func (s *Solver) findMounts(ctx context.Context, step *dockerfile.Step, files layer.Tree) ([]*exec.Mount, error) {
	var mounts []*exec.Mount
	for _, said := range step.Run.Mounts {
		if said.Type == dockerfile.MountSecret || said.Type == dockerfile.MountSSH {
			continue // they show no files of a context or a state
		}
		m := &exec.Mount{Mount: said}
		mounts = append(mounts, m)
		seen := files
		var from *State
		var err error
		switch {
		case said.Type == dockerfile.MountTmpfs:
			continue
		case said.From.Stage != nil:
			from, err = s.stage(ctx, said.From.Stage)
		case said.From.Image != "":
			from, err = s.image(ctx, said.From.Image, step.Stage.TargetPlatform())
			err = step.Stage.MountHint(said.From.Image, err)
		case said.From.Named != "":
			var named *Files
			if named, err = s.config.Inputs.Named(ctx, said.From.Named); err == nil {
				seen = named.Tree
			}
		case said.From.Scratch:
			from = Scratch(s.store, step.Stage.TargetPlatform())
		}
		if err != nil {
			return nil, err
		}
		if from == nil && said.From.Named == "" && !m.FromContext() {
			continue
		}
		sel, err := s.selectMount(ctx, &said, from, step, seen)
		if err != nil {
			return nil, err
		}
		if m.Content = sel; from != nil {
			m.From = from
		}
	}
	if c := s.config.Sandbox.Caches; c != nil {
		for _, m := range mounts {
			if m.Type == dockerfile.MountCache {
				c.Seen(m.Name(step.Stage.Platform.Architecture))
			}
		}
	}
	slices.SortStableFunc(mounts, func(a, b *exec.Mount) int { return cmp.Compare(a.Target, b.Target) })
	return mounts, nil
}

// selectMount finds what source= of a mount selects in a state or, where from is nil, in files of a context.
func (s *Solver) selectMount(ctx context.Context, m *dockerfile.Mount, from *State, step *dockerfile.Step, files layer.Tree) (*sources, error) {
	sel := &sources{Selection: copier.Selection{Tree: files, Context: from == nil}}
	read := func(ctx context.Context) error {
		options := selection.Options{Instruction: "RUN --mount", Literal: true}
		matches, err := selection.Select(ctx, sel.Tree, m.Source, options)
		if err != nil {
			return err
		}
		sel.Matches = matches
		if sel.sum, err = sel.sumItems(ctx); err != nil {
			return err
		}
		// Unlike a COPY, a mount shows the directory itself too.
		e := matches[0].Entry
		sel.sum = digest.FromString(fmt.Sprintf("%s %s %o %d:%d", sel.sum, sel.shape(), e.Mode, e.UID, e.GID))
		sel.name = sel.classicName()
		return nil
	}
	if from == nil {
		return sel, read(ctx)
	}
	key := &cache.Key{Kind: cache.KindSelection}
	key.Add(cache.PartMountSource, m.Source)
	key.Add(cache.PartChain, string(from.chain().shared))
	sel.Tree = nil
	return sel, s.selectOnce(ctx, from, step, sel, key, read)
}

// mountedAs is what a mount shows as it counts in a key.
func mountedAs(m *exec.Mount) cache.Mounted {
	return cache.Mounted{Sum: m.Content.Sum(), Target: m.Target}
}

// addMounts makes the mounts of a RUN a part of its key, as far as BuildKit counts them (solver/llbsolver/ops/exec.go):
// what a bind mount shows and what a cache begins with counts by content, the id of a cache and how it is shared not at
// all, nor what is in it.
func addMounts(key *cache.Key, mounts []*exec.Mount) {
	for _, m := range mounts {
		access := "rw"
		if m.ReadOnly {
			access = "ro"
		}
		words := []string{string(m.Type), m.Target, access}
		if m.Size > 0 {
			words = append(words, "size="+strconv.FormatInt(m.Size, 10))
		}
		for _, n := range []struct {
			name  string
			value *uint64
			base  int
		}{{"mode", m.Mode, 8}, {"uid", m.UID, 10}, {"gid", m.GID, 10}} {
			if n.value != nil {
				words = append(words, n.name+"="+strconv.FormatUint(*n.value, n.base))
			}
		}
		key.Add(cache.PartMount, strings.Join(words, " "))
		if m.Content != nil {
			key.Add(cache.PartMounted, mountedAs(m).String())
		}
	}
}
