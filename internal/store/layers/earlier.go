package layers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// midstatesFile is what is kept of the SHA-256 of a layer's tar, beside the tar: it ends with a checksum of its own,
// and is no form of the layer.
const midstatesFile = "midstates"

// minMidstates is how large a tar is, in bytes, of which midstates are kept: a smaller one is read and hashed sooner
// than looked for.
const minMidstates = 4 << 20

// AddMade is AddLayer of a tar that package layer made in dir of an encoded table, of which another one can be
// assembled later. Of one that is a delta, dir has DeltaFile; where it cannot be one of that base any more, the error
// is layer.ErrEarlier.
func (ls *Layers) AddMade(made *layer.Tar, dir string) (*Layer, error) {
	if m := made.Midstates; m != nil && made.Size >= minMidstates {
		if err := os.WriteFile(filepath.Join(dir, midstatesFile), m.Encode(), 0o600); err != nil {
			return nil, fmt.Errorf("adding layer %s to the store: %w", made.DiffID, ls.session.Explain(err))
		}
	}
	if made.Delta != nil {
		if made.Delta.Base == made.DiffID {
			return nil, fmt.Errorf("adding layer %s to the store: %w", made.DiffID, layer.ErrEarlier)
		}
		if err := os.WriteFile(filepath.Join(dir, deltaOf), made.Delta.Encode(made.DiffID), 0o600); err != nil {
			return nil, fmt.Errorf("adding layer %s to the store: %w", made.DiffID, ls.session.Explain(err))
		}
	}
	return ls.AddLayer(made.DiffID, made.Encoded, dir)
}

// Earlier is a layer's tar of which another one can be assembled.
type Earlier struct {
	layer.Earlier
	tar *layer.TarFile
	toc *os.File
}

// Close closes the tar and its table of contents.
func (e *Earlier) Close() error { return errors.Join(e.tar.Close(), e.toc.Close()) }

// Earlier opens a layer's tar for another one to be assembled of it. It is an error if the layer has none here that
// AddMade added and that is as it was sealed: nothing is fetched or mended for it.
func (ls *Layers) Earlier(ctx context.Context, diffID digest.Digest) (*Earlier, error) {
	data, err := os.ReadFile(ls.Path(diffID, midstatesFile))
	if err != nil {
		return nil, err
	}
	m, err := layer.DecodeMidstates(data, diffID)
	if err != nil {
		return nil, err
	}
	for _, form := range []string{formTar, formTOC} {
		if ok, err := ls.asSealed(diffID, form); !ok || err != nil {
			return nil, errors.Join(err, fmt.Errorf("layer %s is not as it was sealed", diffID))
		}
	}
	d, err := ls.delta(diffID)
	if err != nil {
		return nil, err
	}
	base := diffID
	if d != nil {
		base = d.Base
	}
	if err := ls.useBase(base); err != nil {
		return nil, err
	}
	toc, err := os.Open(ls.Path(diffID, formTOC))
	if err != nil {
		return nil, err
	}
	f, err := ls.openTar(diffID)
	if err != nil {
		toc.Close()
		return nil, err
	}
	e := &Earlier{layer.Earlier{Tar: f, Next: layer.NewEntryReader(toc).Next, Midstates: m, Delta: d}, f, toc}
	if f.Size() != m.Size {
		e.Close()
		return nil, layer.ErrEarlier
	}
	return e, ctx.Err()
}
