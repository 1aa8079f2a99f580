package solver

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/builder/source/buildcontext"
	"github.com/strata-build/strata/internal/builder/source/remote"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/sandbox/network"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/sandbox/secret"
	"github.com/strata-build/strata/internal/sandbox/sshagent"
)

// Config is what a Solver is told. It does not change.
type Config struct {
	Dialect dialect.Dialect
	// Target is the platform that the result's config has to name; the zero value leaves it what it is, that of the
	// target's base image.
	Target  ocispec.Platform
	Inputs  Inputs
	Records Records
	Sandbox Sandbox
	// Events gets what becomes of each stage's base and each step. With the graph engine stages send at the same time.
	Events event.Sink
}

// Inputs are where steps have their files from.
type Inputs struct {
	// Context is what COPY and ADD see.
	Context layer.Tree
	// Reopen gives the context anew for a step that failed because a file of it changed under its hands; nil
	// if that cannot be.
	Reopen func() (*buildcontext.Context, error)
	// Named gives the files of a named context. It may be called often for each.
	Named func(ctx context.Context, name string) (*Files, error)
	// Image finds the image of a FROM or a COPY --from by its reference, for a platform. It is
	// called once for each of both.
	Image func(ctx context.Context, ref string, p ocispec.Platform) (*State, error)
	// Fetch brings the remote sources of an ADD.
	Fetch *remote.Fetcher
}

// Records are which records count, and what is made of them.
type Records struct {
	// NoCache runs every step, NoCacheFilter those that it has.
	NoCache       bool
	NoCacheFilter *dockerfile.Selection
	// Refresh runs steps again whose records are too old; nil runs none.
	Refresh *Refresh
	// Executed are the steps that the build ran itself; nil if no other solver is part of it.
	Executed *Executed
	// Imported are the imported caches, asked in their order when this machine has no record.
	Imported []*cache.Source
	// Shared is the one of Imported that other machines build by at the same time, whose place is a cache.Sharer; nil
	// where the build is alone.
	Shared *cache.Source
	// Observe is which steps are observed.
	Observe Observe
	// NoInline leaves the cache out of the images' configs.
	NoInline bool
}

// Sandbox is what a RUN finds where it runs.
type Sandbox struct {
	// Network is what it sees, unless it says something else itself.
	Network runner.Network
	// Allow is all that it may reach, when not nil.
	Allow   *network.Allow
	Machine runner.Machine
	// Secrets and SSH are what it may have mounted, and nothing else may know of.
	Secrets *secret.Store
	SSH     *sshagent.Agents
	Log     *exec.LogLimit // nil is exec.DefaultLogLimit
	// Caches carries cache mounts between machines; nil leaves them on this one.
	Caches exec.Caches
	// Lazy fetches of layers that are elsewhere only what it reads, where that can be.
	Lazy bool
	// Remote runs RUNs on other machines; nil where all run on this one.
	Remote exec.Remote
}
