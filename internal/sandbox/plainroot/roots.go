// Package plainroot gives a process a root file system where nothing can be mounted: a state's files, laid out in a
// folder of the store. What the process is to see besides, such as /dev, a cache or a secret, is put into it before and
// taken out after (place.go). What it changed is found by a scan. A root is used by one step at a time, and by the next
// one of its stage.
package plainroot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/sandbox/userns"
	"github.com/strata-build/strata/internal/store"
)

// Needed says that steps of this process can only run in such a root.
func Needed() bool { return identity.Current().Trees() != nil && userns.MayChroot() }

// Root is a state that is laid out.
type Root struct {
	folder string // holds "root", and "aside" with what is hidden
	chain  []digest.Digest
	facts  layer.Facts
	placed []*placed
	// used says that the files may be other ones than those of the chain.
	used bool
}

// Dir is the root directory.
func (r *Root) Dir() string { return filepath.Join(r.folder, "root") }

// Folder is a folder beside it, on the same file system.
func (r *Root) Folder() string { return r.folder }

// New lays a chain of layers out in a folder that is there and empty.
func New(ctx context.Context, s *store.Store, chain []digest.Digest, folder string) (*Root, error) {
	stack, err := s.Stack(chain)
	if err != nil {
		return nil, err
	}
	r := &Root{folder: folder, chain: slices.Clone(chain)}
	if err := os.Mkdir(r.Dir(), 0o755); err != nil {
		return nil, fmt.Errorf("preparing a root file system: %w", err)
	}
	if err := layer.PlainRoot(ctx, stack, r.Dir()); err != nil {
		return nil, fmt.Errorf("preparing a root file system: %w", s.Explain(err))
	}
	return r, r.look(ctx)
}

// look notes how the files are. What is changed from now on has a later ctime: the kernel's clock goes in ticks.
func (r *Root) look(ctx context.Context) (err error) {
	if r.facts, err = layer.FactsOf(ctx, r.Dir()); err != nil {
		return err
	}
	return r.nextTick(ctx)
}

func (r *Root) nextTick(ctx context.Context) error {
	newest := r.facts.Newest()
	for tries := 0; tries < 1000; tries++ {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now); err != nil {
			return err
		}
		if now.Sec > newest.Sec || now.Sec == newest.Sec && now.Nsec > int64(newest.Nsec) {
			return nil
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return errors.New("files of the root lie in the future; set the clock")
}

// extend puts the layers on the root that its chain has not yet.
func (r *Root) extend(ctx context.Context, s *store.Store, chain []digest.Digest) error {
	if len(chain) == len(r.chain) {
		return nil
	}
	layers, err := s.Chain(chain)
	if err != nil {
		return err
	}
	for n := len(r.chain); n < len(chain); n++ {
		t, err := layers[n].TOC(ctx)
		if err != nil {
			return err
		}
		stack, err := s.Stack(chain[:n+1])
		if err != nil {
			return err
		}
		if err := layer.AddToPlainRoot(ctx, t, stack, r.Dir()); err != nil {
			return err
		}
	}
	r.chain = slices.Clone(chain)
	return r.look(ctx)
}

// Changes are what was changed since the root was laid out or last asked, as the table of a layer. Everything that was
// put in has to be taken out.
func (r *Root) Changes(ctx context.Context, below *layer.Stack) (*layer.TOC, error) {
	r.used = true
	t, now, err := layer.DiffPlainRoot(ctx, r.Dir(), below, r.facts)
	if err != nil {
		return nil, err
	}
	r.facts = now
	return t, r.nextTick(ctx)
}

// Now says that the files are those of a chain.
func (r *Root) Now(chain []digest.Digest) { r.chain, r.used = slices.Clone(chain), false }

// Remove removes all of it.
func (r *Root) Remove() { _ = os.RemoveAll(r.folder) } // what stays is swept when the store is opened next

// mostRoots is how many roots of a build are kept for its next steps.
const mostRoots = 4

// Roots are those of a build. It can be used by several goroutines.
type Roots struct {
	mu   sync.Mutex
	free []*Root // the one used last at the end
}

// Take gives a root with the files of a chain: one that has them or some of its layers, or a new one. The caller gives
// it back.
func (rs *Roots) Take(ctx context.Context, s *store.Store, chain []digest.Digest) (*Root, error) {
	if r := rs.nearest(chain, func(a, b digest.Digest) bool { return sameContents(s, a, b) }); r != nil {
		err := r.extend(ctx, s, chain)
		if err == nil {
			return r, nil
		}
		r.Remove()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	folder, err := s.Temp("plain")
	if err != nil {
		return nil, err
	}
	r, err := New(ctx, s, chain, folder)
	if err != nil {
		_ = os.RemoveAll(folder)
		return nil, err
	}
	return r, nil
}

// nearest takes the root out that has most of a chain's layers and no others. A step may have given other times than
// when it ran before: then the layer of that time is what the chain has, and is put over the new one, which has the
// same contents.
func (rs *Roots) nearest(chain []digest.Digest, same func(a, b digest.Digest) bool) *Root {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	best, most := -1, -1
	for i, r := range rs.free {
		n := 0
		for n < min(len(r.chain), len(chain)) && r.chain[n] == chain[n] {
			n++
		}
		usable := n == len(r.chain) || n == len(r.chain)-1 && n < len(chain) && same(r.chain[n], chain[n])
		if usable && n > most {
			best, most = i, n
		}
	}
	if best < 0 {
		return nil
	}
	r := rs.free[best]
	rs.free = slices.Delete(rs.free, best, best+1)
	r.chain = r.chain[:most]
	return r
}

// sameContents says whether two layers differ in times at most.
func sameContents(s *store.Store, a, b digest.Digest) bool {
	one, err := s.Layer(a)
	if err != nil {
		return false
	}
	other, err := s.Layer(b)
	return err == nil && one.ContentID != "" && one.ContentID == other.ContentID
}

// Give gives a root back. One whose files are not those of its chain is removed.
func (rs *Roots) Give(r *Root) {
	if r.used || len(r.placed) > 0 {
		r.Remove()
		return
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.free = append(rs.free, r)
	if len(rs.free) > mostRoots {
		rs.free[0].Remove()
		rs.free = rs.free[1:]
	}
}

// Close removes the roots. Before the store waits for the disk: what is removed by then is not written to it.
func (rs *Roots) Close() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.free {
		r.Remove()
	}
	rs.free = nil
}
