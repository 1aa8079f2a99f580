package transfer

import (
	"context"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/registry"
)

const (
	// aheadFrom is how many bytes the files of a layer have at least that is sent while it is compressed: sending so
	// takes a request more.
	aheadFrom = 8 << 20
	// aheadMost is how many layers are on their way so at once; a registry gets no more otherwise either.
	aheadMost = 5
)

// aheads are the layers of a push that are sent while they are compressed.
type aheads struct {
	ctx context.Context // of the push; that in which a layer is compressed ends before its sending

	mu     sync.Mutex
	begun  []*registry.Ahead
	files  []io.Closer // of what was begun
	byBlob map[digest.Digest]*registry.Ahead
}

// begin begins to send what is written to g, whose layer has files of size bytes; nil where it is to be sent later.
// It goes on until drop, or until the push is given up.
func (a *aheads) begin(p *push, size int64, g *store.Growing) *registry.Ahead {
	if p.ref == nil || size < aheadFrom {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	sending := 0
	for _, other := range a.begun {
		if other.Sending() {
			sending++
		}
	}
	if sending >= aheadMost {
		return nil
	}
	file, err := g.Follow() // before it gets another name
	if err != nil {
		return nil // it is sent later
	}
	a.files = append(a.files, file)
	ahead, err := p.pusher().SendAhead(a.ctx, p.ref, func() (io.ReadCloser, error) { return file.Again() })
	if err != nil {
		return nil // the push itself will say it
	}
	a.begun = append(a.begun, ahead)
	return ahead
}

// made notes which blob has become of what was sent ahead.
func (a *aheads) made(blob digest.Digest, ahead *registry.Ahead) {
	if ahead == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byBlob == nil {
		a.byBlob = map[digest.Digest]*registry.Ahead{}
	}
	a.byBlob[blob] = ahead
}

func (a *aheads) of(blob digest.Digest) *registry.Ahead {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.byBlob[blob]
}

// drop gives up what no upload has ended, all at once.
func (a *aheads) drop(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var dropped sync.WaitGroup
	for _, ahead := range a.begun {
		dropped.Go(func() { ahead.Drop(ctx) })
	}
	dropped.Wait()
	for _, file := range a.files {
		file.Close()
	}
	a.begun, a.files, a.byBlob = nil, nil, nil
}
