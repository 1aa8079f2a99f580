package layers

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// ErrUnsealed says that a tree is not as it was when it was sealed: it is damaged, or nobody has verified it yet.
var ErrUnsealed = errors.New("a layer's tree is not as it was sealed")

// Lowers are the trees of a chain while it is seen whether they are as they were sealed.
type Lowers struct {
	// Dirs are the folders that overlayfs takes as lower layers, the topmost first.
	Dirs []string

	looked chan struct{}
	err    error
}

// Trusted waits until all trees were looked at. ErrUnsealed says that what was mounted must not be used: Trees verifies
// the trees, and makes those again that are damaged.
func (lo *Lowers) Trusted(ctx context.Context) error {
	select {
	case <-lo.looked:
		return lo.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Lowers returns the trees of a chain at once, as they are, and looks at them meanwhile: a container can be made for a
// process, which must not be started before Trusted says so. Trees that are not here are made.
func (ls *Layers) Lowers(ctx context.Context, chain []digest.Digest) (*Lowers, error) {
	layers, err := ls.Chain(chain)
	if err != nil {
		return nil, err
	}
	lo := &Lowers{Dirs: make([]string, len(layers)), looked: make(chan struct{})}
	var here []*Layer
	var made errgroup.Group
	made.SetLimit(parallelTrees)
	for i, l := range layers {
		dir := &lo.Dirs[len(layers)-1-i]
		if *dir = ls.Path(l.DiffID, formTree); l.Present() && l.tree().Here() {
			here = append(here, l)
			continue
		}
		made.Go(func() (err error) {
			*dir, err = l.Tree(ctx)
			return err
		})
	}
	err = made.Wait()
	go func() {
		defer close(lo.looked)
		lo.err = mustBeSealed(here)
	}()
	return lo, err
}

// mustBeSealed looks at the trees of layers, a few at a time: each takes a few open files.
func mustBeSealed(layers []*Layer) error {
	var look errgroup.Group
	look.SetLimit(parallelTrees)
	for _, l := range layers {
		look.Go(func() error { return l.mustBeSealed() })
	}
	return look.Wait()
}

func (l *Layer) mustBeSealed() error {
	ok, err := l.layers.asSealed(l.DiffID, formTree)
	if err == nil && !ok {
		err = ErrUnsealed
	}
	return err
}
