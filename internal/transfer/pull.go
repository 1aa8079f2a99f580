package transfer

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Pulled is what a pull brought.
type Pulled struct {
	ID     digest.Digest // the image's
	Digest digest.Digest // of the index or manifest that the name has in its registry
	// Fresh says that the name meant another image before, or none, or that a layer was not here.
	Fresh bool
}

// Pull brings the image that ref names for a platform, with all its layers. The name means that image once all of them are here.
func (m *Mover) Pull(ctx context.Context, ref reference.Named, w Wanted) (*Pulled, error) {
	want := w.Platform
	if err := m.Store.Begin(); err != nil {
		return nil, err
	}
	before, _ := m.Store.ResolveFor(ref.String(), want) // an error is as good as no image: the name is set anew
	img, err := m.wanted(ctx, ref, w)
	if err != nil {
		return nil, err
	}
	for _, desc := range img.Layers {
		m.report(desc.Digest, "Pulling fs layer", 0, 0)
	}
	var fetched atomic.Bool
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelLayers)
	seen := map[digest.Digest]bool{}
	for i, desc := range img.Layers {
		diffID := img.config.RootFS.DiffIDs[i]
		if seen[diffID] {
			m.report(desc.Digest, "Already exists", 0, 0)
			continue
		}
		seen[diffID] = true
		g.Go(func() error {
			fresh, err := m.pullLayer(gctx, ref, desc, diffID)
			if fresh {
				fetched.Store(true)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	id, err := m.keep(ref, img, want, true)
	if err != nil {
		return nil, err
	}
	return &Pulled{ID: id, Digest: img.digest(), Fresh: before != id || fetched.Load()}, nil
}

// pullLayer brings a layer that is not here, and says whether it was not.
func (m *Mover) pullLayer(ctx context.Context, ref reference.Named, desc ocispec.Descriptor, diffID digest.Digest) (fresh bool, err error) {
	l, err := m.Store.Layer(diffID)
	if err != nil {
		return false, err
	}
	if l.Present() {
		m.report(desc.Digest, "Already exists", 0, 0)
		return false, nil
	}
	if err := m.fetchLayer(ctx, ref, desc, diffID); err != nil {
		return true, err
	}
	m.report(desc.Digest, "Pull complete", 0, 0)
	return true, nil
}

// writeMeter reports how much was written.
type writeMeter struct {
	w      io.Writer
	n      int64
	report func(n int64)
}

func (m *writeMeter) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.n += int64(n)
	m.report(m.n)
	return n, err
}

// meter reports how much was read.
type meter struct {
	r      io.Reader
	n      int64
	report func(n int64)
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.n += int64(n)
	m.report(m.n)
	return n, err
}
