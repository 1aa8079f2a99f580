package attest

import (
	"encoding/json"
	"time"

	"github.com/strata-build/strata/internal/transfer"
)

// buildTypeV02 says how the parameters of provenance v0.2 are to be read.
const buildTypeV02 = "https://mobyproject.org/buildkit@v1"

// The predicate of SLSA provenance v0.2, with BuildKit's fields (docs/attestations/slsa-definitions.md). It says the same as
// that of v1.
type (
	provenanceV02 struct {
		Builder     builderV02    `json:"builder"`
		BuildType   string        `json:"buildType"`
		Invocation  invocationV02 `json:"invocation"`
		BuildConfig *BuildConfig  `json:"buildConfig,omitempty"`
		Metadata    *metadataV02  `json:"metadata,omitempty"`
		Materials   []materialV02 `json:"materials,omitempty"`
	}
	builderV02 struct {
		ID string `json:"id"`
	}
	invocationV02 struct {
		Config      configV02      `json:"configSource"`
		Parameters  Asked          `json:"parameters"`
		Environment environmentV02 `json:"environment"`
	}
	configV02 struct {
		URI    string            `json:"uri,omitempty"`
		Digest map[string]string `json:"digest,omitempty"`
		Path   string            `json:"entryPoint,omitempty"`
	}
	environmentV02 struct {
		Platform string `json:"platform"`
	}
	materialV02 struct {
		URI    string            `json:"uri"`
		Digest map[string]string `json:"digest,omitempty"`
	}
	metadataV02 struct {
		InvocationID string          `json:"buildInvocationID"`
		Started      time.Time       `json:"buildStartedOn"`
		Finished     time.Time       `json:"buildFinishedOn"`
		Completeness completenessV02 `json:"completeness"`
		Reproducible bool            `json:"reproducible"`
		BuildKit     BuildMetadata   `json:"https://mobyproject.org/buildkit@v1#metadata"`
		Hermetic     bool            `json:"https://mobyproject.org/buildkit@v1#hermetic,omitempty"`
	}
	completenessV02 struct {
		Parameters  bool `json:"parameters"`
		Environment bool `json:"environment"`
		Materials   bool `json:"materials"`
	}
)

// AttestationV02 is the provenance as of v0.2.
func (p *Provenance) AttestationV02() (transfer.Attestation, error) {
	return attestation(ProvenanceV02Type, p.v02())
}

// Metadata is the provenance as buildx writes it into a file of metadata: as of v0.2, and unless max is set without steps, times
// and whatever else is of this build alone.
func (p *Provenance) Metadata(max bool) (json.RawMessage, error) {
	if !max {
		p.Reduce()
	}
	v := p.v02()
	if !max {
		v.Metadata = nil
	}
	a, err := attestation(ProvenanceV02Type, v)
	return a.Predicate, err
}

func (p *Provenance) v02() *provenanceV02 {
	d, m := &p.Definition, &p.Run.Metadata
	v := &provenanceV02{
		Builder:     builderV02{p.Run.Builder.ID},
		BuildType:   buildTypeV02,
		Invocation:  invocationV02{configV02(d.External.Config), d.External.Request, environmentV02{d.Internal.Platform}},
		BuildConfig: d.Internal.BuildConfig,
		Metadata: &metadataV02{
			InvocationID: m.InvocationID, Started: m.Started, Finished: m.Finished,
			Completeness: completenessV02{m.Completeness.Request, true, m.Completeness.Dependencies},
			Reproducible: m.Reproducible, BuildKit: m.BuildKit, Hermetic: m.Hermetic,
		},
	}
	for _, one := range d.Dependencies {
		v.Materials = append(v.Materials, materialV02{one.URI, one.Digest})
	}
	return v
}
