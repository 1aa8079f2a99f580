package enter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/store"
)

// Volume is a volume that the command sees. The store keeps it, unless it has no name.
type Volume struct {
	Name, Target string
	ReadOnly     bool
	Empty        bool // a new one begins empty, whatever the image has at Target
}

// takeVolumes takes the volumes, and makes those that are new with what the image has at their targets, as Docker does.
// The caller releases them.
func takeVolumes(ctx context.Context, s *store.Store, chain []digest.Digest, volumes []Volume) (binds []runner.Bind, release func(), err error) {
	var taken []*store.CacheMount
	var own []string
	release = func() {
		for _, m := range taken {
			_ = m.Release()
		}
		for _, dir := range own {
			_ = os.RemoveAll(dir) // what stays is swept when the store is opened next
		}
	}
	for _, v := range volumes {
		if v.Name == "" {
			dir, err := s.Scratch("volume")
			if err == nil {
				own = append(own, dir)
				if err = os.Chmod(dir, 0o755); err == nil {
					err = fillVolume(ctx, s, chain, v.Target, dir)
				}
			}
			if err != nil {
				release()
				return nil, nil, fmt.Errorf("a volume for %s: %w", v.Target, err)
			}
			binds = append(binds, runner.Bind{Source: dir, Target: v.Target})
			continue
		}
		m, err := s.Volume(ctx, v.Name, func(dir string) error {
			if v.Empty {
				return nil
			}
			return fillVolume(ctx, s, chain, v.Target, dir)
		})
		if err != nil {
			release()
			return nil, nil, fmt.Errorf("the volume %s: %w", v.Name, err)
		}
		taken = append(taken, m)
		binds = append(binds, runner.Bind{Source: m.Dir, Target: v.Target, ReadOnly: v.ReadOnly})
	}
	return binds, release, nil
}

// fillVolume copies what an image has in a directory into an empty one.
func fillVolume(ctx context.Context, s *store.Store, chain []digest.Digest, target, dir string) error {
	stack, err := s.Stack(chain)
	if err != nil {
		return err
	}
	_, top, err := stack.Resolve(ctx, strings.TrimPrefix(path.Clean(target), "/"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && top.Type != layer.Dir {
		return nil
	}
	if err != nil {
		return err
	}
	var entries []*layer.Entry
	origin := map[string]*layer.Entry{}
	err = stack.Walk(ctx, top.Path, func(e *layer.Entry) error {
		moved := *e
		moved.Path, moved.Offset = strings.TrimPrefix(strings.TrimPrefix(e.Path, top.Path), "/"), 0
		entries = append(entries, &moved)
		origin[moved.Path] = e
		return nil
	})
	if err != nil {
		return err
	}
	t, err := layer.NewTOC(entries)
	if err != nil {
		return err
	}
	return layer.Materialise(ctx, t, layer.FileSource{Open: func(ctx context.Context, e *layer.Entry) (io.ReadCloser, error) {
		return stack.Open(ctx, origin[e.Path])
	}}, dir)
}
