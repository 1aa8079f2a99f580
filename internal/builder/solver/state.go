package solver

import (
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
)

// State is what a step leaves: a chain of layers and an image config. Nothing of the layers need be on this
// machine. States do not change.
type State struct {
	// ID is the step ID: the digest of the config. It is "" for FROM scratch, which is no image.
	ID     digest.Digest
	Config *image.Config

	// root is the base image, or scratch, that the state was built from in this build, and past the steps since.
	// A state that was not built is its own root.
	root *State
	past []*dockerfile.Step
	// copied are the layers that COPY, ADD and WORKDIR have made since root, by their place in the chain.
	copied []bool
	// steps are those from FROM to here that other machines can use.
	steps []cache.Step

	// growing is Config for those that follow it, and encoded how it is written, nil where it was not written here.
	growing *image.Growing
	encoded *image.Encoded
	// chain tells of Chain, and is made when it is asked for.
	chain func() chainIDs

	store *store.Store
	stack *stack
}

// stack is the merged view of a chain, made when it is asked for, and shared by all who ask.
type stack struct {
	mu    sync.Mutex
	chain []digest.Digest
	below *stack // that of the state before, whose chain this one's begins with; nil once it is made
	made  *layer.Stack
}

func newState(s *store.Store, id digest.Digest, c *image.Growing) *State {
	st := &State{ID: id, Config: c.Config, growing: c, store: s}
	st.root = st
	st.stack = &stack{chain: st.Chain()}
	st.chain = sync.OnceValue(func() chainIDs { return chainIDs{}.add(st.Chain()) })
	return st
}

// chainIDs stand for a chain of layers in keys.
type chainIDs struct {
	id     digest.Digest // image.ChainID
	shared digest.Digest // cache.ChainPart
}

// add gives those of the chain with more layers on top of it.
func (c chainIDs) add(layers []digest.Digest) chainIDs {
	for _, d := range layers {
		c.id = image.ExtendChain(c.id, d)
		if d != layer.EmptyDiffID {
			c.shared = image.ExtendChain(c.shared, d)
		}
	}
	return c
}

// follow makes what the state has in common with the one before it, of which it keeps nothing else.
func (s *State) follow(before *State) {
	n, chain := len(before.Chain()), s.Chain()
	if len(chain) >= n && slices.Equal(chain[:n], before.Chain()) {
		ids := before.chain().add(chain[n:])
		s.chain = func() chainIDs { return ids }
		s.stack.below = before.stack
	}
}

// NewState returns the state that an image in the store gives.
func NewState(s *store.Store, c *store.Config) (*State, error) {
	config, err := image.Parse(c.Data)
	if err != nil {
		return nil, err
	}
	return newState(s, c.ID, image.Grow(config)), nil
}

// Scratch returns the state of FROM scratch.
func Scratch(s *store.Store, p ocispec.Platform) *State {
	return newState(s, "", image.Grow(image.Scratch(p)))
}

// Base is the state of the image that this one was built from in this build; nil if it was built from scratch. A state
// that was not built is its own base.
func (s *State) Base() *State {
	if s.root.ID == "" {
		return nil
	}
	return s.root
}

// Steps are those from the base to here that other machines can use.
func (s *State) Steps() []cache.Step { return s.steps }

// Chain is the state's layers, bottom first.
func (s *State) Chain() []digest.Digest { return s.Config.RootFS.DiffIDs }

// Stack is the merged view of the layers, which are read, and fetched, when the first path is looked up.
func (s *State) Stack() (*layer.Stack, error) {
	k := s.stack
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.made != nil {
		return k.made, nil
	}
	below, n := k.nearest()
	made, err := s.store.StackOn(below, k.chain[n:])
	if err == nil {
		k.made, k.below = made, nil
	}
	return made, err
}

// nearest is the view that was made last of those below, and how many layers it has: an empty one for none.
func (k *stack) nearest() (*layer.Stack, int) {
	for b := k.below; b != nil; {
		b.mu.Lock()
		made, next := b.made, b.below
		b.mu.Unlock()
		if made != nil {
			return made, len(b.chain)
		}
		b = next
	}
	return layer.NewStack(), 0
}

// created is when the state's last step ran, as far as it is known.
func (s *State) created() *time.Time { return s.Config.Created }
