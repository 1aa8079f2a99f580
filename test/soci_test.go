package test

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strata-build/strata/internal/layer/chunked/ztoctest"
)

// sociSpan is how far apart checkpoints are, in bytes. The soci tool has 4 MiB.
const sociSpan = 256 << 10

// soci v1|v2 NAME [TO] makes a SOCI index of an image, as "soci create" and "soci convert" do. One of version 1 is
// attached to the image, under the tag that stands for what refers to it where the registry does not list that; with
// version 2 the image TO is made, whose manifest names the index. "soci false NAME" attaches an index whose spans have
// other digests than they should have.
func soci(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || (args[0] == "v2") != (len(args) == 3) {
		ts.Fatalf("usage: soci v1 NAME | v2 NAME TO | false NAME")
	}
	ref, err := name.ParseReference(args[1], name.Insecure)
	ts.Check(err)
	img, err := remote.Image(ref)
	ts.Check(err)
	raw, err := img.RawManifest()
	ts.Check(err)
	var manifest ocispec.Manifest
	ts.Check(json.Unmarshal(raw, &manifest))
	subject := ocispec.Descriptor{MediaType: manifest.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}

	version := 1
	if args[0] == "v2" {
		version = 2
	}
	kind := fmt.Sprintf("application/vnd.amazon.soci.index.v%d+json", version)
	s := &sociPush{ts: ts, repo: ref.Context()}
	index := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: s.blob(kind, []byte("{}")),
	}
	for _, l := range manifest.Layers {
		index.Layers = append(index.Layers, s.ztoc(img, l, args[0] == "false"))
	}
	if version == 1 {
		index.Subject = &subject
		made := s.manifest(nil, index)
		made.ArtifactType = kind
		s.manifest(s.repo.Tag("sha256-"+subject.Digest.Encoded()), ocispec.Index{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{made},
		})
		return
	}
	made := s.manifest(nil, index)
	manifest.Annotations = map[string]string{"com.amazon.soci.index-digest": made.Digest.String()}
	annotated := s.manifest(nil, manifest)
	platform := &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	annotated.Platform, made.Platform = platform, platform
	made.ArtifactType = kind
	made.Annotations = map[string]string{"com.amazon.soci.image-manifest-digest": annotated.Digest.String()}
	to, err := name.NewTag(args[2], name.Insecure)
	ts.Check(err)
	s.manifest(to, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{annotated, made},
	})
}

// sociPush pushes what an index is made of.
type sociPush struct {
	ts   *testscript.TestScript
	repo name.Repository
}

// ztoc makes the zTOC of a layer.
func (s *sociPush) ztoc(img v1.Image, l ocispec.Descriptor, wrong bool) ocispec.Descriptor {
	layer, err := img.LayerByDigest(v1.Hash{Algorithm: "sha256", Hex: l.Digest.Encoded()})
	s.ts.Check(err)
	r, err := layer.Compressed()
	s.ts.Check(err)
	defer r.Close()
	blob, err := io.ReadAll(r)
	s.ts.Check(err)
	table, err := ztoctest.Make(blob, sociSpan)
	s.ts.Check(err)
	if wrong {
		table = ztoctest.WithOtherDigests(table)
	}
	desc := s.blob("application/octet-stream", table)
	desc.Annotations = map[string]string{
		"com.amazon.soci.image-layer-digest": l.Digest.String(), "com.amazon.soci.image-layer-mediaType": l.MediaType,
		"com.amazon.soci.span-size": strconv.Itoa(sociSpan),
	}
	return desc
}

func (s *sociPush) blob(kind string, data []byte) ocispec.Descriptor {
	s.ts.Check(remote.WriteLayer(s.repo, static.NewLayer(data, types.MediaType(kind))))
	return ocispec.Descriptor{MediaType: kind, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// rawManifest is a manifest or index as it is sent.
type rawManifest struct {
	kind string
	data []byte
}

func (m rawManifest) RawManifest() ([]byte, error)        { return m.data, nil }
func (m rawManifest) MediaType() (types.MediaType, error) { return types.MediaType(m.kind), nil }

// manifest sends one under a tag, or under its digest where that is nil.
func (s *sociPush) manifest(to name.Reference, v any) ocispec.Descriptor {
	data, err := json.Marshal(v)
	s.ts.Check(err)
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if _, ok := v.(ocispec.Index); ok {
		desc.MediaType = ocispec.MediaTypeImageIndex
	}
	if to == nil {
		to = s.repo.Digest(desc.Digest.String())
	}
	s.ts.Check(remote.Put(to, rawManifest{desc.MediaType, data}))
	return desc
}
