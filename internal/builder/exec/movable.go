package exec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
)

// AsLayer makes a layer of the store of what a mount shows of a context, for another machine to mount. source is what
// it shows, as a path in the layer.
func (m *Mount) AsLayer(ctx context.Context, s *store.Store) (diffID digest.Digest, source string, err error) {
	files, err := m.Content.Files(ctx)
	if err != nil {
		return "", "", err
	}
	t, from, err := files.list(ctx)
	if err != nil {
		return "", "", err
	}
	dir, err := s.Temp("mount")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(dir)
	f, err := os.OpenFile(filepath.Join(dir, "tar"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", "", s.Explain(err)
	}
	made, err := layer.WriteTarFile(ctx, f, t, from.Open)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", "", fmt.Errorf("copying what is mounted on %s: %w", m.Target, s.Explain(err))
	}
	if _, err := s.AddLayer(made.DiffID, made.TOC, dir); err != nil {
		return "", "", err
	}
	if !files.Match.Dir {
		return made.DiffID, "/" + mountedFile, nil
	}
	return made.DiffID, "/", nil
}
