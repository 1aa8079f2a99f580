package layers

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/chunked"
	"github.com/strata-build/strata/internal/layer/chunked/ztoctest"
	"github.com/strata-build/strata/internal/store/content"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/session"
)

// away is a place that has one blob, and gives parts of it.
type away struct {
	blob     []byte
	requests atomic.Int64
	bytes    atomic.Int64
	damage   atomic.Bool // what is given is wrong
	beside   memoryRepository
}

func (a *away) Fetch(context.Context, string, ocispec.Descriptor, digest.Digest) error {
	return errors.New("the blob is wanted whole")
}

func (a *away) FetchRange(_ context.Context, _ string, _ ocispec.Descriptor, from, to int64) (io.ReadCloser, error) {
	a.requests.Add(1)
	a.bytes.Add(to - from)
	data := bytes.Clone(a.blob[from:to])
	if a.damage.Load() {
		data[len(data)/2] ^= 1
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (a *away) Beside(string) (chunked.Repository, error) { return a.beside, nil }

// memoryRepository has manifests and blobs by their digests.
type memoryRepository map[digest.Digest][]byte

func (r memoryRepository) Manifest(_ context.Context, d digest.Digest) ([]byte, error) {
	if data, ok := r[d]; ok {
		return data, nil
	}
	return nil, errors.New("it is not there")
}

func (r memoryRepository) Small(ctx context.Context, desc ocispec.Descriptor, _ int64) ([]byte, error) {
	return r.Manifest(ctx, desc.Digest)
}

func (r memoryRepository) Referrers(context.Context, digest.Digest, string) ([]ocispec.Descriptor, error) {
	return nil, nil
}

// chunkedLayer is a layer with the file large, of noise, and small ones.
type chunkedLayer func(t *testing.T) (a *away, diffID digest.Digest, large []byte, annotations map[string]string)

// lazyForms are layers of which parts can be read: with digests of their files and without.
var lazyForms = map[string]chunkedLayer{"estargz": estargzLayer, "soci": sociLayer}

// layerTar is the tar of such a layer.
func layerTar(t *testing.T) (data bytes.Buffer, large []byte) {
	large = make([]byte, 3<<20)
	_, err := rand.NewChaCha8([32]byte{7}).Read(large)
	must(t, err)
	w := tar.NewWriter(&data)
	for name, contents := range map[string][]byte{"large": large, "small": []byte("hello"), "empty": nil} {
		must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(contents))}))
		_, err := w.Write(contents)
		must(t, err)
	}
	must(t, w.Close())
	return data, large
}

func sociLayer(t *testing.T) (a *away, diffID digest.Digest, large []byte, annotations map[string]string) {
	data, large := layerTar(t)
	var blob bytes.Buffer
	z, err := gzip.NewWriterLevel(&blob, gzip.BestSpeed)
	must(t, err)
	_, err = z.Write(data.Bytes())
	must(t, err)
	must(t, z.Close())
	table, err := ztoctest.Make(blob.Bytes(), 256<<10)
	must(t, err)
	of := digest.FromBytes(blob.Bytes())
	index, err := json.Marshal(ocispec.Manifest{
		Config: ocispec.Descriptor{MediaType: "application/vnd.amazon.soci.index.v2+json"},
		Layers: []ocispec.Descriptor{{
			MediaType: "application/octet-stream", Digest: digest.FromBytes(table), Size: int64(len(table)),
			Annotations: map[string]string{"com.amazon.soci.image-layer-digest": of.String()},
		}},
	})
	must(t, err)
	image := &chunked.Image{Annotations: map[string]string{"com.amazon.soci.index-digest": digest.FromBytes(index).String()}}
	a = &away{blob: blob.Bytes(), beside: map[digest.Digest][]byte{digest.FromBytes(index): index, digest.FromBytes(table): table}}
	return a, digest.FromBytes(data.Bytes()), large, chunked.Annotations(ocispec.Descriptor{Digest: of}, image)
}

func estargzLayer(t *testing.T) (a *away, diffID digest.Digest, large []byte, annotations map[string]string) {
	data, large := layerTar(t)
	var blob bytes.Buffer
	z := estargz.NewWriterLevel(&blob, gzip.BestSpeed)
	z.ChunkSize = 256 << 10
	must(t, z.AppendTarLossLess(bytes.NewReader(data.Bytes())))
	d, err := z.Close()
	must(t, err)
	whole, err := gzip.NewReader(bytes.NewReader(blob.Bytes()))
	must(t, err)
	uncompressed, err := io.ReadAll(whole)
	must(t, err)
	annotations = chunked.Annotations(ocispec.Descriptor{Annotations: map[string]string{estargz.TOCJSONDigestAnnotation: d.String()}}, &chunked.Image{})
	return &away{blob: blob.Bytes()}, digest.FromBytes(uncompressed), large, annotations
}

// storeWith opens a store in root, as a process of its own, that knows the layer.
func storeWith(t *testing.T, root string, a *away, diffID digest.Digest, annotations map[string]string) *Layers {
	d, err := db.Open(root)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	se, err := session.Open(root)
	must(t, err)
	t.Cleanup(func() { se.Close() })
	ls := New(root, d, content.New(root, d, se), se).WithFetcher(a)
	blob := content.Blob{Digest: digest.FromBytes(a.blob), Size: int64(len(a.blob)), MediaType: ocispec.MediaTypeImageLayerGzip, Repository: "example.com/a"}
	must(t, ls.AddRemote(diffID, blob))
	ls.AddClaim(diffID, Claim{Blob: blob.Digest, Annotations: annotations})
	return ls
}

// readLazy reads a part of a file as the server of layers does.
func readLazy(t *testing.T, z *Lazy, path string, from, size int64) []byte {
	e := z.Index.TOC.Lookup(path)
	must(t, z.Need(t.Context(), e.Offset+from, size))
	f, err := z.File()
	must(t, err)
	defer f.Close()
	data := make([]byte, size)
	_, err = f.ReadAt(data, e.Offset+from)
	must(t, err)
	return data
}

func openRoot(t *testing.T) string {
	root := t.TempDir()
	for _, dir := range []string{"layers", "blobs", "blobs/sha256", "tmp"} {
		must(t, os.Mkdir(filepath.Join(root, dir), 0o700))
	}
	return root
}

// Of a layer in parts only those come that are read, each once, also where another process has read it before. What
// is damaged on the disk comes again, and what is damaged on the way is refused.
func TestLazy(t *testing.T) {
	for name, form := range lazyForms {
		t.Run(name, func(t *testing.T) { testLazy(t, form) })
	}
}

func testLazy(t *testing.T, form chunkedLayer) {
	root := openRoot(t)
	a, diffID, large, annotations := form(t)
	open := func() *Lazy {
		z, err := storeWith(t, root, a, diffID, annotations).Lazy(t.Context(), diffID)
		must(t, err)
		if z == nil {
			t.Fatal("it has no lazy form")
		}
		return z
	}
	z := open()
	if z.Index.TOC.Lookup("small") == nil {
		t.Fatal("a file is missing")
	}
	table := a.bytes.Load()
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			if got := readLazy(t, z, "large", 1<<20, 1000); !bytes.Equal(got, large[1<<20:1<<20+1000]) {
				t.Error("a part has other bytes")
			}
		})
	}
	readers.Wait()
	if n := a.bytes.Load() - table; n < 1000 || n > 700<<10 {
		t.Errorf("%d bytes came for a part", n)
	}
	requests := a.requests.Load()
	z = open()
	if got := readLazy(t, z, "large", 1<<20, 1000); !bytes.Equal(got, large[1<<20:1<<20+1000]) {
		t.Error("a part that was kept has other bytes")
	}
	if a.requests.Load() != requests {
		t.Error("what another process has read came again")
	}

	damaged, err := os.OpenFile(z.file.Name(), os.O_WRONLY, 0)
	must(t, err)
	_, err = damaged.WriteAt([]byte("x"), z.Index.TOC.Lookup("large").Offset+1<<20)
	must(t, err)
	must(t, damaged.Close())
	if got := readLazy(t, open(), "large", 1<<20, 1000); !bytes.Equal(got, large[1<<20:1<<20+1000]) {
		t.Error("a part that was damaged has other bytes")
	}
	if a.requests.Load() != requests+1 {
		t.Error("a part that was damaged did not come again")
	}

	a.damage.Store(true)
	e := z.Index.TOC.Lookup("large")
	if err := z.Need(t.Context(), e.Offset+2<<20, 1); !errors.Is(err, chunked.ErrDamaged) {
		t.Errorf("a part that came damaged: %v", err)
	}
	a.damage.Store(false)
	if got := readLazy(t, z, "large", 0, int64(len(large))); !bytes.Equal(got, large) {
		t.Error("the whole file has other bytes")
	}
	tables, err := filepath.Glob(filepath.Join(root, "lazy", diffID.Encoded(), "*.table"))
	must(t, err)
	must(t, os.WriteFile(tables[0], []byte("nonsense"), 0o600))
	if open().Index.TOC.Lookup("large") == nil {
		t.Error("a table that was damaged did not come again")
	}
}

// Whatever is read of it, in whatever order, a layer in parts is the same as a whole one.
func TestLazyProperty(t *testing.T) {
	for name, form := range lazyForms {
		t.Run(name, func(t *testing.T) { testLazyProperty(t, form) })
	}
}

func testLazyProperty(t *testing.T, form chunkedLayer) {
	root := openRoot(t)
	a, diffID, large, annotations := form(t)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		z, err := storeWith(t, root, a, diffID, annotations).Lazy(t.Context(), diffID)
		must(t, err)
		for range 10 {
			from := r.Int64N(int64(len(large)))
			size := 1 + r.Int64N(min(400_000, int64(len(large))-from))
			if !bytes.Equal(readLazy(t, z, "large", from, size), large[from:from+size]) {
				t.Fatalf("seed %d: %d bytes at %d are other ones", seed, size, from)
			}
		}
		if r.IntN(4) == 0 { // somebody damages what is kept
			f, err := os.OpenFile(z.file.Name(), os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteAt([]byte{byte(r.Uint32())}, r.Int64N(z.Index.Space))
			must(t, err)
			must(t, f.Close())
		}
	}
}

// lookedUpInParts opens the lazy form of a layer, and looks its large file up in it.
func lookedUpInParts(t *testing.T, ls *Layers, diffID digest.Digest) (*layer.Stack, *layer.Entry) {
	t.Helper()
	z, err := ls.Lazy(t.Context(), diffID)
	must(t, err)
	if z == nil {
		t.Fatal("it has no lazy form")
	}
	stack, err := ls.Stack([]digest.Digest{diffID})
	must(t, err)
	e, err := stack.Lookup(t.Context(), "large")
	must(t, err)
	return stack, e
}

// Who has looked a file up while its layer was in parts reads the same when the layer is here.
func TestWholeAfterLazy(t *testing.T) {
	for name, form := range lazyForms {
		t.Run(name, func(t *testing.T) {
			a, diffID, large, annotations := form(t)
			ls := storeWith(t, openRoot(t), a, diffID, annotations)
			stack, e := lookedUpInParts(t, ls, diffID)
			must(t, ls.Unpack(t.Context(), diffID, bytes.NewReader(a.blob)))
			r, err := stack.Open(t.Context(), e)
			must(t, err)
			defer r.Close()
			got, err := io.ReadAll(r)
			must(t, err)
			if !bytes.Equal(got, large) {
				t.Error("it has other bytes")
			}
			summed := []*layer.Entry{e}
			must(t, stack.Sum(t.Context(), summed))
			if summed[0].Digest != digest.FromBytes(large) {
				t.Errorf("its digest is %s", summed[0].Digest)
			}
		})
	}
}

// What parts are read by has a name, which is another one for another table, and none where nobody says it.
func TestPartsBy(t *testing.T) {
	a, diffID, _, annotations := estargzLayer(t)
	ls := storeWith(t, openRoot(t), a, diffID, annotations)
	by := func() string {
		text, err := ls.PartsBy(diffID)
		must(t, err)
		return text
	}
	first := by()
	if first == "" || by() != first {
		t.Fatalf("parts are read by %q, and then by %q", first, by())
	}
	z, err := ls.Lazy(t.Context(), diffID)
	must(t, err)
	if z == nil {
		t.Fatal("it has no lazy form")
	}
	ls.AddClaim(diffID, Claim{Blob: digest.FromBytes(a.blob)}) // of another image that says nothing
	if got := by(); got != "" {
		t.Errorf("parts are read by %q, and images disagree", got)
	}
	if z, err := ls.Lazy(t.Context(), diffID); z != nil || err != nil {
		t.Errorf("the layer is read in parts, and images disagree: %v", err)
	}
}

// wholly gives damaged parts, and the whole layer as it is.
type wholly struct {
	*away
	to *Layers
}

func (w wholly) Fetch(ctx context.Context, _ string, _ ocispec.Descriptor, diffID digest.Digest) error {
	return w.to.Unpack(ctx, diffID, bytes.NewReader(w.blob))
}

// Who copies a file, of which a part cannot be had, gets it out of the whole layer, from then on in all of the process.
func TestWholeAfterDamage(t *testing.T) {
	for name, form := range lazyForms {
		t.Run(name, func(t *testing.T) {
			a, diffID, large, annotations := form(t)
			ls := storeWith(t, openRoot(t), a, diffID, annotations)
			ls = ls.WithFetcher(wholly{a, ls})
			stack, e := lookedUpInParts(t, ls, diffID)
			a.damage.Store(true)
			r, err := stack.Open(t.Context(), e)
			must(t, err)
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, large) {
				t.Errorf("it has %d other bytes: %v", len(got), err)
			}
			if z, err := ls.Lazy(t.Context(), diffID); z != nil || err != nil {
				t.Errorf("parts of it are read on: %v", err)
			}
		})
	}
}

// TestPartsInMemory: what is read of large parts at once is bounded.
func TestPartsInMemory(t *testing.T) {
	const n, size = 8, 60 << 20
	index := &chunked.Index{Space: n * size}
	for i := range int64(n) {
		index.Chunks = append(index.Chunks, chunked.Chunk{At: i * size, Size: size, From: i * size, To: (i + 1) * size})
	}
	f, err := os.CreateTemp(t.TempDir(), "files")
	must(t, err)
	defer f.Close()
	var now, most atomic.Int64
	z := &Lazy{Index: index, file: f, parts: make([]part, n), source: chunked.Source{
		Blob: func(context.Context, int64, int64) (io.ReadCloser, error) {
			defer now.Add(-3 * size)
			if held := now.Add(3 * size); held > most.Load() {
				most.Store(held)
			}
			time.Sleep(10 * time.Millisecond)
			return nil, io.ErrUnexpectedEOF
		},
	}}
	var all sync.WaitGroup
	for i := range int64(n) {
		all.Go(func() {
			if err := z.Need(t.Context(), i*size, size); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := most.Load(); got == 0 || got > maxInMemory {
		t.Errorf("%d bytes are in memory at once, and %d is the most", got, int64(maxInMemory))
	}
}
