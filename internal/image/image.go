// Package image reads and writes image configs. The digest of a config is the ID of an image or a
// step. The format is the OCI image spec's config with Docker's extensions
// (moby/docker-image-spec).
package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Config is an image config: platform, runtime configuration, diffIDs of the layers, history, and
// strata's inline cache, a field that other tools ignore.
type Config struct {
	dockerspec.DockerOCIImage
	// Cached are the history rows whose steps a build can take from this image by their cache keys,
	// in the order of the rows.
	Cached []CachedRow `json:"strata.cache.v1,omitempty"`
	// Stages are the steps of the other stages that the image's own follow from, and what its steps selected in them,
	// as in BuildKit's mode=min: keys and diffIDs without the layers.
	Stages []CachedStep `json:"strata.cache.stages.v1,omitempty"`
}

// CachedRow is the cache key of the step of a history row. With the row's time and layer it makes a
// complete cache record, in about 110 bytes.
type CachedRow struct {
	Row int           `json:"row"` // index in History
	Key digest.Digest `json:"key"` // the graph engine's key, also if the classic engine built the image
	MS  int64         `json:"ms"`  // how long the step ran, in milliseconds
	// Weak is the key by which the row is a candidate for a step that is observed, and Inputs what it read; "" and nil
	// for a row that is none. Package cache knows what they mean.
	Weak   digest.Digest `json:"weak,omitempty"`
	Inputs []byte        `json:"inputs,omitempty"`
}

// CachedStep is the cache record of a step that no history row tells of.
type CachedStep struct {
	Key      digest.Digest `json:"key"`
	Layer    digest.Digest `json:"layer,omitempty"`    // diffID of the layer that it made, "" if it changed no file
	Selected string        `json:"selected,omitempty"` // what a COPY --from or a mount selected, see cache.Record
	Created  time.Time     `json:"created"`            // when it ran
	MS       int64         `json:"ms"`                 // how long it ran, in milliseconds
}

func (s *CachedStep) valid() bool {
	return s.Key.Validate() == nil && (s.Layer == "" || s.Layer.Validate() == nil && s.Layer.Algorithm() == digest.SHA256)
}

// History is one row of an image's history.
type History = ocispec.History

// BuildKitComment is the comment of history rows that the graph engine writes. It distinguishes
// them from the classic engine's, as in Docker.
const BuildKitComment = "buildkit.dockerfile.v0"

// maxConfig is the largest size in bytes of a config that is read. Known configs are below 1 MiB.
const maxConfig = 16 << 20

// Parse reads a config. Errors say what is wrong with it.
func Parse(data []byte) (*Config, error) {
	if len(data) > maxConfig {
		return nil, fmt.Errorf("reading an image config: it has %d bytes, more than the %d that are allowed", len(data), maxConfig)
	}
	var c Config
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("reading an image config: %w; the image is damaged or of an unknown kind", err)
	}
	if c.RootFS.Type != "" && c.RootFS.Type != "layers" {
		return nil, fmt.Errorf("reading an image config: its root file system is of the unknown type %q", c.RootFS.Type)
	}
	for _, d := range c.RootFS.DiffIDs {
		if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
			return nil, fmt.Errorf("reading an image config: %q is not the sha256 digest of a layer", d)
		}
	}
	for _, r := range c.Cached {
		if r.Row < 0 || r.Row >= len(c.History) || r.Key.Validate() != nil {
			c.Cached = nil // an inline cache that is not valid is ignored
			break
		}
	}
	if slices.ContainsFunc(c.Stages, func(s CachedStep) bool { return !s.valid() }) {
		c.Stages = nil
	}
	emptyRows(&c)
	return &c, nil
}

// emptyRows takes those rows of a history for empty that come when all layers have a row. BuildKit builds
// on such images and mends the history like this (normalizeLayersAndHistory in exporter/containerimage/writer.go).
func emptyRows(c *Config) {
	layers := len(c.RootFS.DiffIDs)
	for i := range c.History {
		switch h := &c.History[i]; {
		case h.EmptyLayer:
		case layers == 0:
			h.EmptyLayer = true
		default:
			layers--
		}
	}
}

func layerRows(history []History) int {
	n := 0
	for _, h := range history {
		if !h.EmptyLayer {
			n++
		}
	}
	return n
}

// DiffIDs parses only the diffIDs of the layers of a config, the lowest layer first.
func DiffIDs(data []byte) ([]digest.Digest, error) {
	var c struct {
		RootFS struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("reading an image config: %w", err)
	}
	return c.RootFS.DiffIDs, nil
}

// Encode writes a config; its digest is the ID.
func Encode(c *Config) ([]byte, error) {
	var b bytes.Buffer
	if err := encode(&b, c); err != nil {
		return nil, fmt.Errorf("writing an image config: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Scratch returns the config of FROM scratch.
func Scratch(p ocispec.Platform) *Config {
	c := &Config{}
	c.Platform = p
	c.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}
	c.Config.Env = []string{"PATH=" + DefaultPath}
	return c
}

// DefaultPath is the PATH of an image that sets none (Docker's default for Linux).
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Clone returns a copy of a config; changes to one of them do not change the other.
func Clone(c *Config) *Config {
	d := *c
	d.RootFS.DiffIDs = slices.Clone(c.RootFS.DiffIDs)
	d.History = slices.Clone(c.History)
	d.Cached = slices.Clone(c.Cached)
	d.Stages = slices.Clone(c.Stages)
	d.Config = CloneRuntime(c.Config)
	return &d
}

// ChainID returns the chainID of layers, the lowest first (OCI image spec, "Layer ChainID"); "" if
// there are none.
func ChainID(diffIDs []digest.Digest) digest.Digest {
	chain := digest.Digest("")
	for _, d := range diffIDs {
		chain = ExtendChain(chain, d)
	}
	return chain
}

// ExtendChain returns the chainID of layers with one more on top of them, whose chainID is chain.
func ExtendChain(chain, diffID digest.Digest) digest.Digest {
	if chain == "" {
		return diffID
	}
	return digest.FromString(string(chain) + " " + string(diffID))
}

// LayerOf returns the diffID of the layer of the history row at index i, "" if the row has none.
func LayerOf(c *Config, i int) digest.Digest {
	if c.History[i].EmptyLayer {
		return ""
	}
	// Layers without a row are the oldest.
	n := len(c.RootFS.DiffIDs) - layerRows(c.History[i:])
	if n < 0 {
		return ""
	}
	return c.RootFS.DiffIDs[n]
}

// Created returns the time when an image was made, the zero time if the config has none.
func Created(c *Config) time.Time {
	if c.Created == nil {
		return time.Time{}
	}
	return *c.Created
}

// ShortID shortens an ID to 12 hexadecimal digits, as Docker does.
func ShortID(d digest.Digest) string {
	hex := strings.TrimPrefix(string(d), "sha256:")
	return hex[:min(12, len(hex))]
}
