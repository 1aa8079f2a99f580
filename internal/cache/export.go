package cache

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An exported cache is an OCI artifact: an image manifest of this artifact type, whose config lists the records, and
// whose layers are the compressed layers that the records name, so that registries keep them as long as the cache.
const (
	ArtifactType = "application/vnd.strata.cache.v1"
	ConfigType   = "application/vnd.strata.cache.config.v1+json"
)

// Step is a record under the key by which every machine knows it.
type Step struct {
	Key    digest.Digest
	Record *Record
}

// NewStep makes a step of a key and what is recorded under it.
func NewStep(k *Key, r *Record) Step {
	c := *r
	c.Kind, c.Parts, c.Origin = k.Kind, k.Parts, ""
	return Step{k.Digest(), &c}
}

// exported is the config of an exported cache. It holds nothing that is not the cache's: the same cache is the same
// blob, whenever and wherever it was exported.
type exported struct {
	Records []exportedStep `json:"records"`
}

type exportedStep struct {
	Key digest.Digest `json:"key"`
	// Blob is the record's layer, compressed, among the manifest's layers.
	Blob   digest.Digest `json:"blob,omitempty"`
	Record *Record       `json:"record"`
}

// Export writes the config of a cache. blobs are the compressed forms of the layers, by diffID.
func Export(steps []Step, blobs map[digest.Digest]digest.Digest) ([]byte, error) {
	x := exported{Records: []exportedStep{}}
	for _, s := range steps {
		x.Records = append(x.Records, exportedStep{s.Key, blobs[s.Record.Layer], s.Record})
	}
	data, err := json.Marshal(x)
	if err != nil {
		return nil, fmt.Errorf("writing the cache: %w", err)
	}
	return data, nil
}

// FromExport makes a source of an exported cache. blobs are the manifest's layers by diffID, as far as records name them.
//
// Records whose key is not that of their parts, those of another version of strata too, and records whose layer the
// manifest does not have, are passed over: no build can trust them.
func FromExport(name string, config []byte, layers []ocispec.Descriptor) (s *Source, blobs map[digest.Digest]ocispec.Descriptor, err error) {
	var x exported
	if err := json.Unmarshal(config, &x); err != nil {
		return nil, nil, fmt.Errorf("reading the cache %s: %w; it is damaged: export it again with --cache-to", name, err)
	}
	have := map[digest.Digest]ocispec.Descriptor{}
	for _, l := range layers {
		have[l.Digest] = l
	}
	s = &Source{Name: name, records: map[digest.Digest]*Record{}}
	blobs = map[digest.Digest]ocispec.Descriptor{}
	for _, e := range x.Records {
		if e.Record == nil || (&Key{e.Record.Kind, e.Record.Parts}).Digest() != e.Key {
			continue
		}
		if d := e.Record.Layer; d != "" {
			blob, ok := have[e.Blob]
			if !ok || d.Validate() != nil || d.Algorithm() != digest.SHA256 {
				continue
			}
			blobs[d] = blob
		}
		e.Record.Origin = name
		s.records[e.Key] = e.Record
	}
	return s, blobs, nil
}
