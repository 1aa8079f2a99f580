package layers

import (
	"context"
	"fmt"
	"os"
)

// Files opens what the files of a layer can be read from in any order: its tar, at whose Offsets they are, or the
// directory of its tree. The layer is fetched if it is not here, in a form that is as it was sealed. Who has it closes
// it. A tar is not laid out for it.
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
		if here {
			return l.open(l.layers.Path(l.DiffID, formTar))
		}
	}
	dir, err := l.Tree(ctx)
	if err != nil {
		return nil, err
	}
	return l.open(dir)
}

func (l *Layer) open(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading layer %s: %w", l.DiffID, err)
	}
	return f, nil
}
