package exec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
	"github.com/strata-build/strata/internal/sandbox/tracefs"
)

// errNotServed says that layers cannot be served here, and have to be mounted as trees.
var errNotServed = errors.New("layers cannot be observed")

// served are the layers of a state that are served through FUSE, the lowest first. nil is none.
type served struct {
	mount     *tracefs.Mount
	recorders []*observed.Recorder
	of        []digest.Digest
}

// serve serves the layers of a chain that are to be observed.
func (w *work) serve(ctx context.Context, chain []digest.Digest) (*served, error) {
	if len(chain) == 0 {
		return nil, nil
	}
	s := &served{of: chain}
	var layers []tracefs.Layer
	for _, d := range chain {
		l, err := w.open(ctx, d)
		if err != nil {
			for _, l := range layers {
				_ = l.Contents.Close()
			}
			return nil, err
		}
		layers = append(layers, l)
		s.recorders = append(s.recorders, l.Recorder)
	}
	var err error
	s.mount, err = tracefs.Serve(filepath.Join(w.dir, "served"), layers)
	if errors.Is(err, tracefs.ErrUnavailable) {
		return nil, fmt.Errorf("%w: %w", errNotServed, errors.Join(err, w.clear()))
	}
	return s, err
}

func (w *work) open(ctx context.Context, diffID digest.Digest) (tracefs.Layer, error) {
	l, err := w.store.Chain([]digest.Digest{diffID})
	if err != nil {
		return tracefs.Layer{}, err
	}
	contents, err := l[0].Contents(ctx)
	if err != nil {
		return tracefs.Layer{}, err
	}
	return tracefs.Layer{
		Recorder: observed.NewRecorder(observed.NewView(contents.TOC())),
		Contents: contents,
		Below: func(path string) *layer.Entry {
			e, err := w.below.Lookup(ctx, path)
			if err != nil {
				return nil
			}
			return e
		},
	}, nil
}

// clear empties the folder of what a mount that failed has left there.
func (w *work) clear() error {
	names, err := os.ReadDir(w.dir)
	for _, n := range names {
		err = errors.Join(err, os.RemoveAll(filepath.Join(w.dir, n.Name())))
	}
	return err
}

// split divides a chain into the layers that are mounted as trees and those that are observed.
func split(chain []digest.Digest, observe []bool) (plain, on []digest.Digest) {
	for i, d := range chain {
		if i < len(observe) && observe[i] {
			on = append(on, d)
		} else {
			plain = append(plain, d)
		}
	}
	return plain, on
}

// among puts the directories of what is served at their places among those of the other layers, all with the topmost first.
func (s *served) among(plain []string, observe []bool) []string {
	if s == nil {
		return plain
	}
	var dirs []string
	next := len(s.of)
	for i := len(plain) + len(s.of) - 1; i >= 0; i-- {
		if i < len(observe) && observe[i] {
			next--
			dirs = append(dirs, s.mount.Dir(next))
		} else {
			dirs, plain = append(dirs, plain[0]), plain[1:]
		}
	}
	return dirs
}

// detach leaves what is served to the overlay that is mounted on it.
func (s *served) detach() {
	if s != nil {
		_ = s.mount.Detach() // what stays is swept when the store is opened next
	}
}

// failed is the first error that the process was given when it read something.
func (s *served) failed() error {
	if s == nil {
		return nil
	}
	return s.mount.Err()
}

// inputs are what was read, nil of nothing that was observed.
func (s *served) inputs() *observed.Inputs {
	if s == nil {
		return nil
	}
	in := &observed.Inputs{}
	var views []*observed.View
	for i, r := range s.recorders {
		in.Trees = append(in.Trees, r.Tree(s.of[i], ""))
		views = append(views, r.View())
	}
	in.Fold(views, observed.MaxEncoded)
	if len(in.Encode()) > observed.MaxEncoded {
		return nil
	}
	return in
}
