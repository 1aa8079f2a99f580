package solver

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/source/buildcontext"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/layer"
)

// selection is what a COPY or ADD reads.
type selection struct {
	tree    layer.Tree
	matches []buildcontext.Match // of tree
	counts  []int                // how many of the matches are of each source
	// elsewhere are the sources that are neither in tree nor in another one.
	elsewhere []*fetched
	sum       digest.Digest
	name      string // as the classic engine's history rows name the contents
	context   bool   // tree is the build's context
	// step is the record of a selection in another state.
	step *cache.Step
	// read makes tree and matches, which are not there yet where only sum and name were known.
	read func(context.Context) error
}

// steps are the records of the selection.
func (sel *selection) steps() []cache.Step {
	if sel.step == nil {
		return nil
	}
	return []cache.Step{*sel.step}
}

// copyOperation is a COPY or ADD. Its key holds what is written, but for the sources, and what the sources
// select: relative path, type, mode, size and contents; no times, and no owner of the host.
func (s *Solver) copyOperation(ctx context.Context, parent *State, step *dockerfile.Step, files layer.Tree) (*operation, error) {
	c := step.Copy
	sel, err := s.selectSources(ctx, step, files)
	if err != nil {
		return nil, err
	}
	mode, err := parseChmod(c.Chmod)
	if err != nil {
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
		key: key, content: sel.name, matches: sel.matches, selected: sel.steps(), link: c.Link, elsewhere: describe(sel.elsewhere),
	}
	op.draft = func(ctx context.Context) (*copier, error) {
		below, err := s.below(ctx, parent, c.Link)
		if err != nil {
			return nil, err
		}
		o, err := s.copyOwner(below, c)
		if err != nil {
			return nil, err
		}
		w := newCopier(below, o)
		w.mode = mode
		w.noXattrs = sel.context
		if err := sel.read(ctx); err != nil {
			return nil, err
		}
		err = s.copySources(ctx, w, sel, c)
		if err == nil {
			err = s.copyInline(ctx, w, c)
		}
		if err != nil {
			w.close()
			return nil, err
		}
		return w, nil
	}
	op.run = s.runDraft(op)
	return op, nil
}

// copySources copies what the sources selected, in their order.
func (s *Solver) copySources(ctx context.Context, w *copier, sel *selection, c *dockerfile.Copy) error {
	rest := sel.matches
	for i, n := range sel.counts {
		if sel.elsewhere != nil && sel.elsewhere[i] != nil {
			if err := s.copyElsewhere(ctx, w, sel.elsewhere[i], c); err != nil {
				return err
			}
		}
		for _, m := range rest[:n] {
			if err := s.copyMatch(ctx, w, sel.tree, m, c); err != nil {
				return err
			}
		}
		rest = rest[n:]
	}
	return nil
}

// runDraft makes the layer that an operation's draft tells of.
func (s *Solver) runDraft(op *operation) func(context.Context) (digest.Digest, error) {
	return func(ctx context.Context) (digest.Digest, error) {
		w, err := op.draft(ctx)
		if err != nil {
			return "", err
		}
		defer w.close()
		return w.commit(ctx, s.Store, s.keepEmpty())
	}
}

// addCopyFlags makes parts of the flags that are set: without any of them, the key is what it was before there were any.
func addCopyFlags(key *cache.Key, c *dockerfile.Copy) {
	if c.Unpack != c.Add {
		key.Add(cache.PartUnpack, strconv.FormatBool(c.Unpack))
	}
	if c.Parents {
		key.Add(cache.PartParents, "true")
	}
	if c.Link {
		key.Add(cache.PartLink, "true")
	}
	for _, file := range c.Inline {
		key.Add(cache.PartInline, file.Name, string(digest.FromString(file.Data)))
	}
}

// below is what a COPY sees of the state that it is laid on: nothing with --link, so that its layer fits any.
func (s *Solver) below(ctx context.Context, parent *State, link bool) (*layer.Stack, error) {
	if link {
		return layer.NewStack(), nil
	}
	return parent.stack(ctx)
}

func (s *Solver) selectSources(ctx context.Context, step *dockerfile.Step, files layer.Tree) (*selection, error) {
	c := step.Copy
	sel := &selection{tree: files, context: c.From.Stage == nil && c.From.Image == "" && !c.From.Scratch}
	var from *State
	var err error
	switch {
	case c.From.Stage != nil:
		from, err = s.stage(ctx, c.From.Stage)
	case c.From.Image != "":
		from, err = s.image(ctx, c.From.Image, step.Stage.TargetPlatform())
	case c.From.Scratch:
		from = Scratch(s.Store, step.Stage.TargetPlatform())
	}
	if err != nil {
		return nil, err
	}
	if from != nil {
		sel.tree = nil
		return sel, s.selectFrom(ctx, from, step, sel)
	}
	sel.read = func(context.Context) error { return nil }
	if sel.elsewhere, err = s.askElsewhere(ctx, c); err != nil {
		return nil, err
	}
	return sel, s.selectIn(ctx, step, sel)
}

// selectIn selects in the selection's tree.
func (s *Solver) selectIn(ctx context.Context, step *dockerfile.Step, sel *selection) error {
	c := step.Copy
	name := "COPY"
	if c.Add {
		name = "ADD"
	}
	options := buildcontext.SelectOptions{
		Instruction: name, Strict: s.Engine == dockerfile.Classic, AllowEmpty: true, Exclude: c.Exclude, Parents: c.Parents,
	}
	var items []buildcontext.Item
	sel.matches, sel.counts = nil, make([]int, len(c.Sources))
	for i, source := range c.Sources {
		if sel.elsewhere != nil && sel.elsewhere[i] != nil {
			continue
		}
		matches, err := buildcontext.Select(ctx, sel.tree, source, options)
		if err != nil {
			return err
		}
		sel.counts[i] = len(matches)
		for _, m := range matches {
			sel.matches = append(sel.matches, m)
			items = append(items, m.Items...)
		}
	}
	if err := s.checkMatches(name, c, len(sel.matches)+len(describe(sel.elsewhere))); err != nil {
		return err
	}
	var err error
	if sel.sum, err = buildcontext.Sum(ctx, sel.tree, items); err != nil {
		return err
	}
	sel.sum = digest.FromString(string(sel.sum) + sel.shape())
	sel.name = sel.classicName()
	return nil
}

// checkMatches refuses what Docker's classic builder does (moby, getCopyInstruction); to BuildKit nothing is
// nothing, and the last of several files on one name stays.
func (s *Solver) checkMatches(name string, c *dockerfile.Copy, n int) error {
	switch {
	case s.Engine != dockerfile.Classic:
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
func (sel *selection) shape() string {
	var b strings.Builder
	for _, m := range sel.matches {
		if m.Dir {
			fmt.Fprintf(&b, "d%d", len(m.Items))
		} else {
			b.WriteByte('f')
		}
	}
	return b.String()
}

// classicName names the contents as the classic engine's history rows do.
func (sel *selection) classicName() string {
	if sel.elsewhere != nil {
		return sel.classicNameElsewhere()
	}
	kind := "multi:"
	if len(sel.matches) == 1 {
		kind = "file:"
		if sel.matches[0].Dir {
			kind = "dir:"
		}
	}
	return kind + sel.sum.Encoded()
}

// copyMatch copies one of the things that the sources selected.
func (s *Solver) copyMatch(ctx context.Context, w *copier, t layer.Tree, m buildcontext.Match, c *dockerfile.Copy) error {
	dest, err := w.resolve(c.Dest)
	if err != nil {
		return err
	}
	if c.Unpack && !m.Dir {
		archive, err := s.openArchive(ctx, t, m.Items[0].Entry)
		if err != nil {
			return err
		}
		if archive != nil {
			w.archives = append(w.archives, archive)
			if s.Engine == dockerfile.Classic {
				defer func(o *owner) { w.owner = o }(w.owner)
				w.owner = nil // --chown does not reach into archives (performCopyForInfo in builder/dockerfile/copy.go)
			}
			return w.unpack(archive, dest)
		}
	}
	if m.Dir {
		if s.Engine == dockerfile.Classic {
			err = w.makeParents(layer.Parent(dest))
		}
		if err == nil {
			err = w.makeDirs(dest, 0o755)
		}
		if err != nil {
			return err
		}
		return w.putItems(t, m.Items, dest)
	}
	there, err := w.lookup(dest)
	if err != nil {
		return err
	}
	if c.DestDir || there != nil && there.Type == layer.Dir {
		dest = path.Join(dest, m.Name)
	}
	if err := w.makeDirs(layer.Parent(dest), 0o755); err != nil {
		return err
	}
	return w.put(t, m.Items[0].Entry, dest)
}

func (c *copier) putItems(t layer.Tree, items []buildcontext.Item, dest string) error {
	for _, it := range items {
		target := path.Join(dest, it.Target)
		if it.OnTheWay {
			if err := c.passThrough(t, it.Entry, target); err != nil {
				return err
			}
			continue
		}
		if err := c.put(t, it.Entry, target); err != nil {
			return err
		}
		if it.Link == "" {
			continue
		}
		c.link(target, path.Join(dest, it.Link))
	}
	return nil
}
