package solver

import (
	"context"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/copier"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/selection"
)

// sources are what a COPY or ADD reads.
type sources struct {
	copier.Selection
	sum  digest.Digest
	name string // as the classic engine's history rows name the contents
	// from is the state that is copied from, nil for a context; step is the record of the selection in it.
	from *State
	step *cache.Step
	// read makes Tree and Matches, which are not there yet where only sum and name were known.
	read func(context.Context) error
	// lengths are how many items each of Matches has.
	lengths []int
}

// steps are the records of the sources.
func (sel *sources) steps() []cache.Step {
	if sel.step == nil {
		return nil
	}
	return []cache.Step{*sel.step}
}

// Sum implements exec.Content.
func (sel *sources) Sum() digest.Digest { return sel.sum }

// Files implements exec.Content: the files of a mount's only source.
func (sel *sources) Files(ctx context.Context) (*exec.Files, error) {
	if sel.read != nil {
		if err := sel.read(ctx); err != nil {
			return nil, err
		}
	}
	return &exec.Files{Tree: sel.Tree, Match: sel.Matches[0], Context: sel.Context}, nil
}

func (s *Solver) selectSources(ctx context.Context, step *dockerfile.Step, files layer.Tree) (*sources, error) {
	c := step.Copy
	sel := &sources{Selection: copier.Selection{Tree: files, Context: c.From.Stage == nil && c.From.Image == "" && !c.From.Scratch}}
	var from *State
	var err error
	switch {
	case c.From.Stage != nil:
		from, err = s.stage(ctx, c.From.Stage)
	case c.From.Image != "":
		from, err = s.image(ctx, c.From.Image, step.Stage.TargetPlatform())
		err = step.Stage.ImageHint(c.From.Image, err)
	case c.From.Scratch:
		from = Scratch(s.store, step.Stage.TargetPlatform())
	}
	if err != nil {
		return nil, err
	}
	if from != nil {
		sel.Tree, sel.from = nil, from
		return sel, s.selectFrom(ctx, from, step, sel)
	}
	sel.read = func(context.Context) error { return nil }
	if sel.Remote, err = s.copier().Ask(ctx, c); err != nil {
		return nil, err
	}
	return sel, s.selectIn(ctx, step, sel)
}

// selectIn selects in the selection's tree.
func (s *Solver) selectIn(ctx context.Context, step *dockerfile.Step, sel *sources) error {
	c := step.Copy
	name := "COPY"
	if c.Add {
		name = "ADD"
	}
	options := selection.Options{
		Instruction: name, Strict: s.config.Dialect.Copy.StrictSources, AllowEmpty: true, Exclude: c.Exclude, Parents: c.Parents,
	}
	sel.Matches, sel.Counts = nil, make([]int, len(c.Sources))
	for i, source := range c.Sources {
		if sel.Remote != nil && sel.Remote[i] != nil {
			continue
		}
		matches, err := selection.Select(ctx, sel.Tree, source, options)
		if err != nil {
			return err
		}
		sel.Counts[i] = len(matches)
		sel.Matches = append(sel.Matches, matches...)
	}
	if err := s.checkMatches(name, c, len(sel.Matches)+len(copier.Describe(sel.Remote))); err != nil {
		return err
	}
	sum, err := sel.sumItems(ctx)
	if err != nil {
		return err
	}
	sel.sum = digest.FromString(string(sum) + sel.shape())
	sel.name = sel.classicName()
	return nil
}

// sumItems is the digest of all items, which it counts.
func (sel *sources) sumItems(ctx context.Context) (digest.Digest, error) {
	sel.lengths = make([]int, len(sel.Matches))
	all := make([]selection.Items, len(sel.Matches))
	for i, m := range sel.Matches {
		all[i] = func(ctx context.Context, each func(*selection.Item) error) error {
			return m.Items(ctx, func(it *selection.Item) error {
				sel.lengths[i]++
				return each(it)
			})
		}
	}
	return selection.Sum(ctx, sel.Tree, all...)
}

// checkMatches refuses no matches at all and, for a destination that is a file, several: see
// dialect.Copy.StrictSources.
func (s *Solver) checkMatches(name string, c *dockerfile.Copy, n int) error {
	switch {
	case !s.config.Dialect.Copy.StrictSources:
		return nil
	case n == 0:
		return fmt.Errorf("%s failed: no source files were specified: nothing matches %s", name, strings.Join(c.Sources, " "))
	case n > 1 && !c.DestDir:
		return fmt.Errorf("%s failed: when using %[1]s with more than one source file, the destination must be a directory and end with a /", name)
	}
	return nil
}

// shape tells where one match ends and the next begins: an empty directory makes the destination, and no match
// at all makes nothing, though neither has items.
func (sel *sources) shape() string {
	var b strings.Builder
	for i, m := range sel.Matches {
		if m.Dir {
			fmt.Fprintf(&b, "d%d", sel.lengths[i])
		} else {
			b.WriteByte('f')
		}
	}
	return b.String()
}

// classicName names the contents as the classic engine's history rows do.
func (sel *sources) classicName() string {
	if sel.Remote != nil {
		return sel.classicNameRemote()
	}
	kind := "multi:"
	if len(sel.Matches) == 1 {
		kind = "file:"
		if sel.Matches[0].Dir {
			kind = "dir:"
		}
	}
	return kind + sel.sum.Encoded()
}

// classicNameRemote is classicName where a source is a URL: of one alone the digest of its bytes.
func (sel *sources) classicNameRemote() string {
	if len(sel.Remote) == 1 && sel.Remote[0].Sum != "" {
		return "file:" + sel.Remote[0].Sum.Encoded()
	}
	all := string(sel.sum)
	for _, f := range sel.Remote {
		if f != nil {
			all += " " + string(f.Sum)
		}
	}
	return "multi:" + digest.FromString(all).Encoded()
}
