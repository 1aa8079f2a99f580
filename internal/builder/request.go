package builder

import (
	"encoding/json"
	"io"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/builder/attest"
	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/builder/export"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/sandbox/network"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/sandbox/secret"
	"github.com/strata-build/strata/internal/sandbox/sshagent"
)

// Request is what a build is asked for. A build reads it and changes nothing of it.
type Request struct {
	Source  Source
	Target  Target
	Cache   Caching
	Sandbox Sandbox
	Output  Output
	// Events gets what happens; nil is event.Discard.
	Events event.Sink
}

// Source is where the files of a build are.
type Source struct {
	// Context is a directory, a tar, the URL of one, a git repository, or "-" for Stdin: a tar, compressed or not, or a
	// Dockerfile without a context.
	Context string
	Stdin   io.Reader
	// Dockerfile is its path or URL, "" for Dockerfile in the context, "-" for Stdin.
	Dockerfile string
	Contexts   []*ContextSpec // --build-context
}

// Target is what of the Dockerfile is built, by which rules, and with which values.
type Target struct {
	Stage   string // its name or index, "" for the last
	Dialect dialect.Dialect
	Args    map[string]string // --build-arg
	Labels  map[string]string
	// Platform is this machine's, Platforms what is built for: none is this machine's, several make an image for each.
	Platform  ocispec.Platform
	Platforms []ocispec.Platform
	// Allow is what the Dockerfile may ask for.
	Allow []dockerfile.Entitlement
}

// Caching is which records count, and where the cache is imported from and exported to.
type Caching struct {
	NoCache bool // run every step
	// NoCacheFilter are steps that run whatever is recorded, as dockerfile.Plan.Select reads them.
	NoCacheFilter []string
	// Refresh runs recorded steps again: RefreshAll those that fetch from the network, an age such as "24h" those of
	// them that are older, anything else those that it names, as NoCacheFilter does. nil runs none.
	Refresh  []string
	Observe  Observing
	Pull     bool // ask the registry for base images though they are here
	From, To []places.Spec
	// Shared are records that machines that build at the same time have in common, beside those of From; its place is a
	// cache.Sharer. nil for none.
	Shared   *cache.Source
	NoInline bool // leave the inline cache out of the image
}

// Observing is whether a RUN that read none of the files that have changed is taken from the cache. The zero value is
// no.
type Observing struct {
	On bool
	// Verify runs such a step all the same, and compares.
	Verify bool
	// Except are steps that have to run, as dockerfile.Plan.Select reads them.
	Except []string
}

// Sandbox is what RUN steps find where they run.
type Sandbox struct {
	Network runner.Network
	// Allow is all that they may reach, when not nil.
	Allow   *network.Allow
	Machine runner.Machine
	// Secrets and SSH are what RUN --mount=type=secret and type=ssh may ask for.
	Secrets *secret.Store
	SSH     *sshagent.Agents
	// Log bounds what steps show of what they print, nil as exec.DefaultLogLimit says.
	Log *exec.LogLimit
	// Lazy fetches of base layers only what they read, where that can be.
	Lazy bool
	// Remote runs them on other machines; nil where all run on this one.
	Remote exec.Remote
}

// Output is what becomes of the result.
type Output struct {
	Tags []reference.Named
	// Specs are what is made of the images; none makes an image of the store, named by Tags.
	Specs []export.Spec
	// File writes the file of an output's dest: export.Options.File.
	File func(dest string, write func(io.Writer) error) error
	// Annotations are those of all images that go out.
	Annotations []export.Annotation
	// Attest is what is attested of them.
	Attest attest.Options
}

// Result is what a build gave. Where it failed, what is not there is zero.
type Result struct {
	// ID is the digest of what people mean by the result: this machine's image, or else the first.
	ID digest.Digest
	// Images are those of the platforms that were built for, in their order; nil where the build failed.
	Images []Image
	// Provenance is that of each image as a file of metadata has it, nil unless Attest.Metadata asks for it.
	Provenance []json.RawMessage
	// Exported are the images and files that the outputs made, nil where the build failed.
	Exported *export.Result
	// Build is what became of the steps, and why those that ran did; nil where no step was come to.
	Build *explain.Build
	// Findings are what is probably not meant in the Dockerfile.
	Findings Findings
	// Notes are what remains to be said, line by line.
	Notes []string
}

// Image is the image that a build made for a platform. The store has its config, whatever the outputs were.
type Image struct {
	Platform ocispec.Platform
	ID       digest.Digest
}

// ImageFor is the image for a platform: the one for it, or the only one that there is.
func (r *Result) ImageFor(want ocispec.Platform) (digest.Digest, bool) {
	for _, img := range r.Images {
		if platform.Same(img.Platform, want) || len(r.Images) == 1 {
			return img.ID, true
		}
	}
	return "", false
}

// Findings are what is probably not meant in a Dockerfile, with its name and text to quote.
type Findings struct {
	Name   string
	Source []byte
	Found  []dockerfile.Warning

	reading *event.Vertex
}

// Events are the findings as events of the reading of the Dockerfile.
func (f *Findings) Events() []event.Finding {
	all := make([]event.Finding, len(f.Found))
	for i, w := range f.Found {
		all[i] = finding(f.reading, w)
	}
	return all
}

// targets are the platforms that are built for.
func (t *Target) targets() []ocispec.Platform {
	if len(t.Platforms) == 0 {
		return []ocispec.Platform{t.Platform}
	}
	return t.Platforms
}

// hostname is what a RUN finds as its machine's name, by BuildKit's build argument. The classic
// engine knows none of those.
func (t *Target) hostname() string {
	if !t.Dialect.File.BuildKitArgs {
		return ""
	}
	return t.Args["BUILDKIT_SANDBOX_HOSTNAME"]
}
