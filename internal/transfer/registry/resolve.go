package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of Docker's image manifest, version 2, schema 2; OCI's are in image-spec.
const (
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	DockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerSchema1  = "application/vnd.docker.distribution.manifest.v1+json"
)

// Limits of what is held in memory, in bytes. Registries take manifests up to 4 MiB (distribution spec,
// "Pushing Manifests").
const (
	maxManifest = 4 << 20
	maxConfig   = 8 << 20
	maxNesting  = 3        // indexes in indexes
	maxAnswer   = 64 << 10 // that says no
)

// IsManifest says whether a media type is one of an image's manifest, and not an index's.
func IsManifest(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == DockerManifest
}

func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == DockerIndex
}

// Resolve fetches the manifest and config that ref names, for the platform where it names an index. Errors
// wrap ErrNotFound, ErrUnauthorized, ErrUnreachable or ErrPlatform where they are one of these.
func (c *Client) Resolve(ctx context.Context, ref reference.Named, platform ocispec.Platform) (*Image, error) {
	img, err := c.Describe(ctx, ref, platform)
	if err != nil {
		return nil, err
	}
	if err := img.check(); err != nil {
		return nil, err
	}
	return img, nil
}

// Describe is Resolve for a name that may mean something else than a container image, an artifact with the form of
// one: the config may be anything (image-spec, "Guidelines for Artifact Usage").
func (c *Client) Describe(ctx context.Context, ref reference.Named, platform ocispec.Platform) (*Image, error) {
	ref = reference.TagNameOnly(ref)
	blob, err := c.manifest(ctx, ref, identifier(ref))
	if err != nil {
		return nil, err
	}
	img := &Image{Ref: ref}
	for depth := 0; isIndex(blob.MediaType); depth++ {
		if depth == maxNesting {
			return nil, fmt.Errorf("%s: indexes are nested more than %d deep", reference.FamiliarString(ref), maxNesting)
		}
		if img.Index == nil {
			index := blob
			img.Index = &index
		}
		var index ocispec.Index
		if err := json.Unmarshal(blob.Data, &index); err != nil {
			return nil, fmt.Errorf("%s: reading the index %s: %w", reference.FamiliarString(ref), blob.Digest, err)
		}
		entry, err := choose(index.Manifests, platform)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", reference.FamiliarString(ref), err)
		}
		if blob, err = c.manifest(ctx, ref, entry.Digest.String()); err != nil {
			return nil, err
		}
	}
	img.Manifest = blob
	if err := c.fillImage(ctx, img); err != nil {
		return nil, err
	}
	return img, nil
}

// identifier is the digest of a name that has one, else its tag.
func identifier(ref reference.Named) string {
	if d, ok := ref.(reference.Digested); ok {
		return d.Digest().String()
	}
	if t, ok := ref.(reference.Tagged); ok {
		return t.Tag()
	}
	return "latest"
}

// fillImage reads the manifest and fetches the config.
func (c *Client) fillImage(ctx context.Context, img *Image) error {
	who := reference.FamiliarString(img.Ref)
	var m ocispec.Manifest
	if err := json.Unmarshal(img.Manifest.Data, &m); err != nil {
		return fmt.Errorf("%s: reading the manifest %s: %w", who, img.Manifest.Digest, err)
	}
	for _, d := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if err := d.Digest.Validate(); err != nil || d.Size < 0 {
			return fmt.Errorf("%s: the manifest %s has a bad descriptor (digest %q, size %d)", who, img.Manifest.Digest, d.Digest, d.Size)
		}
	}
	data, err := c.Small(ctx, img.Ref, m.Config, maxConfig)
	if err != nil {
		return err
	}
	img.Config = Blob{MediaType: m.Config.MediaType, Digest: m.Config.Digest, Data: data}
	img.Layers, img.Annotations = m.Layers, m.Annotations
	return nil
}

// check says whether what was found is a container image.
func (img *Image) check() error {
	var config ocispec.Image
	err := json.Unmarshal(img.Config.Data, &config)
	if err != nil && isImageConfig(img.Config.MediaType) {
		return fmt.Errorf("%s: the image's config %s cannot be read: %w; it has to be pushed again by what made it",
			reference.FamiliarString(img.Ref), img.Config.Digest, err)
	}
	if err != nil || len(config.RootFS.DiffIDs) != len(img.Layers) {
		return fmt.Errorf("%s: not a container image: its config has the type %q and describes %d layers, where the manifest has %d",
			reference.FamiliarString(img.Ref), img.Config.MediaType, len(config.RootFS.DiffIDs), len(img.Layers))
	}
	return nil
}

// isImageConfig says whether a config is that of a container image and not of a chart or another artifact.
func isImageConfig(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageConfig || mediaType == DockerConfig
}

// Digest returns the descriptor of what ref names, without fetching it where the registry lets one ask.
func (c *Client) Digest(ctx context.Context, ref reference.Named) (ocispec.Descriptor, error) {
	ref = reference.TagNameOnly(ref)
	id := identifier(ref)
	var desc ocispec.Descriptor
	err := c.ask(ref, needFor(id), func(e *endpoint) error {
		resp, err := e.read(ctx, manifestRequest(http.MethodHead, ref, id), http.StatusOK, http.StatusMethodNotAllowed)
		if err != nil {
			return err
		}
		resp.Body.Close()
		got, err := digest.Parse(resp.Header.Get("Docker-Content-Digest"))
		kind := mediaType(resp.Header)
		if err == nil && resp.StatusCode == http.StatusOK && resp.ContentLength > 0 && (IsManifest(kind) || isIndex(kind)) {
			desc = ocispec.Descriptor{MediaType: kind, Digest: got, Size: resp.ContentLength}
			return nil
		}
		blob, err := e.manifest(ctx, ref, id)
		desc = blob.Descriptor()
		return err
	})
	return desc, err
}

// Has says whether a repository has a blob: the first of the mirrors and the registry that answers says it.
func (c *Client) Has(ctx context.Context, ref reference.Named, d digest.Digest) (bool, error) {
	has := false
	err := c.ask(ref, canPull, func(e *endpoint) error {
		resp, err := e.read(ctx, request{
			method: http.MethodHead, path: "/" + reference.Path(ref) + "/blobs/" + d.String(), scopes: []string{pullScope(ref)},
		}, http.StatusOK, http.StatusNotFound)
		if err != nil {
			return err
		}
		resp.Body.Close()
		has = resp.StatusCode == http.StatusOK
		return nil
	})
	return has, err
}

// ask puts the same question to each endpoint of ref until one answers.
func (c *Client) ask(ref reference.Named, need capability, question func(*endpoint) error) error {
	endpoints, err := c.endpointsFor(ref, need)
	if err != nil {
		return err
	}
	var failures []failure
	for _, e := range endpoints {
		err := question(e)
		if err == nil {
			return nil
		}
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return explain(ref, failure{err: err})
		}
		failures = append(failures, failure{err: err, mirror: e.mirror})
	}
	return explain(ref, failures...)
}

// needFor is what an endpoint has to be able to do for a manifest: digests say themselves what they mean.
func needFor(id string) capability {
	if strings.Contains(id, ":") {
		return canPull
	}
	return canResolve
}

func manifestRequest(method string, ref reference.Named, id string) request {
	return request{
		method: method,
		path:   "/" + reference.Path(ref) + "/manifests/" + id,
		scopes: []string{pullScope(ref)},
		header: http.Header{"Accept": {ocispec.MediaTypeImageIndex, DockerIndex, ocispec.MediaTypeImageManifest, DockerManifest}},
	}
}

func pullScope(ref reference.Named) string { return "repository:" + reference.Path(ref) + ":pull" }

// mediaType is the Content-Type without its parameters.
func mediaType(header http.Header) string {
	kind, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	return strings.TrimSpace(kind)
}

// manifest fetches a manifest or index from the first endpoint that has it.
func (c *Client) manifest(ctx context.Context, ref reference.Named, id string) (blob Blob, err error) {
	err = c.ask(ref, needFor(id), func(e *endpoint) error {
		blob, err = e.manifest(ctx, ref, id)
		return err
	})
	return blob, err
}

// manifest fetches a manifest or index and checks it against the digest that asks for it or comes with it.
func (e *endpoint) manifest(ctx context.Context, ref reference.Named, id string) (Blob, error) {
	resp, err := e.read(ctx, manifestRequest(http.MethodGet, ref, id), http.StatusOK)
	if err != nil {
		return Blob{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return Blob{}, fmt.Errorf("reading the manifest: %w", err)
	}
	if len(data) > maxManifest {
		return Blob{}, fmt.Errorf("%s sent a manifest larger than %d bytes", e.url.Host, maxManifest)
	}
	want := digest.Digest(id)
	if !strings.Contains(id, ":") {
		want = digest.Digest(resp.Header.Get("Docker-Content-Digest"))
	}
	got := digest.FromBytes(data)
	if want.Validate() == nil && want.Algorithm().Available() {
		got = want.Algorithm().FromBytes(data)
		if got != want {
			return Blob{}, &DigestError{Want: want, Got: got, Host: e.url.Host}
		}
	}
	kind, err := manifestType(mediaType(resp.Header), data)
	if err != nil {
		return Blob{}, err
	}
	return Blob{MediaType: kind, Digest: got, Data: data}, nil
}

// manifestType says what data is. What can be read as both a manifest and an index is refused
// (CVE-2021-41190).
func manifestType(header string, data []byte) (string, error) {
	var m struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		what := "what came is no manifest"
		if bytes.HasPrefix(bytes.TrimSpace(data), []byte("<")) {
			what = "a web page came where a manifest should be: is this host a registry?"
		}
		return "", fmt.Errorf("%s (%w)", what, err)
	}
	if m.SchemaVersion == 1 || m.FSLayers != nil || strings.HasPrefix(header, strings.TrimSuffix(dockerSchema1, "+json")) {
		return "", errors.New("the image is stored in Docker's old format (schema 1), which is no longer read: pull and push it once with a Docker of 2017 to 2023 to convert it")
	}
	kind := m.MediaType
	if kind == "" {
		kind = header
	}
	isList, isImage := m.Manifests != nil, m.Config != nil || m.Layers != nil
	switch {
	case isList && isImage:
		return "", errors.New("the manifest is ambiguous: it has manifests as well as layers")
	case isList && isIndex(kind), isImage && IsManifest(kind):
		return kind, nil
	case isList && !IsManifest(kind):
		return ocispec.MediaTypeImageIndex, nil
	case isImage && !isIndex(kind):
		return ocispec.MediaTypeImageManifest, nil
	}
	return "", fmt.Errorf("not an image: the type is %q", printable(kind))
}

// Small fetches a blob of at most limit bytes into memory, and checks its digest.
func (c *Client) Small(ctx context.Context, ref reference.Named, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	if err := desc.Digest.Validate(); err != nil || desc.Size < 0 {
		return nil, fmt.Errorf("%s: a descriptor is bad (digest %q, size %d)", reference.FamiliarString(ref), desc.Digest, desc.Size)
	}
	if desc.Size > limit {
		return nil, fmt.Errorf("%s: %s is %d bytes large, more than the %d that are allowed", reference.FamiliarString(ref), desc.Digest, desc.Size, limit)
	}
	if int64(len(desc.Data)) == desc.Size && desc.Digest.Algorithm().FromBytes(desc.Data) == desc.Digest {
		return desc.Data, nil // embedded in the manifest (image-spec, "Embedded Content")
	}
	r, err := c.Open(ctx, ref, desc, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
