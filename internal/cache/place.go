package cache

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
)

// Errors that places give.
var (
	// ErrNotFound says that a place has nothing under a key, or nothing that can be trusted.
	ErrNotFound = errors.New("the cache has no such record")
	// ErrReadOnly says that a place takes no records.
	ErrReadOnly = errors.New("the cache cannot be written to")
)

// Place is where records are kept, with the layers that they name: this machine's store, a registry, a directory, an
// image's config. Its methods may be called from several goroutines.
//
// Package placetest holds the tests that every place passes.
type Place interface {
	// Get returns a copy of the record of a key; ErrNotFound if there is none. The record's key is the digest of its
	// parts, except in an image, which keeps no parts. Once Get has returned, the store of the machine knows where the
	// record's layer can be had, if it is not KeyOnly, but no layer has moved. Another error is that the place does not answer: the next key
	// may fare no better.
	Get(ctx context.Context, key digest.Digest) (*Record, error)
	// Put keeps steps, with the layers that they name. Nobody sees a record before its layer is there. Steps whose
	// layers cannot be had are left out, unless they are KeyOnly. A place that is one document (a registry's tag, a directory) has these steps
	// then and no others. ErrReadOnly if the place takes no records.
	Put(ctx context.Context, steps []Step) error
}

// Leaser is a place that keeps two from running the same step at once.
type Leaser interface {
	// Lease waits until nobody else has the key. release gives it back; the end of the process does too.
	Lease(ctx context.Context, key digest.Digest) (release func(), err error)
}

// Receiver is a place that takes layers before the records that name them are put, while a build goes on.
type Receiver interface {
	// Receive sends a layer, unless the place has it. It may be called for several at once.
	Receive(ctx context.Context, diffID digest.Digest) error
}

// Source is an imported cache: a place that --cache-from names.
type Source struct {
	// Name is what the person called it: "me/app:1.0.0".
	Name string
	Place
	// Image is the config of a source that is an image, nil for other places. Whoever built it, its history rows can be
	// compared with steps.
	Image *image.Config
	// Wait is for how long Lookup waits for a place that does not answer: not at all, but where machines share it.
	Wait time.Duration

	failed atomic.Bool
}

// Lookup returns a copy of the record of a key; nil if there is none. A place that does not answer gives its error once,
// and counts as empty from then on: a build does not wait for it at every step.
func (s *Source) Lookup(ctx context.Context, key digest.Digest) (*Record, error) {
	if s.failed.Load() {
		return nil, nil
	}
	r, err := s.Get(ctx, key)
	for trouble := NewPatience(s.Wait); s.Wait > 0 && err != nil && !errors.Is(err, ErrNotFound); {
		if err = trouble.Pause(ctx, err); err != nil {
			break
		}
		r, err = s.Get(ctx, key)
	}
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil && ctx.Err() == nil && s.failed.Swap(true) {
		return nil, nil // another goroutine has told it
	}
	return r, err
}
