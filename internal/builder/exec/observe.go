package exec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
	"github.com/strata-build/strata/internal/sandbox/inparts"
	"github.com/strata-build/strata/internal/sandbox/snapshot"
	"github.com/strata-build/strata/internal/sandbox/tracefs"
	"github.com/strata-build/strata/internal/store"
)

// errNotServed says that layers and mounts cannot be served here, and have to be mounted as trees.
var errNotServed = errors.New("what a step reads cannot be observed")

// served is what is served through FUSE: layers of a state, the lowest first, or what a mount shows. nil is none.
type served struct {
	mount *tracefs.Mount
	of    []digest.Digest // as in observed.Tree
	at    string          // where the mount is; "" for layers
	// unseen are those of which nobody wants to know what was read.
	unseen map[digest.Digest]bool
}

// serve serves the layers of a chain that are to be observed, and those that are served in parts.
func (w *work) serve(ctx context.Context, chain []digest.Digest, lazy map[digest.Digest]*store.LazyLayer) (*served, error) {
	if len(chain) == 0 {
		return nil, nil
	}
	var layers []tracefs.Layer
	defer func() {
		for _, l := range layers {
			l.Files.Close()
		}
	}()
	s := &served{of: chain, unseen: map[digest.Digest]bool{}}
	for _, d := range chain {
		l, err := inparts.Layer(ctx, w.store, w.below, d, lazy[d])
		s.unseen[d] = lazy[d] != nil
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
			return nil, fmt.Errorf("%w: %w", errNotServed, err) // trees need no file that stays open
		}
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	return w.offer(w.dir, s, layers)
}

// offer serves layers in a folder.
func (w *work) offer(dir string, s *served, layers []tracefs.Layer) (*served, error) {
	var err error
	s.mount, err = tracefs.Serve(filepath.Join(dir, "served"), layers)
	if errors.Is(err, tracefs.ErrUnavailable) {
		return nil, fmt.Errorf("%w: %w", errNotServed, err)
	}
	if err != nil {
		return nil, err
	}
	w.served = append(w.served, s)
	return s, nil
}

// serveMount serves what a mount shows, below dir: the copy in trees, the topmost first, which t lists.
func (w *work) serveMount(m *Mount, t *layer.TOC, trees []string, dir string) (*served, error) {
	fd, err := snapshot.Open(trees, snapshot.Options{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("reading what is mounted on %s: %w", m.Target, err)
	}
	files := os.NewFile(uintptr(fd), dir)
	defer files.Close() // the server has it open
	s := &served{of: []digest.Digest{m.Content.Sum()}, at: m.Target}
	return w.offer(dir, s, []tracefs.Layer{{TOC: t, View: observed.NewView(t), Files: files}})
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

// among puts the directories of what is served at their places, which are empty, among those of the other layers, all
// with the topmost first.
func (s *served) among(lowers []store.Lower) []store.Lower {
	if s == nil {
		return lowers
	}
	next := len(s.of)
	for i := range lowers {
		if lowers[i].Dir == "" && lowers[i].Index == "" {
			next--
			lowers[i].Dir = s.mount.Dir(next)
		}
	}
	return lowers
}

// detach leaves what is served to the overlay that is mounted on it.
func (s *served) detach() {
	if s != nil {
		_ = s.mount.Detach() // what stays is swept when the store is opened next
	}
}

// inputs are what was read, nil of nothing that was observed. It is a tracefs.ErrFailed where the process met an error
// that is not in the files.
func (w *work) inputs() (*observed.Inputs, error) {
	if len(w.served) == 0 {
		return nil, nil
	}
	in, seen := &observed.Inputs{}, false
	var views []*observed.View
	for _, s := range w.served {
		recorders, err := s.mount.Asked()
		if err != nil {
			return nil, err
		}
		for i, r := range recorders {
			if s.unseen[s.of[i]] {
				continue
			}
			seen = true
			in.Trees = append(in.Trees, r.Tree(s.of[i], s.at))
			views = append(views, r.View())
		}
	}
	if !seen {
		return nil, nil
	}
	in.Fold(views, observed.MaxEncoded)
	if len(in.Encode()) > observed.MaxEncoded {
		return nil, nil
	}
	return in, nil
}

// unobserved is the step as if nothing of it were observed.
func (s *Step) unobserved() *Step {
	plain := *s
	plain.Observe, plain.Mounts = nil, nil
	for _, m := range s.Mounts {
		copied := *m
		copied.Observe = false
		plain.Mounts = append(plain.Mounts, &copied)
	}
	return &plain
}

// isObserved says whether something of the step is to be observed.
func (s *Step) isObserved() bool {
	return slices.Contains(s.Observe, true) || slices.ContainsFunc(s.Mounts, func(m *Mount) bool { return m.Observe })
}
