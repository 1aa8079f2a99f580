package chunked

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/containerd/stargz-snapshotter/estargz/zstdchunked"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/layer"
)

// sample is the tar of a layer with all that a layer can hold.
func sample(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	noise := rand.NewChaCha8([32]byte{1})
	file := func(h tar.Header, size int) {
		h.Typeflag, h.Size, h.ModTime = tar.TypeReg, int64(size), time.Unix(1e9, 0)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, noise, int64(size)); err != nil {
			t.Fatal(err)
		}
	}
	other := func(h tar.Header) {
		h.ModTime = time.Unix(2e9, 0)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	other(tar.Header{Typeflag: tar.TypeDir, Name: "usr/", Mode: 0o755})
	file(tar.Header{Name: "usr/large", Mode: 0o4755, Uid: 3, Gid: 4}, 9<<20+17)
	file(tar.Header{Name: "usr/small", Mode: 0o600, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02"}}, 700)
	file(tar.Header{Name: "usr/empty", Mode: 0o644}, 0)
	other(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin", Linkname: "usr/bin"})
	other(tar.Header{Typeflag: tar.TypeLink, Name: "usr/again", Linkname: "usr/small"})
	other(tar.Header{Typeflag: tar.TypeChar, Name: "null", Mode: 0o666, Devmajor: 1, Devminor: 3})
	other(tar.Header{Typeflag: tar.TypeFifo, Name: "pipe", Mode: 0o600})
	file(tar.Header{Name: "usr/.wh.gone"}, 0)
	other(tar.Header{Typeflag: tar.TypeDir, Name: "opaque/", Mode: 0o700})
	file(tar.Header{Name: "opaque/.wh..wh..opq"}, 0)
	file(tar.Header{Name: "usr/ümläut", Mode: 0o644}, 5000)
	for i := range 60 {
		file(tar.Header{Name: fmt.Sprintf("usr/many/%03d", i), Mode: 0o644}, 100+i)
	}
	other(tar.Header{Typeflag: tar.TypeDir, Name: "var/", Mode: 0o755})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// form is a way to write a layer of which parts can be read.
type form struct {
	name  string
	write func(t testing.TB, layer []byte) (blob []byte, annotations map[string]string)
}

var forms = []form{
	{"estargz", func(t testing.TB, data []byte) ([]byte, map[string]string) {
		return writeStargz(t, func(w *estargz.Writer) error { return w.AppendTar(bytes.NewReader(data)) })
	}},
	{"estargz, lossless", func(t testing.TB, data []byte) ([]byte, map[string]string) {
		return writeStargz(t, func(w *estargz.Writer) error { return w.AppendTarLossLess(bytes.NewReader(data)) })
	}},
	{"estargz, several files in a member", func(t testing.TB, data []byte) ([]byte, map[string]string) {
		return writeStargz(t, func(w *estargz.Writer) error {
			w.MinChunkSize = 20_000
			return w.AppendTarLossLess(bytes.NewReader(data))
		})
	}},
	{"zstd:chunked", func(t testing.TB, data []byte) ([]byte, map[string]string) {
		annotations := map[string]string{}
		var b bytes.Buffer
		w := estargz.NewWriterWithCompressor(&b, &zstdchunked.Compressor{CompressionLevel: zstd.SpeedDefault, Metadata: annotations})
		if err := w.AppendTar(bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes(), annotations
	}},
}

func writeStargz(t testing.TB, fill func(*estargz.Writer) error) ([]byte, map[string]string) {
	t.Helper()
	var b bytes.Buffer
	w := estargz.NewWriterLevel(&b, gzip.BestSpeed)
	w.ChunkSize = 1 << 20
	if err := fill(w); err != nil {
		t.Fatal(err)
	}
	d, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), map[string]string{estargz.TOCJSONDigestAnnotation: d.String()}
}

// counted gives parts of a blob, and counts their bytes.
func counted(blob []byte, n *int64) Blob {
	return func(_ context.Context, from, to int64) (io.ReadCloser, error) {
		*n += to - from
		return io.NopCloser(bytes.NewReader(blob[from:to])), nil
	}
}

// An index says of a layer what reading the whole layer says, and its chunks are the contents of the files.
func TestIndex(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			ctx := t.Context()
			blob, annotations := f.write(t, sample(t))
			if annotations = Annotations(ocispec.Descriptor{Annotations: annotations}, &Image{}); annotations == nil {
				t.Fatal("its annotations say nothing")
			}
			var n int64
			kept, err := Fetch(ctx, annotations, &Source{Blob: counted(blob, &n), Size: int64(len(blob))})
			if err != nil {
				t.Fatal(err)
			}
			if n > tail*2+200_000 {
				t.Errorf("%d bytes of %d were read for the table", n, len(blob))
			}
			x, err := Open(ctx, annotations, kept, int64(len(blob)))
			if err != nil {
				t.Fatal(err)
			}
			z, err := layer.Decompress(bytes.NewReader(blob), layer.Unlimited)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(z)
			if err != nil {
				t.Fatal(err)
			}
			scanned, err := layer.Scan(ctx, bytes.NewReader(data), layer.Unlimited)
			if err != nil {
				t.Fatal(err)
			}
			want, err := scanned.TOC()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(plain(want), plain(x.TOC)); diff != "" {
				t.Fatal(diff)
			}
			space := make([]byte, x.Space)
			for i := range x.Chunks {
				c := &x.Chunks[i]
				part, err := x.Extract(c, blob[c.From:c.To])
				if err != nil {
					t.Fatal(err)
				}
				copy(space[c.At:], part)
			}
			for i, e := range x.TOC.Entries {
				from := want.Entries[i].Offset
				if e.Type == layer.File && !bytes.Equal(space[e.Offset:e.Offset+e.Size], data[from:from+e.Size]) {
					t.Errorf("%s has other contents", e.Path)
				}
			}
		})
	}
}

// plain is a table without the places of contents.
func plain(t *layer.TOC) []layer.Entry {
	var all []layer.Entry
	for _, e := range t.Entries {
		c := *e
		c.Offset = 0
		all = append(all, c)
	}
	return all
}

// What is not as its digest says is refused: a table, and a chunk.
func TestDamaged(t *testing.T) {
	for _, f := range forms {
		blob, annotations := f.write(t, sample(t))
		ctx, size := t.Context(), int64(len(blob))
		var n int64
		kept, err := Fetch(ctx, annotations, &Source{Blob: counted(blob, &n), Size: size})
		if err != nil {
			t.Fatal(err)
		}
		x, err := Open(ctx, annotations, kept, size)
		if err != nil {
			t.Fatal(err)
		}
		c := x.Chunks[1]
		wrong := bytes.Clone(blob[c.From:c.To])
		wrong[len(wrong)/2] ^= 1
		if _, err := x.Extract(&c, wrong); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: a damaged chunk: %v", f.name, err)
		}
		for range 50 {
			damaged := bytes.Clone(kept)
			damaged[keptHead+rand.IntN(len(kept)-keptHead-footerSize)] ^= 1 << rand.IntN(8)
			if y, err := Open(ctx, annotations, damaged, size); err == nil && !cmp.Equal(plain(x.TOC), plain(y.TOC)) {
				t.Errorf("%s: a damaged table is read as another one", f.name)
			}
		}
		for name := range annotations {
			if strings.Contains(name, "position") {
				continue
			}
			other := map[string]string{}
			for k, v := range annotations {
				other[k] = v
			}
			other[name] = "sha256:" + strings.Repeat("0", 64)
			if _, err := Fetch(ctx, other, &Source{Blob: counted(blob, &n), Size: size}); !errors.Is(err, ErrUnreadable) {
				t.Errorf("%s: another table than the manifest's: %v", f.name, err)
			}
		}
	}
}

// A table of contents may be hostile: its paths stay in the layer, its chunks in the blob, and what it takes is
// bounded.
func TestHostile(t *testing.T) {
	const digest = `"digest": "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"`
	for text, want := range map[string]string{
		`{"version": 2, "entries": []}`:                                                                                             "version",
		`{"version": 1, "entries": {}}`:                                                                                             "no list",
		`{"version": 1, "entries": [{"name": "../etc/passwd", "type": "reg"}]}`:                                                     "out of the layer",
		`{"version": 1, "entries": [{"name": "a", "type": "chunk"}]}`:                                                               "type",
		`{"version": 1, "entries": [{"name": "a", "type": "reg", "size": -1}]}`:                                                     "size",
		`{"version": 1, "entries": [{"name": "a", "type": "reg", "size": 5, "offset": 7}]}`:                                         "digest",
		`{"version": 1, "entries": [{"name": "a", "type": "reg", "size": 5, "offset": 1000, ` + digest + `}]}`:                      "1000",
		`{"version": 1, "entries": [{"name": "a", "type": "reg", "size": 5, "offset": -1, ` + digest + `}]}`:                        "-1",
		`{"version": 1, "entries": [{"name": "a", "type": "reg", "size": 5, "endOffset": 9000, ` + digest + `}]}`:                   "9000",
		`{"version": 1, "entries": [{"name": "a", "type": "reg", "size": 5, "chunkSize": 4, ` + digest + `}]}`:                      "4 of its 5",
		`{"version": 1, "entries": [{"name": "a", "type": "reg", "size": 5, "chunkOffset": 2, ` + digest + `}]}`:                    "follow",
		`{"version": 1, "entries": [{"name": "a", "type": "reg", "size": 900000000000, "offset": 1, ` + digest + `}]}`:              "at once",
		`{"version": 1, "entries": [{"name": "a", "type": "reg", "size": 5, "innerOffset": 9000000000, ` + digest + `}]}`:           "at once",
		`{"version": 1, "entries": [{"name": "a", "type": "dir"}, {"name": "a", "type": "chunk"}]}`:                                 "no file",
		`{"version": 1, "entries": [{"name": "a", "type": "hardlink", "linkName": "b"}]}`:                                           "hard link",
		`{"version": 1, "entries": [{"name": "a", "type": "reg", "size": 5, "chunkType": "ones", "offset": 1, ` + digest + `}]}`:    "ones",
		`{"version": 1, "entries": [{"name": "a", "type": "reg", "size": 9000000000000000, "chunkType": "zeros", ` + digest + `}]}`: "more zeros",
	} {
		if _, err := parse(t.Context(), []byte(text), 500, layer.Gzip); !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want something of %q", text, err, want)
		}
	}
}

// Parts of nothing but zeros are not in the blob.
func TestZeros(t *testing.T) {
	const zero = "sha256:6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d" // of one
	text := `{"version": 1, "entries": [
		{"name": "a", "type": "reg", "size": 3000001, "offset": 10, "endOffset": 50, "chunkSize": 3000000, "chunkType": "zeros", "digest": "` + zero + `"},
		{"name": "a", "type": "chunk", "offset": 20, "chunkOffset": 3000000, "chunkSize": 1, "chunkDigest": "` + zero + `"}]}`
	x, err := parse(t.Context(), []byte(text), 500, layer.Zstd)
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Chunks) != 4 || x.Chunks[3].From != 20 || x.Chunks[3].To != 50 || x.Chunks[3].Zeros {
		t.Fatalf("the chunks are %+v", x.Chunks)
	}
	data, err := x.Extract(&x.Chunks[2], nil)
	if err != nil || len(data) != 3000000-2<<20 || x.Chunks[2].Check(data) != nil {
		t.Errorf("%d bytes of zeros, %v", len(data), err)
	}
	data[7] = 1
	if !errors.Is(x.Chunks[2].Check(data), ErrDamaged) {
		t.Error("zeros that are none")
	}
}

// FuzzTable reads tables of contents that anybody may have written.
func FuzzTable(f *testing.F) {
	f.Add([]byte(`{"version": 1, "entries": [{"name": "a", "type": "reg", "size": 5, "offset": 7}]}`), int64(500))
	f.Add([]byte(`{"version": 1, "entries": [{"name": "a/b", "type": "symlink", "linkName": "../x"}, {"name": "a/b/c", "type": "dir"}]}`), int64(0))
	f.Fuzz(func(t *testing.T, table []byte, end int64) {
		x, err := parse(t.Context(), table, end, layer.Zstd)
		if err != nil {
			return
		}
		var at int64
		for _, c := range x.Chunks {
			if c.At != at || c.Size <= 0 || !c.Zeros && (c.From < 0 || c.To <= c.From || c.To > end) {
				t.Fatalf("a chunk %+v after %d, of a blob of %d bytes", c, at, end)
			}
			at += c.Size
		}
		for _, e := range x.TOC.Entries {
			if e.Type == layer.File && (e.Offset < 0 || e.Offset+e.Size > x.Space) {
				t.Fatalf("%q is at %d of %d bytes", e.Path, e.Offset, x.Space)
			}
		}
		if at != x.Space {
			t.Fatalf("chunks have %d of %d bytes", at, x.Space)
		}
	})
}

// FuzzBlob reads the end of blobs that anybody may have written.
func FuzzBlob(f *testing.F) {
	var small bytes.Buffer
	w := tar.NewWriter(&small)
	for _, name := range []string{"a", "b"} {
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Size: 3}), func() error { _, err := w.Write([]byte("abc")); return err }()); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	for _, form := range forms[:2] {
		blob, annotations := form.write(f, small.Bytes())
		f.Add(blob, annotations[tableDigest])
	}
	f.Fuzz(func(t *testing.T, blob []byte, d string) {
		var n int64
		annotations := map[string]string{tableDigest: d}
		if kept, err := Fetch(t.Context(), annotations, &Source{Blob: counted(blob, &n), Size: int64(len(blob))}); err == nil {
			if _, err := Open(t.Context(), annotations, kept, int64(len(blob))); err != nil {
				t.Fatal("what was fetched cannot be opened:", err)
			}
		}
	})
}
