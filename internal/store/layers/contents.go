package layers

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Files opens what the files of a layer can be read from in any order: its tar, at whose Offsets they are, or the
// directory of its tree. The layer is fetched if it is not here, in a form that is as it was sealed. Who has it closes
// it. A tar is not laid out for it; one that is a delta is mounted by its index, which is a directory too.
func (l *Layer) Files(ctx context.Context) (*os.File, error) {
	t, err := l.TOC(ctx)
	if err != nil {
		return nil, err
	}
	if l.tar().Here() && !hasSparse(t) {
		here, err := l.trust(ctx, formTar)
		if err != nil {
			return nil, err
		}
		d, err := l.layers.delta(l.DiffID)
		if err != nil {
			return nil, fmt.Errorf("reading layer %s: %w", l.DiffID, err)
		}
		switch {
		case here && d == nil:
			return l.open(l.layers.Path(l.DiffID, formTar))
		case here && l.layers.canMount():
			if f, err := l.mounted(ctx); !errors.Is(err, errNoIndex) {
				return f, err
			}
		}
	}
	dir, err := l.Tree(ctx)
	if err != nil {
		return nil, err
	}
	return l.open(dir)
}

// mounted is the layer by its index, as a mount that is attached nowhere and goes when it is closed.
func (l *Layer) mounted(ctx context.Context) (*os.File, error) {
	lower, err := l.index(ctx)
	if err != nil {
		return nil, err
	}
	index, err := l.open(lower.Index)
	if err != nil {
		return nil, err
	}
	defer index.Close()
	mount, err := lower.Open(index)
	if err != nil {
		return nil, fmt.Errorf("reading layer %s: %w", l.DiffID, err)
	}
	return os.NewFile(uintptr(mount), lower.Index), nil
}

func (l *Layer) open(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading layer %s: %w", l.DiffID, err)
	}
	return f, nil
}
