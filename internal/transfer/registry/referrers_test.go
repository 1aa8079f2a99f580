package registry

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What refers to an image is listed by the registry, or under a tag where the registry does not know of that.
func TestReferrers(t *testing.T) {
	const kind = "application/vnd.example"
	subject := digest.FromString("an image")
	one := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: kind, Digest: digest.FromString("one"), Size: 3}
	other, bad := one, one
	other.ArtifactType, bad.Digest = "application/vnd.other", "sha256:no"
	list, err := json.Marshal(ocispec.Index{Manifests: []ocispec.Descriptor{other, bad, one}})
	if err != nil {
		t.Fatal(err)
	}
	tag := "/manifests/sha256-" + subject.Encoded()
	for name, at := range map[string]string{"API": "/referrers/" + subject.String(), "tag": tag, "none": "nowhere"} {
		var asked []string
		host := serve(t, func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.URL.Path)
			if strings.HasSuffix(r.URL.Path, at) {
				w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
				w.Write(list)
				return
			}
			http.Error(w, `{"errors":[{"code":"NOT_FOUND"}]}`, http.StatusNotFound)
		})
		got, err := newClient(t).Referrers(t.Context(), mustName(t, host+"/a"), subject, kind)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if found := slices.ContainsFunc(got, func(d ocispec.Descriptor) bool { return d.Digest == one.Digest }); len(got) > 1 || found != (name != "none") {
			t.Errorf("%s: %+v", name, got)
		}
		if name == "API" && len(asked) != 1 || name != "API" && !strings.HasSuffix(asked[len(asked)-1], tag) {
			t.Errorf("%s: it was asked for %q", name, asked)
		}
	}
	host := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("no list")) })
	if _, err := newClient(t).Referrers(t.Context(), mustName(t, host+"/a"), subject, kind); err == nil {
		t.Error("an answer that is no list is taken")
	}
}

// An index may list artifacts that have the platform of the image that they are of.
func TestChooseNoArtifact(t *testing.T) {
	image := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("image"), Platform: &amd64}
	artifact := ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("artifact"), Platform: &amd64,
		ArtifactType: "application/vnd.amazon.soci.index.v2+json",
	}
	got, err := Choose([]ocispec.Descriptor{artifact, image}, amd64)
	if err != nil || got.Digest != image.Digest {
		t.Errorf("%+v, %v", got, err)
	}
}
