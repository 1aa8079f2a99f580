package exec

import (
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"
)

// ErrHere says that a step is not run on another machine, and has to be run on this one.
var ErrHere = errors.New("the step runs on this machine")

// Remote runs steps on other machines.
type Remote interface {
	// Execute runs a step elsewhere, as Executor.Execute does here. c is what it has in common with the others of its build.
	// The layers of its state need not be on this machine, nor is the one that it makes. An error that wraps ErrHere says
	// that it is to run here: nothing came of it elsewhere.
	Execute(ctx context.Context, c *Config, step *Step, job Job) (Made, error)
}

// Job is what Remote knows of a step beside what it does.
type Job struct {
	// Key is the step's on all machines; "" for one that is to run whatever was made of it before.
	Key digest.Digest
	// Avoid are layers that cannot be had any more: what gave one of them has to be made again.
	Avoid []digest.Digest
	// Took is how long it took when it ran last, 0 where that is not known.
	Took time.Duration
	// Trace is the span that what other machines do of it is below, as a traceparent; "" for none.
	Trace string
}
