package transfer

import (
	"context"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/image"
)

// Pulled is what a pull brought.
type Pulled struct {
	ID     digest.Digest // the image's
	Digest digest.Digest // of the index or manifest that the name has in its registry
	// Fresh says that the name meant another image before, or none.
	Fresh bool
}

// Pull brings the image that ref names, with all its layers.
func (m *Mover) Pull(ctx context.Context, ref reference.Named) (*Pulled, error) {
	before, _ := m.Store.Resolve(ref.String())
	img, id, err := m.resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	diffIDs, err := image.DiffIDs(img.Config.Data)
	if err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelLayers)
	seen := map[digest.Digest]bool{}
	for _, desc := range img.Layers {
		m.report(desc.Digest, "Pulling fs layer", 0, 0)
	}
	for i, desc := range img.Layers {
		if seen[diffIDs[i]] {
			m.report(desc.Digest, "Already exists", 0, 0)
			continue
		}
		seen[diffIDs[i]] = true
		g.Go(func() error {
			l, err := m.Store.Layer(diffIDs[i])
			if err != nil {
				return err
			}
			if l.Present() {
				m.report(desc.Digest, "Already exists", 0, 0)
				return nil
			}
			if err := m.fetch(ctx, ref, desc); err != nil {
				return err
			}
			m.report(desc.Digest, "Extracting", 0, 0)
			if _, err := l.TOC(ctx); err != nil {
				return err
			}
			m.report(desc.Digest, "Pull complete", 0, 0)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return &Pulled{ID: id, Digest: digestOf(img), Fresh: before != id}, nil
}
