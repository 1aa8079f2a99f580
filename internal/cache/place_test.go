package cache

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
)

// answer is a place that always gives the same error.
type answer struct {
	err   error
	asked int
}

func (a *answer) Get(context.Context, digest.Digest) (*Record, error) {
	a.asked++
	return nil, a.err
}

func (a *answer) Put(context.Context, []Step) error { return ErrReadOnly }

// A place that does not answer says so once, and is not asked again.
func TestSourceThatDoesNotAnswer(t *testing.T) {
	broken := errors.New("connection refused")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name        string
		ctx         context.Context
		answer      error
		first, next error
		asked       int
	}{
		{"nothing there", t.Context(), fmt.Errorf("key: %w", ErrNotFound), nil, nil, 2},
		{"no answer", t.Context(), broken, broken, nil, 1},
		{"cancelled", cancelled, context.Canceled, context.Canceled, context.Canceled, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			place := &answer{err: test.answer}
			source := &Source{Name: "c", Place: place}
			for i, want := range []error{test.first, test.next} {
				if r, err := source.Lookup(test.ctx, "key"); r != nil || !errors.Is(err, want) || want == nil && err != nil {
					t.Errorf("time %d: %v, %v, want %v", i+1, r, err, want)
				}
			}
			if place.asked != test.asked {
				t.Errorf("it was asked %d times, not %d", place.asked, test.asked)
			}
		})
	}
}
