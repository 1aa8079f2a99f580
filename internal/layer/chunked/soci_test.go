package chunked

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/layer/chunked/ztoctest"
)

// repositoryOf has manifests and blobs in memory.
type repositoryOf struct {
	content   map[digest.Digest][]byte
	referrers []ocispec.Descriptor
	asked     int
}

func (r *repositoryOf) Manifest(_ context.Context, d digest.Digest) ([]byte, error) {
	r.asked++
	if data, ok := r.content[d]; ok {
		return data, nil
	}
	return nil, fmt.Errorf("there is no %s", d)
}

func (r *repositoryOf) Small(ctx context.Context, desc ocispec.Descriptor, limit int64) ([]byte, error) {
	if desc.Size > limit {
		return nil, errors.New("it is too large")
	}
	return r.Manifest(ctx, desc.Digest)
}

func (r *repositoryOf) Referrers(context.Context, digest.Digest, string) ([]ocispec.Descriptor, error) {
	r.asked++
	return r.referrers, nil
}

func (r *repositoryOf) add(data []byte) ocispec.Descriptor {
	d := digest.FromBytes(data)
	r.content[d] = data
	return ocispec.Descriptor{Digest: d, Size: int64(len(data))}
}

// sociImage is a layer with an index beside it, which change has changed.
func sociImage(t *testing.T, change func(*ocispec.Manifest)) (blob []byte, r *repositoryOf, index, image digest.Digest) {
	t.Helper()
	blob = gzipWriters[0].write(t, sample(t))
	table, err := ztoctest.Make(blob, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	r = &repositoryOf{content: map[digest.Digest][]byte{}}
	desc := r.add(table)
	desc.MediaType, desc.Annotations = ztocType, map[string]string{sociLayer: digest.FromBytes(blob).String()}
	image = digest.FromString("the image")
	m := ocispec.Manifest{
		Config: ocispec.Descriptor{MediaType: sociVersion1}, Layers: []ocispec.Descriptor{{MediaType: "other", Annotations: desc.Annotations}, desc},
		Subject: &ocispec.Descriptor{Digest: image},
	}
	change(&m)
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	made := r.add(text)
	r.referrers = []ocispec.Descriptor{made}
	return blob, r, made.Digest, image
}

// A layer is read by its SOCI index, which the image's manifest names or which refers to the image.
func TestSOCI(t *testing.T) {
	blob, r, index, image := sociImage(t, func(*ocispec.Manifest) {})
	desc := ocispec.Descriptor{Digest: digest.FromBytes(blob)}
	if Annotations(desc, &Image{}) != nil {
		t.Error("an index that nobody asked for counts")
	}
	for _, img := range []*Image{{Annotations: map[string]string{sociIndex: index.String()}}, {Manifest: image}} {
		annotations := Annotations(desc, img)
		if annotations == nil {
			t.Fatal("parts of the layer cannot be read")
		}
		from := &Source{Size: int64(len(blob)), Beside: Remembered(r)}
		r.asked = 0
		for range 2 {
			kept, err := Fetch(t.Context(), annotations, from)
			if err != nil {
				t.Fatal(err)
			}
			x, err := Open(t.Context(), annotations, kept, from.Size)
			if err != nil {
				t.Fatal(err)
			}
			if !x.Undigested || x.TOC.Lookup("usr/large").Digest != "" || x.TOC.Lookup("usr/empty").Digest == "" {
				t.Error("its files have digests that nobody knows")
			}
			c := x.Chunks[1]
			wrong := bytes.Clone(blob[c.From:c.To])
			wrong[7] ^= 1
			if _, err := x.Extract(&c, wrong); !errors.Is(err, ErrDamaged) {
				t.Errorf("a damaged span: %v", err)
			}
			for i := range 60 {
				damaged := bytes.Clone(kept)
				damaged[(i*7919+len(kept)/2)%len(kept)] ^= 4
				if _, err := Open(t.Context(), annotations, damaged, from.Size); err == nil && img.Manifest == "" {
					t.Error("a damaged table is read")
				}
			}
			if _, err := Open(t.Context(), annotations, kept, from.Size+1); !errors.Is(err, ErrUnreadable) {
				t.Errorf("the table of another layer: %v", err)
			}
		}
		if want := 3; r.asked > want+1 { // the index, and what refers, once; the table twice
			t.Errorf("the registry was asked %d times", r.asked)
		}
	}
}

// An index that is not that of the layer, or of the image, is refused.
func TestOtherSOCI(t *testing.T) {
	for want, change := range map[string]func(*ocispec.Manifest){
		"config of the type": func(m *ocispec.Manifest) { m.Config.MediaType = ocispec.MediaTypeImageConfig },
		"not that of the":    func(m *ocispec.Manifest) { m.Subject.Digest = digest.FromString("another") },
		"no zTOC":            func(m *ocispec.Manifest) { m.Layers[1].Annotations = nil },
		"has a zTOC":         func(m *ocispec.Manifest) { m.Layers[1].Size = maxTable + 1 },
	} {
		blob, r, _, image := sociImage(t, change)
		annotations := Annotations(ocispec.Descriptor{Digest: digest.FromBytes(blob)}, &Image{Manifest: image})
		_, err := Fetch(t.Context(), annotations, &Source{Size: int64(len(blob)), Beside: r})
		if !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want something of %q", err, want)
		}
	}
	blob, r, _, image := sociImage(t, func(*ocispec.Manifest) {})
	r.referrers = nil
	annotations := Annotations(ocispec.Descriptor{Digest: digest.FromBytes(blob)}, &Image{Manifest: image})
	if _, err := Fetch(t.Context(), annotations, &Source{Size: int64(len(blob)), Beside: r}); !errors.Is(err, ErrUnreadable) {
		t.Error(err)
	}
}

// What a zTOC says is checked as what a tar says; and it may not say one thing many times.
func TestHostileZTOC(t *testing.T) {
	blob := gzipWriters[0].write(t, sample(t))
	table, err := ztoctest.Make(blob, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(blob))
	for _, c := range []struct{ old, new, want string }{
		{"usr/small", "../../abc", "out of the layer"},
		{"\x03\x00\x00\x000.9", "\x03\x00\x00\x009.9", "version"},
		{"sha256:", "sha1!!:", "digest"},
		{"symlink", "symlonk", "type"},
		{"2001-", "2x01-", "time"},
	} {
		other := bytes.Replace(table, []byte(c.old), []byte(c.new), 1)
		if bytes.Equal(other, table) {
			t.Fatalf("%q is not in it", c.old)
		}
		if _, err := parseZTOC(t.Context(), other, size); !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q for %q: %v, want something of %q", c.new, c.old, err, c.want)
		}
	}
	for n := range 400 {
		if _, err := parseZTOC(t.Context(), table[:n*len(table)/400], size); !errors.Is(err, ErrUnreadable) {
			t.Fatalf("%d parts of 400: %v", n, err)
		}
	}
}

// A small table may not stand for much memory.
func TestManySpans(t *testing.T) {
	tar := mixed(t)
	small, err := ztoctest.Make(tar, 512)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseZTOC(t.Context(), small, int64(len(tar))); !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), "its spans have 512 bytes") {
		t.Errorf("spans of 512 bytes: %v", err)
	}
	table := make([]byte, 8, 5*maxSpans)
	table = binary.LittleEndian.AppendUint32(table, 4) // the field, an offset to the vector, in which all offsets are 0
	table = binary.LittleEndian.AppendUint32(table, maxSpans+1)
	table = append(table, make([]byte, 4*(maxSpans+1))...)
	vtable := int64(len(table))
	for _, v := range []uint16{6, 8, 4} {
		table = binary.LittleEndian.AppendUint16(table, v)
	}
	f := flattable{b: newFlatbuffer(table), at: 4, vtable: vtable, fields: 1}
	if f.strings(0, maxSpans); f.b.check() == nil || !strings.Contains(f.b.check().Error(), "entries") {
		t.Errorf("%d digests: %v", maxSpans+1, f.b.check())
	}
}
