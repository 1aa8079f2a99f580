package transfer

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
)

// shelf is blobs at locations "shelf:" and a target for them.
type shelf map[digest.Digest][]byte

func (s shelf) source() BlobSource {
	return BlobSource{Scheme: "shelf", Open: func(_ context.Context, _ string, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
		data, ok := s[desc.Digest]
		if !ok {
			return nil, os.ErrNotExist
		}
		return io.NopCloser(bytes.NewReader(data[offset:])), nil
	}}
}

func (s shelf) Has(_ context.Context, desc ocispec.Descriptor) (bool, error) {
	_, ok := s[desc.Digest]
	return ok, nil
}

func (s shelf) Write(_ context.Context, desc ocispec.Descriptor, r io.Reader) error {
	data, err := io.ReadAll(r)
	if err == nil {
		s[desc.Digest] = data
	}
	return err
}

// A layer goes from place to place without a stop here, and only with the bytes that its digest promises.
func TestSendLayer(t *testing.T) {
	from := shelf{}
	m := newMover(t)
	l := layersOf(t, m, built(t, m, "me/app:1"))[0]
	desc, err := m.SendLayer(t.Context(), l.DiffID, layer.Gzip, from)
	if err != nil {
		t.Fatal(err)
	}
	whole := from[desc.Digest]
	if again, err := m.SendLayer(t.Context(), l.DiffID, layer.Gzip, from); err != nil || again.Digest != desc.Digest || len(from) != 1 {
		t.Errorf("sent again: %v, %v, %d blobs", again, err, len(from))
	}
	for _, test := range []struct {
		name  string
		bytes []byte
		good  bool
	}{
		{"whole", whole, true},
		{"cut", whole[:len(whole)/2], false},
		{"changed", append([]byte{whole[0] ^ 1}, whole[1:]...), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			from[desc.Digest] = test.bytes
			base := newMover(t)
			theirs := New(base.Store, base.Registry, amd64, from.source())
			if err := theirs.NoteAt(l.DiffID, desc, "shelf:"); err != nil {
				t.Fatal(err)
			}
			to := shelf{}
			sent, err := theirs.SendLayer(t.Context(), l.DiffID, layer.Gzip, to)
			if (err == nil) != test.good || len(to) != map[bool]int{true: 1}[test.good] {
				t.Errorf("%v, %v; %d blobs are there", sent, err, len(to))
			}
			here, err := filepath.Glob(filepath.Join(theirs.Store.Root(), "blobs", "sha256", "[^.]*"))
			if err != nil || len(here) > 0 {
				t.Errorf("these came here: %v, %v", here, err)
			}
			layer, err := theirs.Store.Layer(l.DiffID)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := layer.Tree(t.Context()); (err == nil) != test.good || layer.Present() != test.good {
				t.Errorf("the layer from there: %v", err)
			}
		})
	}
}

// A location is no repository, even where it could be read as one with a tag, of the registry that is pushed to.
func TestLocationIsNoRepository(t *testing.T) {
	base := newMover(t)
	m := New(base.Store, base.Registry, amd64, shelf{}.source())
	p := &push{Mover: m, ref: named(t, "docker.io/library/app:1")}
	for _, test := range []struct {
		location   string
		repository bool
		place      int
	}{
		{"docker.io/library/app", true, inRepository},
		{"docker.io/library/python", true, inRegistry},
		{"localhost:5000/app", true, atOtherPlace},
		{"shelf:x", false, atOtherPlace},
		{"shelf:5000/x", false, atOtherPlace},
		{"oci-layout:x", false, atOtherPlace},
		{"oci-layout:/x", false, atOtherPlace},
		{"", false, unavailable},
	} {
		b := store.Blob{Digest: digest.FromString("blob"), Repository: test.location}
		if _, err := m.repository(test.location); (err == nil) != test.repository {
			t.Errorf("%s: %v", test.location, err)
		}
		if got := p.place(b); got != test.place {
			t.Errorf("%s: its place is %d, not %d", test.location, got, test.place)
		}
		if got := len(m.repositories([]store.Blob{b}, b.Digest)); (got == 1) != test.repository {
			t.Errorf("%s: %d repositories", test.location, got)
		}
	}
}
