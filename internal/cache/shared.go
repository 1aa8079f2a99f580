package cache

import (
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"
)

// Sharer is a place that several machines use at the same time. Who is about to run a step claims it there, so that one of
// them runs it and the others take its record.
//
// A claim is no lock that a result hangs on: where a machine is cut off for so long that another one claims its step, both
// may run it, and what counts is the record of the one that kept its claim.
type Sharer interface {
	// Where is the same for all who share the place.
	Where() string
	// Claim claims the step of a key, if nobody else has. The record may be there by then: ask Get. Else it waits until the
	// other one has let go, and returns ErrEnded: the record is there, or the step is to be claimed again. follow is told of who
	// has it, and of what the step prints there; nil tells nobody. Another error is that the place does not answer, for longer
	// than a machine waits for it.
	Claim(ctx context.Context, key digest.Digest, follow Follow) (Claim, error)
}

// ErrEnded says that the machine that had claimed a step has let go of it.
var ErrEnded = errors.New("the step is no more claimed")

// Follow is told of a step that another machine runs. Its methods are called from the goroutine that waits.
type Follow interface {
	// Waiting is called once for each machine that is waited for.
	Waiting(host string)
	// Printed is part of what the step prints there, on either stream.
	Printed(p []byte)
}

// Claim is the right to run a step.
type Claim interface {
	// Print shows those who wait what the step prints. It never waits, and may leave out what is too much.
	Print(p []byte)
	// Decide says that the step has run. false means that the claim was lost meanwhile, and another machine may have run the
	// step: it is to be claimed again.
	Decide(ctx context.Context) (bool, error)
	// Share keeps the step that was run and its layer for the others, and lets go of the claim. It is called after Decide.
	Share(ctx context.Context, step Step) error
	// Release lets go of the claim, without a record. It does nothing after Share.
	Release()
}

// Elsewhere says of a record that the step ran on another machine while this one waited.
type Elsewhere struct {
	Host   string
	Waited time.Duration
}
