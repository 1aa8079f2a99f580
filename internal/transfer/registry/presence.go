package registry

import (
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

const (
	presentFor = 10 * time.Minute // for how long a repository is expected to have a blob that it had
	maxPresent = 50_000           // blobs that are remembered, in about 250 bytes each
)

// presence remembers which blobs repositories were seen to have. Nobody relies on it: see ExpectThere.
type presence struct {
	mu sync.Mutex
	at map[string]time.Time // by repository and digest
}

func presenceKey(ref reference.Named, d digest.Digest) string { return ref.Name() + "@" + d.String() }

func (p *presence) note(ref reference.Named, d digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == nil || len(p.at) >= maxPresent {
		p.at = map[string]time.Time{}
	}
	p.at[presenceKey(ref, d)] = time.Now()
}

func (p *presence) forget(ref reference.Named, d digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.at, presenceKey(ref, d))
}

func (p *presence) lately(ref reference.Named, d digest.Digest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.at[presenceKey(ref, d)]
	return ok && time.Since(at) < presentFor
}
