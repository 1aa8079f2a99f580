package transfer

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/layer/chunked/ztoctest"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// shop is a registry whose images all have one layer, with one large file of which a zTOC can say that it is another.
type shop struct {
	host       string
	things     map[string][]byte // manifests and blobs by their paths
	diffID     digest.Digest
	blob       []byte
	good, evil []byte // zTOCs
}

func newShop(t *testing.T) *shop {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	noise := make([]byte, 1200<<10)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	var body, data, z bytes.Buffer
	for part := range slices.Chunk(noise, 8) {
		body.Write(part)
		body.WriteString(" goodword\n")
	}
	w := tar.NewWriter(&data)
	must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "file", Mode: 0o644, Size: int64(body.Len())}))
	_, err := w.Write(body.Bytes())
	must(t, err)
	must(t, w.Close())
	g := gzip.NewWriter(&z)
	_, err = g.Write(data.Bytes())
	must(t, err)
	must(t, g.Close())
	s := &shop{things: map[string][]byte{}, diffID: digest.FromBytes(data.Bytes()), blob: z.Bytes()}
	s.good, err = ztoctest.Make(s.blob, 256<<10)
	must(t, err)
	s.evil = bytes.ReplaceAll(s.good, []byte("goodword"), []byte("evilword"))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, ok := s.things[strings.TrimPrefix(r.URL.Path, "/v2/")]
		switch {
		case r.URL.Path == "/v2/":
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		default:
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		}
	}))
	t.Cleanup(server.Close)
	s.host = strings.TrimPrefix(server.URL, "http://")
	return s
}

// index puts a SOCI index into a repository.
func (s *shop) index(t *testing.T, repo, kind string, ztoc []byte, subject *ocispec.Descriptor) ocispec.Descriptor {
	s.things[repo+"/blobs/"+digest.FromBytes(ztoc).String()] = ztoc
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Subject: subject, Config: ocispec.Descriptor{MediaType: kind}}
	m.Layers = []ocispec.Descriptor{{
		MediaType: "application/octet-stream", Digest: digest.FromBytes(ztoc), Size: int64(len(ztoc)),
		Annotations: map[string]string{"com.amazon.soci.image-layer-digest": digest.FromBytes(s.blob).String()},
	}}
	return s.manifest(t, repo, m)
}

func (s *shop) manifest(t *testing.T, repo string, m any) ocispec.Descriptor {
	data, err := json.Marshal(m)
	must(t, err)
	d := digest.FromBytes(data)
	s.things[repo+"/manifests/"+d.String()] = data
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: int64(len(data))}
}

// image puts an image into a repository; with a zTOC it names an index of it.
func (s *shop) image(t *testing.T, repo, author string, ztoc []byte) ocispec.Descriptor {
	config, err := json.Marshal(ocispec.Image{Author: author, Platform: amd64, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{s.diffID}}})
	must(t, err)
	m := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers:    []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromBytes(s.blob), Size: int64(len(s.blob))}},
	}
	if ztoc != nil {
		index := s.index(t, repo, "application/vnd.amazon.soci.index.v2+json", ztoc, nil)
		m.Annotations = map[string]string{"com.amazon.soci.index-digest": index.Digest.String()}
	}
	s.things[repo+"/blobs/"+m.Config.Digest.String()], s.things[repo+"/blobs/"+digest.FromBytes(s.blob).String()] = config, s.blob
	d := s.manifest(t, repo, m)
	s.things[repo+"/manifests/1"] = s.things[repo+"/manifests/"+d.Digest.String()]
	return d
}

// attach has the registry list an index as the one that refers to an image.
func (s *shop) attach(t *testing.T, repo string, image ocispec.Descriptor, ztoc []byte) {
	index := s.index(t, repo, "application/vnd.amazon.soci.index.v1+json", ztoc, &image)
	index.ArtifactType = "application/vnd.amazon.soci.index.v1+json"
	list := s.manifest(t, repo, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{index}})
	s.things[repo+"/manifests/"+strings.Replace(image.Digest.String(), ":", "-", 1)] = s.things[repo+"/manifests/"+list.Digest.String()]
}

// process opens a store as a process of its own.
func (s *shop) process(t *testing.T, root string, parts Parts) *Mover {
	st, err := store.Open(root)
	must(t, err)
	t.Cleanup(func() { st.Close() })
	m := New(st, registry.New(registry.Config{}), amd64)
	m.Parts = parts
	return m
}

func (s *shop) use(t *testing.T, m *Mover, repo string, pull bool) {
	_, err := m.Base(t.Context(), s.host+"/"+repo+":1", Wanted{Platform: amd64, Pull: pull})
	must(t, err)
}

// read says what the file has in parts: "good", "evil", or "whole" where there are none.
func (s *shop) read(t *testing.T, m *Mover) string {
	z, err := m.Store.Lazy(t.Context(), s.diffID)
	if z == nil {
		by, errBy := m.Store.PartsBy(s.diffID)
		must(t, errBy)
		if err == nil && by != "" {
			t.Errorf("no parts are read, and they are said to be by %s", by)
		}
		return "whole"
	}
	must(t, err)
	r, err := z.Open(t.Context(), z.Index.TOC.Lookup("file"))
	must(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	must(t, err)
	if bytes.Contains(data, []byte("evil")) {
		return "evil"
	}
	return "good"
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func expectRead(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: the layer is read as %q, and should be as %q", what, got, want)
	}
}

// An image that has a layer of another one has no say in how the layer is read for that one.
func TestOtherImageOfLayer(t *testing.T) {
	s := newShop(t)
	s.image(t, "evil", "m", s.evil)
	s.image(t, "honest", "a", s.good)
	s.image(t, "twin", "a", s.evil) // with the config of the honest one
	s.image(t, "plain", "p", nil)
	root := t.TempDir()
	first := s.process(t, root, PartsByImage)
	s.use(t, first, "honest", false)
	expectRead(t, "the honest one", s.read(t, first), "good")

	second := s.process(t, root, PartsByImage)
	s.use(t, second, "evil", false)
	expectRead(t, "the evil one in another process", s.read(t, second), "evil")
	expectRead(t, "the honest one beside it", s.read(t, first), "good")

	later := s.process(t, root, PartsByImage)
	s.use(t, later, "honest", false)
	expectRead(t, "the honest one later", s.read(t, later), "good")
	by, err := later.Store.PartsBy(s.diffID)
	must(t, err)
	if other, err := second.Store.PartsBy(s.diffID); err != nil || by == other || by == "" {
		t.Errorf("parts are read by %q and by %q: %v", by, other, err)
	}
	s.use(t, later, "evil", false)
	expectRead(t, "both in one process", s.read(t, later), "whole")

	plain := s.process(t, root, PartsByImage)
	s.use(t, plain, "plain", false)
	expectRead(t, "one without an index", s.read(t, plain), "whole")

	twin := s.process(t, root, PartsByImage)
	s.use(t, twin, "twin", true)
	same := s.process(t, root, PartsByImage)
	s.use(t, same, "honest", false)
	expectRead(t, "one whose config another image has", s.read(t, same), "good")
	either := s.process(t, root, PartsByImage)
	s.use(t, either, "twin", false)
	expectRead(t, "the other image with the config", s.read(t, either), "evil")
}

// An image that was built here says what the one says that it was built from.
func TestPartsOfBuilt(t *testing.T) {
	s := newShop(t)
	s.image(t, "honest", "a", s.good)
	root := t.TempDir()
	m := s.process(t, root, NoParts)
	base, err := m.Base(t.Context(), s.host+"/honest:1", Wanted{Platform: amd64})
	must(t, err)
	built := bytes.Replace(base.Data, []byte(`"author":"a"`), []byte(`"author":"b"`), 1)
	id, err := m.Store.PutConfig(built, base.ID, store.Image)
	must(t, err)
	m = s.process(t, root, PartsByImage)
	c, err := m.Store.Config(id)
	must(t, err)
	expectRead(t, "before anybody uses it", s.read(t, m), "whole")
	must(t, m.NoteParts("built", c))
	expectRead(t, "an image that was built", s.read(t, m), "good")
}

// What refers to an image counts as long as it does, in the repository of the image, and where that is asked for.
func TestAttachedIndex(t *testing.T) {
	s := newShop(t)
	image := s.image(t, "honest", "a", nil)
	s.attach(t, "honest", image, s.evil)
	root := t.TempDir()
	read := func(parts Parts) string {
		m := s.process(t, root, parts)
		s.use(t, m, "honest", false)
		return s.read(t, m)
	}
	expectRead(t, "an index that is not asked for", read(PartsByImage), "whole")
	expectRead(t, "one that is", read(PartsByReferrers), "evil")
	s.attach(t, "honest", image, s.good)
	expectRead(t, "another one in its place", read(PartsByReferrers), "good")
	delete(s.things, "honest/manifests/"+strings.Replace(image.Digest.String(), ":", "-", 1))
	expectRead(t, "one that was withdrawn", read(PartsByReferrers), "whole")

	s.image(t, "elsewhere", "m", nil)
	s.attach(t, "elsewhere", image, s.evil)
	other := s.process(t, root, NoParts)
	s.use(t, other, "elsewhere", true)
	expectRead(t, "one in another repository", read(PartsByReferrers), "whole")
}
