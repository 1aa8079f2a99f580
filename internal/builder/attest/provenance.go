// Package attest says of an image how it was built: SLSA provenance, as a predicate for in-toto statements.
//
// The fields are those that BuildKit documents for SLSA v1 (docs/attestations/slsa-definitions.md), so that what reads
// its provenance reads this. strata has no LLB; what mode=max says of steps is in the words of the Dockerfile instead.
package attest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/strata-build/strata/internal/transfer"
)

// ProvenanceType is the predicate type of SLSA provenance v1 (slsa.dev/spec/v1.0/provenance).
const ProvenanceType = "https://slsa.dev/provenance/v1"

// ProvenanceV02Type is that of v0.2 (slsa.dev/spec/v0.2/provenance).
const ProvenanceV02Type = "https://slsa.dev/provenance/v0.2"

// SPDXType is the predicate type of an SPDX document.
const SPDXType = "https://spdx.dev/Document"

// BuildType says how the parameters are to be read.
const BuildType = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"

// BuilderID names the builder where the person does not.
const BuilderID = "https://github.com/strata-build/strata"

// Provenance is the predicate.
type Provenance struct {
	Definition Definition `json:"buildDefinition"`
	Run        Run        `json:"runDetails"`
}

// Definition is what was built, of what.
type Definition struct {
	BuildType string   `json:"buildType"`
	External  External `json:"externalParameters"`
	Internal  Internal `json:"internalParameters"`
	// Dependencies are base images, URLs and repositories, each with a digest.
	Dependencies []Dependency `json:"resolvedDependencies,omitempty"`
}

// External is what the person said.
type External struct {
	Config  ConfigSource `json:"configSource"`
	Request Asked        `json:"request"`
}

// ConfigSource is where the Dockerfile is: its path, and where the context is elsewhere, that.
type ConfigSource struct {
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
	Path   string            `json:"path,omitempty"`
}

// Asked are the values that the build was given, under BuildKit's names: "build-arg:NAME", "label:NAME", "target".
type Asked struct {
	Frontend string            `json:"frontend"`
	Args     map[string]string `json:"args,omitempty"`
	Secrets  []Mount           `json:"secrets,omitempty"`
	SSH      []Mount           `json:"ssh,omitempty"`
	Locals   []Local           `json:"locals,omitempty"`
}

// Mount is a secret or an ssh agent that a step may use. There is nothing of its content.
type Mount struct {
	ID       string `json:"id"`
	Optional bool   `json:"optional,omitempty"`
}

// Local is a source on the machine that built.
type Local struct {
	Name string `json:"name"`
}

// Internal is what the builder decided.
type Internal struct {
	BuildConfig *BuildConfig `json:"buildConfig,omitempty"`
	Platform    string       `json:"builderPlatform"`
}

// BuildConfig are the stages and their steps, of mode=max.
type BuildConfig struct {
	Stages []Stage `json:"stages"`
}

// Stage is a stage of the Dockerfile.
type Stage struct {
	Name     string `json:"name,omitempty"`
	Platform string `json:"platform,omitempty"`
	From     string `json:"from"`
	Steps    []Step `json:"steps,omitempty"`
}

// Step is an instruction, and what became of it.
type Step struct {
	Line        int    `json:"line,omitempty"`
	Instruction string `json:"instruction"`
	Key         string `json:"key,omitempty"`   // that its result is recorded under
	Layer       string `json:"layer,omitempty"` // diffID
	Cached      bool   `json:"cached"`
	// Network tells from where it fetches, and how that is known.
	Network string `json:"network,omitempty"`
}

// Dependency is something that the build took from elsewhere (SLSA, ResourceDescriptor).
type Dependency struct {
	URI         string            `json:"uri"`
	Digest      map[string]string `json:"digest,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Run is how it was built.
type Run struct {
	Builder  Builder  `json:"builder"`
	Metadata Metadata `json:"metadata"`
}

// Builder is the place where it was built, if the person named it (builder-id=), and the program's version.
type Builder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

// Metadata is when it was built, and what BuildKit says beyond SLSA.
type Metadata struct {
	InvocationID string        `json:"invocationId"`
	BuildKitID   string        `json:"invocationID"` // as BuildKit spells it
	Started      time.Time     `json:"startedOn"`
	Finished     time.Time     `json:"finishedOn"`
	BuildKit     BuildMetadata `json:"buildkit_metadata"`
	Hermetic     bool          `json:"buildkit_hermetic"`
	Completeness Completeness  `json:"buildkit_completeness"`
	Reproducible bool          `json:"buildkit_reproducible"`
}

// BuildMetadata are the repository that the context is a checkout of and, of mode=max, the Dockerfile.
type BuildMetadata struct {
	VCS    map[string]string `json:"vcs,omitempty"`
	Source *Source           `json:"source,omitempty"`
}

// Source are the files that the steps are written in.
type Source struct {
	Infos []SourceInfo `json:"infos"`
}

// SourceInfo is such a file. Its data is in base64.
type SourceInfo struct {
	Filename string `json:"filename"`
	Language string `json:"language"`
	Data     []byte `json:"data"`
}

// Completeness says whether all that was asked for and all dependencies are named.
type Completeness struct {
	Request      bool `json:"request"`
	Dependencies bool `json:"resolvedDependencies"`
}

// Attestation is the provenance as what is attested of an image.
func (p *Provenance) Attestation() (transfer.Attestation, error) {
	return attestation(ProvenanceType, p)
}

func attestation(predicateType string, predicate any) (transfer.Attestation, error) {
	data, err := json.Marshal(predicate)
	if err != nil {
		return transfer.Attestation{}, fmt.Errorf("making the provenance: %w", err)
	}
	return transfer.Attestation{Type: predicateType, Predicate: data}, nil
}

// Reduce takes out what mode=min has not: the values that the build was given, which may be meant for nobody else, the
// steps with their text, and the Dockerfile.
func (p *Provenance) Reduce() {
	request := &p.Definition.External.Request
	request.Args = maps.Clone(request.Args)
	maps.DeleteFunc(request.Args, func(name, _ string) bool { return name != "target" })
	request.Secrets, request.SSH = nil, nil
	p.Run.Metadata.Completeness.Request = false
	p.Definition.Internal.BuildConfig, p.Run.Metadata.BuildKit.Source = nil, nil
}

// Dependencies collects what a build takes from elsewhere, each once.
type Dependencies struct{ all map[string]Dependency }

// Add notes something.
func (d *Dependencies) Add(one Dependency) {
	if d.all == nil {
		d.all = map[string]Dependency{}
	}
	d.all[one.URI] = one
}

// Clone is a copy.
func (d *Dependencies) Clone() *Dependencies { return &Dependencies{maps.Clone(d.all)} }

// Sorted are those that were noted, by their URIs.
func (d *Dependencies) Sorted() []Dependency {
	var all []Dependency
	for _, uri := range slices.Sorted(maps.Keys(d.all)) {
		all = append(all, d.all[uri])
	}
	return all
}
