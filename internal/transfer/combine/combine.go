// Package combine makes one index of images that are in registries, and gives it a name there: what buildx imagetools
// create does (docker/buildx, util/imagetools).
package combine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// Source is an image, or an index of several, that goes into the new one.
type Source struct {
	Ref reference.Named // nil until Locate: a digest or descriptor alone has no repository
	// Desc is what the person said of it: a digest, perhaps a platform and annotations.
	Desc ocispec.Descriptor

	blob registry.Blob
}

// ParseSource reads a source: a name, a digest, or a descriptor as JSON.
func ParseSource(text string) (*Source, error) {
	text = strings.TrimSpace(text)
	if d, err := digest.Parse(text); err == nil {
		return &Source{Desc: ocispec.Descriptor{Digest: d}}, nil
	}
	if !strings.HasPrefix(text, "{") {
		ref, err := registry.ParseName(text)
		if err != nil {
			return nil, err
		}
		return &Source{Ref: reference.TagNameOnly(ref)}, nil
	}
	var parsed struct {
		SchemaVersion int `json:"schemaVersion"`
		ocispec.Descriptor
	}
	if err := json.Unmarshal([]byte(text), &parsed); err != nil {
		return nil, fmt.Errorf("reading a descriptor: %w", err)
	}
	if parsed.SchemaVersion != 0 {
		return nil, errors.New("this is a manifest; it takes a descriptor, which has a mediaType, a digest and a size")
	}
	if err := parsed.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("the descriptor's digest %q: %w", parsed.Digest, err)
	}
	return &Source{Desc: parsed.Descriptor}, nil
}

// Locate gives the sources without a repository the only one that tags and other sources name.
func Locate(sources []*Source, tags []reference.Named) error {
	repositories := map[string]reference.Named{}
	for _, t := range tags {
		repositories[t.Name()] = reference.TrimNamed(t)
	}
	for _, s := range sources {
		if s.Ref != nil {
			repositories[s.Ref.Name()] = reference.TrimNamed(s.Ref)
		}
	}
	for _, s := range sources {
		if s.Ref != nil {
			continue
		}
		if len(repositories) != 1 {
			return fmt.Errorf("%s: it may be in %d repositories; write it as NAME@DIGEST", s.Desc.Digest, len(repositories))
		}
		for _, repository := range repositories {
			ref, err := reference.WithDigest(repository, s.Desc.Digest)
			if err != nil {
				return err
			}
			s.Ref = ref
		}
	}
	return nil
}

// Options say what the index is to have beside its sources.
type Options struct {
	Index map[string]string // annotations of the index
	// Descriptor are the annotations of an entry, for its platform.
	Descriptor func(*ocispec.Platform) map[string]string
	Platforms  []ocispec.Platform // the only ones that are taken; none is all
	// CopySingle leaves a single manifest as it is, without an index.
	CopySingle bool
}

// Index reads the sources and makes the index of them. A single index stays as it is, byte by byte, where nothing is
// asked of it.
func Index(ctx context.Context, c *registry.Client, sources []*Source, o Options) (registry.Blob, error) {
	for _, s := range sources {
		if err := s.read(ctx, c); err != nil {
			return registry.Blob{}, err
		}
	}
	single := len(sources) == 1 && len(o.Index) == 0
	if single && len(o.Platforms) == 0 && (o.CopySingle || !registry.IsManifest(sources[0].blob.MediaType)) && !o.describes(sources) {
		return sources[0].blob, nil
	}
	entries, err := entriesOf(sources)
	if err != nil {
		return registry.Blob{}, err
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Annotations: o.Index}
	docker := 0
	for _, e := range o.selected(entries) {
		if more := o.annotations(e.Platform); len(more) > 0 {
			e.Annotations = maps.Clone(e.Annotations)
			if e.Annotations == nil {
				e.Annotations = map[string]string{}
			}
			maps.Copy(e.Annotations, more)
		}
		if strings.HasPrefix(e.MediaType, "application/vnd.docker.") {
			docker++
		}
		index.Manifests = append(index.Manifests, e)
	}
	switch {
	case len(index.Manifests) == 0:
		return registry.Blob{}, fmt.Errorf("none of the sources has an image for %s", platform.FormatAll(o.Platforms))
	case docker == len(index.Manifests):
		index.MediaType, index.Annotations = registry.DockerIndex, nil // Docker's has none
	}
	data, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return registry.Blob{}, err
	}
	return registry.Blob{MediaType: index.MediaType, Digest: digest.FromBytes(data), Data: data}, nil
}

func (o *Options) annotations(p *ocispec.Platform) map[string]string {
	if o.Descriptor == nil {
		return nil
	}
	return o.Descriptor(p)
}

// describes says whether an annotation is meant for an entry of the sources.
func (o *Options) describes(sources []*Source) bool {
	return slices.ContainsFunc(sources, func(s *Source) bool { return len(o.annotations(s.Desc.Platform)) > 0 })
}

// selected are the entries for the platforms that are asked for, and what belongs to them.
func (o *Options) selected(entries []ocispec.Descriptor) []ocispec.Descriptor {
	if len(o.Platforms) == 0 {
		return entries
	}
	taken := map[string]bool{}
	for _, e := range entries {
		if e.Platform != nil && slices.ContainsFunc(o.Platforms, func(p ocispec.Platform) bool { return platform.Same(*e.Platform, p) }) {
			taken[e.Digest.String()] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(entries), func(e ocispec.Descriptor) bool {
		return !taken[e.Digest.String()] && !taken[e.Annotations[registry.ReferenceDigest]]
	})
}

// read fetches the source's manifest and completes its descriptor. What the person said of it stays.
func (s *Source) read(ctx context.Context, c *registry.Client) error {
	var err error
	if s.blob, err = c.Manifest(ctx, s.Ref); err != nil {
		return err
	}
	said := s.Desc
	if said.Size != 0 && said.Size != int64(len(s.blob.Data)) {
		return fmt.Errorf("%s has %d bytes, and not the %d of its descriptor", reference.FamiliarString(s.Ref), len(s.blob.Data), said.Size)
	}
	s.Desc = s.blob.Descriptor()
	s.Desc.Annotations, s.Desc.Platform = said.Annotations, said.Platform
	if !registry.IsManifest(s.blob.MediaType) || s.Desc.Platform != nil && s.Desc.Platform.OS != "" && s.Desc.Platform.Architecture != "" {
		return nil
	}
	data, err := c.Config(ctx, s.Ref, s.blob)
	if err != nil {
		return err
	}
	var p ocispec.Platform
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("%s: reading its config: %w", reference.FamiliarString(s.Ref), err)
	}
	p = platform.Normal(p)
	p = ocispec.Platform{Architecture: p.Architecture, OS: p.OS, Variant: p.Variant}
	s.Desc.Platform = &p
	return nil
}

// entriesOf are the entries of the new index: each image once, those of an index one by one.
func entriesOf(sources []*Source) ([]ocispec.Descriptor, error) {
	var all []ocispec.Descriptor
	add := func(d ocispec.Descriptor) {
		at := slices.IndexFunc(all, func(e ocispec.Descriptor) bool { return e.Digest == d.Digest })
		if at < 0 {
			all = append(all, d)
			return
		}
		if d.Platform != nil {
			all[at].Platform = d.Platform
		}
		notes := maps.Clone(all[at].Annotations)
		if notes == nil && len(d.Annotations) > 0 {
			notes = map[string]string{}
		}
		maps.Copy(notes, d.Annotations)
		all[at].Annotations = notes
	}
	for _, s := range sources {
		if registry.IsManifest(s.blob.MediaType) {
			add(s.Desc)
			continue
		}
		var index ocispec.Index
		if err := json.Unmarshal(s.blob.Data, &index); err != nil {
			return nil, fmt.Errorf("%s: reading the index: %w", reference.FamiliarString(s.Ref), err)
		}
		for _, d := range index.Manifests {
			add(d)
		}
	}
	return all, nil
}

// Publish brings all that the index needs into the repository of each tag, and gives the index these names.
func Publish(ctx context.Context, c *registry.Client, index registry.Blob, sources []*Source, tags []reference.Named) error {
	needed := map[digest.Digest]bool{index.Digest: true}
	var entries ocispec.Index
	if err := json.Unmarshal(index.Data, &entries); err != nil {
		return err
	}
	for _, e := range entries.Manifests {
		needed[e.Digest] = true
	}
	copied := map[string]bool{}
	for _, tag := range tags {
		if !copied[tag.Name()] {
			copied[tag.Name()] = true
			for _, s := range sources {
				if err := s.copyTo(ctx, c, tag, needed); err != nil {
					return err
				}
			}
		}
		if _, err := c.Push(ctx, tag, nil, index, nil); err != nil {
			return err
		}
	}
	return nil
}

// copyTo copies what is needed of a source into another repository: all of a manifest, the chosen entries of an index.
func (s *Source) copyTo(ctx context.Context, c *registry.Client, to reference.Named, needed map[digest.Digest]bool) error {
	if registry.IsManifest(s.blob.MediaType) {
		return c.Copy(ctx, s.Ref, to, s.blob)
	}
	var index ocispec.Index
	if err := json.Unmarshal(s.blob.Data, &index); err != nil {
		return err
	}
	for _, d := range index.Manifests {
		if !needed[d.Digest] {
			continue
		}
		child, err := reference.WithDigest(reference.TrimNamed(s.Ref), d.Digest)
		if err != nil {
			return err
		}
		m, err := c.Manifest(ctx, child)
		if err != nil {
			return err
		}
		if err := c.Copy(ctx, child, to, m); err != nil {
			return err
		}
	}
	return nil
}
