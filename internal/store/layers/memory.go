package layers

import (
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/chunked"
)

// memory is what a process remembers of the layers it uses.
type memory struct {
	mu      sync.Mutex
	tocs    map[digest.Digest]*tocEntry[*layer.TOC]
	packed  map[digest.Digest]*tocEntry[*layer.Packed]
	locks   map[digest.Digest]*sync.Mutex
	looks   map[digest.Digest]map[string]*look
	lazies  map[digest.Digest]*Lazy
	claims  map[digest.Digest]*claimed
	sound   map[digest.Digest]bool // layers that this process has made or verified
	noIndex map[digest.Digest]bool // of which no index can be made
	written map[digest.Digest]bool // whose tar was not as it was sealed
	mount   look                   // whether indexes can be mounted

	repositories map[string]chunked.Repository
}

type tocEntry[T layer.Table] struct {
	once sync.Once
	toc  T
	err  error
}

// look is what a look at the seal of a form said.
type look struct {
	once sync.Once
	ok   bool
	err  error
}

func newMemory() *memory {
	return &memory{
		tocs: map[digest.Digest]*tocEntry[*layer.TOC]{}, packed: map[digest.Digest]*tocEntry[*layer.Packed]{}, locks: map[digest.Digest]*sync.Mutex{}, looks: map[digest.Digest]map[string]*look{},
		lazies: map[digest.Digest]*Lazy{}, claims: map[digest.Digest]*claimed{}, sound: map[digest.Digest]bool{},
		noIndex: map[digest.Digest]bool{}, written: map[digest.Digest]bool{},
		repositories: map[string]chunked.Repository{},
	}
}

// repository is what is beside blobs at a place. Each layer of an image asks for the same there.
func (m *memory) repository(place string, open func(string) (chunked.Repository, error)) (chunked.Repository, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.repositories[place]; r != nil {
		return r, nil
	}
	r, err := open(place)
	if err != nil {
		return nil, err
	}
	m.repositories[place] = chunked.Remembered(r)
	return m.repositories[place], nil
}

// lazy is the lazy form of a layer that was opened; nil for none.
func (m *memory) lazy(diffID digest.Digest) *Lazy {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lazies[diffID]
}

func (m *memory) setLazy(diffID digest.Digest, z *Lazy) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lazies[diffID] = z
}

// addClaim takes in what an image says of a layer.
func (m *memory) addClaim(diffID digest.Digest, c Claim) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if of := m.claims[diffID]; of == nil {
		m.claims[diffID] = &claimed{claim: c}
	} else if !of.claim.equal(&c) {
		of.contested = true
	}
}

// claimed is what all images say of a layer; nil where none has it, and where they disagree.
func (m *memory) claimed(diffID digest.Digest) *Claim {
	m.mu.Lock()
	defer m.mu.Unlock()
	if of := m.claims[diffID]; of != nil && !of.contested {
		return &of.claim
	}
	return nil
}

// lock keeps this process's other goroutines from making the same layer at the same time. Another
// process may: both end with the same layer, and the later rename finds it there.
func (m *memory) lock(diffID digest.Digest) (unlock func()) {
	m.mu.Lock()
	l := m.locks[diffID]
	if l == nil {
		l = &sync.Mutex{}
		m.locks[diffID] = l
	}
	m.mu.Unlock()
	l.Lock()
	return l.Unlock
}

// tocOf returns a table of contents of one form that was read before, or reads it.
func tocOf[T layer.Table](m *memory, in map[digest.Digest]*tocEntry[T], diffID digest.Digest, read func() (T, error)) (T, error) {
	m.mu.Lock()
	e := in[diffID]
	if e == nil {
		e = &tocEntry[T]{}
		in[diffID] = e
	}
	m.mu.Unlock()
	e.once.Do(func() { e.toc, e.err = read() })
	return e.toc, e.err
}

// trusted says whether a form of a layer can be relied on. What is not known yet is found out by see; a no is asked
// again.
func (m *memory) trusted(diffID digest.Digest, form string, see func() (bool, error)) (bool, error) {
	m.mu.Lock()
	of := m.looks[diffID]
	if of == nil {
		of = map[string]*look{}
		m.looks[diffID] = of
	}
	l := of[form]
	if l == nil {
		l = &look{}
		of[form] = l
	}
	m.mu.Unlock()
	l.once.Do(func() { l.ok, l.err = see() })
	if !l.ok {
		m.mu.Lock()
		if of[form] == l {
			delete(of, form)
		}
		m.mu.Unlock()
	}
	return l.ok, l.err
}

// trust notes that a form of a layer can be relied on.
func (m *memory) trust(diffID digest.Digest, form string) {
	l := &look{ok: true}
	l.once.Do(func() {})
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.looks[diffID] == nil {
		m.looks[diffID] = map[string]*look{}
	}
	m.looks[diffID][form] = l
	if form == formTar {
		delete(m.written, diffID)
	}
}

// setWritten notes that a layer's tar is not as it was sealed; it is not looked at again until it is verified.
func (m *memory) setWritten(diffID digest.Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.written[diffID] = true
}

func (m *memory) isWritten(diffID digest.Digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.written[diffID]
}

// setSound notes that this process has made or verified a layer that is here.
func (m *memory) setSound(diffID digest.Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sound[diffID] = true
}

// isSound says whether this process has made or verified a layer.
func (m *memory) isSound(diffID digest.Digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sound[diffID]
}

// forget drops what is known of a layer's forms.
func (m *memory) forget(diffID digest.Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.tocs, diffID)
	delete(m.packed, diffID)
	delete(m.looks, diffID)
	delete(m.sound, diffID)
	delete(m.written, diffID)
}

// canMount says whether indexes can be mounted, which try tries, once.
func (m *memory) canMount(try func() error) bool {
	m.mount.once.Do(func() { m.mount.ok = try() == nil })
	return m.mount.ok
}

// hasNoIndex says that no index can be made of a layer.
func (m *memory) hasNoIndex(diffID digest.Digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.noIndex[diffID]
}

func (m *memory) setNoIndex(diffID digest.Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.noIndex[diffID] = true
}
