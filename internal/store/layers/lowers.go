package layers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/erofs"
)

// ErrUnsealed says that a tree is not as it was when it was sealed: it is damaged, or nobody has verified it yet.
var ErrUnsealed = errors.New("a layer's tree is not as it was sealed")

// Lower is what overlayfs takes as a lower layer: a directory, or an EROFS index, which has to be mounted with the
// tars that it says where to find what is in files in (package layer/erofs).
type Lower struct {
	// Dir is the directory, "" where it is an index.
	Dir string
	// Index is the path of an index, and Tars are its devices, in their order.
	Index string
	Tars  []string
	// Layers is how many layers of the chain it stands for: those of an index, and empty ones.
	Layers int
}

// Open mounts the index, which is open: see erofs.Open. However many tars there are, it takes one file more.
func (lo *Lower) Open(index *os.File) (fd int, err error) {
	layers, err := os.Open(filepath.Dir(filepath.Dir(lo.Index)))
	if err != nil {
		return -1, err
	}
	defer layers.Close()
	tars := make([]string, len(lo.Tars))
	for i, path := range lo.Tars {
		name, err := filepath.Rel(layers.Name(), path)
		if err != nil {
			return -1, err
		}
		tars[i] = fmt.Sprintf("/proc/self/fd/%d/%s", layers.Fd(), name)
	}
	return erofs.Open(index, tars)
}

// Lowers are the layers of a chain as overlayfs takes them, while it is seen whether those that are trees are as they
// were sealed.
type Lowers struct {
	// All has the topmost first. Those of layers that somebody else shows are empty, and empty layers have none.
	All []Lower

	looked chan struct{}
	err    error
}

// Dirs are the directories of layers, one for each layer: "" where it has none.
func Dirs(lowers []Lower) []string {
	var dirs []string
	for _, lo := range lowers {
		for range lo.Layers {
			dirs = append(dirs, lo.Dir)
		}
	}
	return dirs
}

// Trusted waits until all trees were looked at. ErrUnsealed says that what was mounted must not be used: Mend verifies
// the trees, and makes those again that are damaged.
func (lo *Lowers) Trusted(ctx context.Context) error {
	select {
	case <-lo.looked:
		return lo.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Lowers returns the layers of a chain in the forms that overlayfs takes, which are made where they are not here.
// Trees are returned at once, as they are, and looked at meanwhile: a container can be made for a process, which must
// not be started before Trusted says so. Layers that served says, by their place in the chain, are left out: somebody
// else shows them.
func (ls *Layers) Lowers(ctx context.Context, chain []digest.Digest, served []bool) (*Lowers, error) {
	all, err := ls.Chain(chain)
	if err != nil {
		return nil, err
	}
	layers := showing(all, served)
	indexed := make([]bool, len(layers))
	err = inParallel(len(layers), func(i int) (err error) {
		if !layers[i].served {
			indexed[i], err = layers[i].indexable(ctx)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	bottom := 0 // how many layers are one index
	for bottom < len(layers) && indexed[bottom] {
		bottom++
	}
	var merged Lower
	if bottom < ls.mergeFrom() {
		bottom = 0
	} else if merged, err = ls.mergeShown(ctx, layers[:bottom]); errors.Is(err, errNoIndex) {
		bottom = 0
	} else if err != nil {
		return nil, err
	}
	lowers := make([]Lower, len(layers))
	var trees []*Layer
	here := make([]bool, len(layers))
	err = inParallel(len(layers)-bottom, func(i int) (err error) {
		i += bottom
		if !layers[i].served {
			lowers[i], here[i], err = layers[i].lower(ctx, indexed[i])
		}
		lowers[i].Layers = layers[i].layers
		return err
	})
	if err != nil {
		return nil, err
	}
	lo := &Lowers{looked: make(chan struct{})}
	for i := len(layers) - 1; i >= bottom; i-- {
		lo.All = append(lo.All, lowers[i])
		if here[i] {
			trees = append(trees, layers[i].Layer)
		}
	}
	if bottom > 0 {
		lo.All = append(lo.All, merged)
	}
	go func() {
		defer close(lo.looked)
		lo.err = inParallel(len(trees), func(i int) error { return trees[i].mustBeSealed() })
	}()
	return lo, nil
}

// shown is a layer of a chain that is a lower one of its own, or of which somebody else shows one.
type shown struct {
	*Layer
	served bool
	layers int // how many of the chain it stands for: itself and the empty ones beside it
}

// showing are the layers of a chain that make a difference, the lowest first: steps that wrote nothing leave empty
// layers, which a mount of hundreds of steps is spared. Of nothing but empty layers, one is left.
func showing(chain []*Layer, served []bool) []shown {
	var all []shown
	empty := 0 // below all others
	for i, l := range chain {
		isServed := i < len(served) && served[i]
		switch {
		case l.DiffID != layer.EmptyDiffID || isServed:
			all = append(all, shown{l, isServed, 1 + empty})
			empty = 0
		case len(all) > 0:
			all[len(all)-1].layers++
		default:
			empty++
		}
	}
	if empty > 0 {
		all = append(all, shown{chain[0], false, empty})
	}
	return all
}

// mergeShown is merge for layers that stand for others, too.
func (ls *Layers) mergeShown(ctx context.Context, all []shown) (Lower, error) {
	var layers []*Layer
	n := 0
	for _, s := range all {
		layers = append(layers, s.Layer)
		n += s.layers
	}
	lower, err := ls.merge(ctx, layers)
	lower.Layers = n
	return lower, err
}

// lower is one layer as overlayfs takes it. unseen is a tree that was here, and that nobody has looked at.
func (l *Layer) lower(ctx context.Context, indexed bool) (lower Lower, unseen bool, err error) {
	if indexed {
		lower, err := l.index(ctx)
		if !errors.Is(err, errNoIndex) {
			return lower, false, err
		}
	}
	lower = Lower{Dir: l.layers.Path(l.DiffID, formTree), Layers: 1}
	if l.Present() && l.tree().Here() {
		return lower, true, nil
	}
	lower.Dir, err = l.Tree(ctx)
	return lower, false, err
}

// Mend verifies those layers of a chain that are mounted as trees, and makes those again that are damaged.
func (ls *Layers) Mend(ctx context.Context, chain []digest.Digest) error {
	all, err := ls.Chain(chain)
	if err != nil {
		return err
	}
	layers := showing(all, nil)
	return inParallel(len(layers), func(i int) error {
		if indexed, err := layers[i].indexable(ctx); indexed || err != nil {
			return err
		}
		_, err := layers[i].Tree(ctx)
		return err
	})
}

func (l *Layer) mustBeSealed() error {
	ok, err := l.layers.asSealed(l.DiffID, formTree)
	if err == nil && !ok {
		err = ErrUnsealed
	}
	return err
}

// parallelLayers is how many layers are made or looked at at a time. Each needs about ten open files, of which a
// process may have no more than 64.
const parallelLayers = 4

// inParallel calls do with 0 to n-1, a few at a time.
func inParallel(n int, do func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(parallelLayers)
	for i := range n {
		g.Go(func() error { return do(i) })
	}
	return g.Wait()
}
