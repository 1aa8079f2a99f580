// Package artifact is the form in which a cache is one document: an OCI artifact, an image manifest whose config lists the
// records, and whose layers are the compressed layers that the records name, so that registries keep them as long as
// the cache. docs/cache.md describes it.
package artifact

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// The types of the manifest and of its config.
const (
	Type       = "application/vnd.strata.cache.v1"
	ConfigType = "application/vnd.strata.cache.config.v1+json"
)

// config is the config of a cache. It holds nothing that is not the cache's: the same cache is the same blob, whenever and
// wherever it was written.
type config struct {
	Records []entry `json:"records"`
}

type entry struct {
	Key digest.Digest `json:"key"`
	// Blob is the record's layer, compressed, among the manifest's layers; "" if the cache has only the record.
	Blob   digest.Digest `json:"blob,omitempty"`
	Record *cache.Record `json:"record"`
}

// Encode makes config and manifest of a cache. blobs are the compressed forms of the layers with the diffIDs, which are
// those that the steps name.
func Encode(steps []cache.Step, diffIDs []digest.Digest, blobs []ocispec.Descriptor) (conf, manifest registry.Blob, err error) {
	byLayer := map[digest.Digest]digest.Digest{}
	for i, d := range diffIDs {
		byLayer[d] = blobs[i].Digest
	}
	x := config{Records: []entry{}}
	for _, s := range steps {
		x.Records = append(x.Records, entry{s.Key, byLayer[s.Record.Layer], s.Record})
	}
	if conf, err = encode(ConfigType, x); err != nil {
		return conf, manifest, err
	}
	manifest, err = encode(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: Type, Config: conf.Descriptor(), Layers: append([]ocispec.Descriptor{}, blobs...),
	})
	return conf, manifest, err
}

func encode(mediaType string, v any) (registry.Blob, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return registry.Blob{}, fmt.Errorf("writing the cache: %w", err)
	}
	return registry.Blob{MediaType: mediaType, Digest: digest.FromBytes(data), Data: data}, nil
}

// Records are those of a cache that was read.
type Records struct {
	byKey map[digest.Digest]*cache.Record
	// Blobs are the manifest's layers by diffID, as far as records name them.
	Blobs map[digest.Digest]ocispec.Descriptor
	// absent are the layers of records that the cache has without them.
	absent []digest.Digest
}

// Decode reads the config of a cache. layers are the manifest's; name is what the person calls the cache.
//
// Records that cannot be trusted (see cache.Step.Check), and those whose layer the manifest does not have, are passed
// over.
func Decode(name string, conf []byte, layers []ocispec.Descriptor) (*Records, error) {
	var x config
	if err := json.Unmarshal(conf, &x); err != nil {
		return nil, fmt.Errorf("reading the cache %s: %w; it is damaged: export it again with --cache-to", name, err)
	}
	have := map[digest.Digest]ocispec.Descriptor{}
	for _, l := range layers {
		have[l.Digest] = l
	}
	rs := &Records{byKey: map[digest.Digest]*cache.Record{}, Blobs: map[digest.Digest]ocispec.Descriptor{}}
	for _, e := range x.Records {
		if (cache.Step{Key: e.Key, Record: e.Record}).Check() != nil {
			continue
		}
		if d := e.Record.Layer; d != "" && e.Blob == "" {
			rs.absent = append(rs.absent, d)
		} else if d != "" {
			blob, ok := have[e.Blob]
			if !ok {
				continue
			}
			rs.Blobs[d] = blob
		}
		e.Record.Origin = name
		rs.byKey[e.Key] = e.Record
	}
	return rs, nil
}

// Get returns a copy of the record of a key; cache.ErrNotFound if there is none.
func (rs *Records) Get(key digest.Digest) (*cache.Record, error) {
	r, ok := rs.byKey[key]
	if !ok {
		return nil, fmt.Errorf("%s: %w", key, cache.ErrNotFound)
	}
	c := *r
	return &c, nil
}

// Candidates returns copies of up to limit records with a weak key, those made last first.
func (rs *Records) Candidates(weak digest.Digest, limit int) []*cache.Record {
	var found []*cache.Record
	for _, r := range rs.byKey {
		if r.Observed != nil && r.Observed.Weak == weak {
			c := *r
			found = append(found, &c)
		}
	}
	slices.SortFunc(found, func(a, b *cache.Record) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.Layer, b.Layer))
	})
	return found[:min(limit, len(found))]
}

// Len is the number of records.
func (rs *Records) Len() int { return len(rs.byKey) }
