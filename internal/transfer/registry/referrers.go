package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Referrers lists the artifacts of a type that refer to a manifest of ref's repository (distribution-spec, "Listing
// Referrers"), of more than a page only those of the first. A registry that does not know of referrers is asked for
// the tag under which clients list them there ("Referrers Tag Schema"). None is no error.
func (c *Client) Referrers(ctx context.Context, ref reference.Named, subject digest.Digest, artifactType string) ([]ocispec.Descriptor, error) {
	if err := subject.Validate(); err != nil {
		return nil, fmt.Errorf("%s: digest %q: %w", reference.FamiliarString(ref), subject, err)
	}
	var all []ocispec.Descriptor
	err := c.ask(ref, canPull, func(e *endpoint) (err error) {
		all, err = e.referrers(ctx, ref, subject, artifactType)
		return err
	})
	return slices.DeleteFunc(all, func(d ocispec.Descriptor) bool {
		return d.ArtifactType != artifactType || d.Digest.Validate() != nil
	}), err
}

func (e *endpoint) referrers(ctx context.Context, ref reference.Named, subject digest.Digest, artifactType string) ([]ocispec.Descriptor, error) {
	r := request{
		method: http.MethodGet,
		path:   "/" + reference.Path(ref) + "/referrers/" + subject.String(),
		query:  url.Values{"artifactType": {artifactType}},
		scopes: []string{pullScope(ref)},
		header: http.Header{"Accept": {ocispec.MediaTypeImageIndex}},
	}
	resp, err := e.read(ctx, r, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusNotFound {
		resp.Body.Close()
		tag := manifestRequest(http.MethodGet, ref, strings.Replace(subject.String(), ":", "-", 1))
		if resp, err = e.read(ctx, tag, http.StatusOK, http.StatusNotFound); err != nil {
			return nil, err
		}
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, nil
	}
	var index ocispec.Index
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxManifest)).Decode(&index); err != nil {
		return nil, fmt.Errorf("reading what refers to %s: %w", subject, err)
	}
	return index.Manifests, nil
}
