package chunked

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/layer"
)

// The annotations of a layer's descriptor that say what it is. Those of zstd:chunked have another name where the
// library of stargz-snapshotter wrote it.
const (
	tableDigest   = "containerd.io/snapshot/stargz/toc.digest"
	tableChecksum = "io.github.containers.zstd-chunked.manifest-checksum"
	tablePosition = "io.github.containers.zstd-chunked.manifest-position"
	otherChecksum = "io.containers.zstd-chunked.manifest-checksum"
	otherPosition = "io.containers.zstd-chunked.manifest-position"
)

// Annotations are those by which parts of a layer of an image can be read, of its descriptor or of the image's
// manifest; nil if they cannot.
func Annotations(desc ocispec.Descriptor, img *Image) map[string]string {
	kept := map[string]string{}
	for _, name := range []string{tableDigest, tableChecksum, tablePosition, otherChecksum, otherPosition} {
		if v, ok := desc.Annotations[name]; ok {
			kept[name] = v
		}
	}
	_, gz := formatOf(kept).(estargzTable)
	_, zs := formatOf(kept).(zstdChunked)
	if !gz && !zs {
		return img.soci(desc.Digest)
	}
	return kept
}

// format is one of those in which a blob has its table of contents.
type format interface {
	// fetch reads the table as it is kept, and verified.
	fetch(ctx context.Context, from *Source) ([]byte, error)
	// open makes an index of the table as it is kept, which it verifies.
	open(ctx context.Context, kept []byte, size int64) (*Index, error)
	// name is what the table is for people.
	name(kept []byte) string
}

func formatOf(annotations map[string]string) format {
	if d, err := digest.Parse(annotations[tableDigest]); err == nil {
		return estargzTable{d}
	}
	for _, name := range [][2]string{{tableChecksum, tablePosition}, {otherChecksum, otherPosition}} {
		if d, err := digest.Parse(annotations[name[0]]); err == nil {
			return zstdChunked{d, annotations[name[1]]}
		}
	}
	return sociOf(annotations)
}

// Fetch reads the table of contents of a blob, with one request or two. The bytes are for Open.
func Fetch(ctx context.Context, annotations map[string]string, from *Source) ([]byte, error) {
	f := formatOf(annotations)
	if f == nil {
		return nil, fmt.Errorf("%w: no annotation tells of one", ErrUnreadable)
	}
	return f.fetch(ctx, from)
}

// Current says whether what Fetch gave is still what counts. Only of an index that refers to its image that can change:
// its registry is asked, and where that does not answer, what is kept counts.
func Current(ctx context.Context, annotations map[string]string, kept []byte, beside Repository) bool {
	f, ok := formatOf(annotations).(sociTable)
	return !ok || f.index != "" || f.current(ctx, kept, beside)
}

// Open verifies what Fetch gave and makes an index of it.
func Open(ctx context.Context, annotations map[string]string, kept []byte, size int64) (*Index, error) {
	f := formatOf(annotations)
	if f == nil {
		return nil, fmt.Errorf("%w: no annotation tells of one", ErrUnreadable)
	}
	x, err := f.open(ctx, kept, size)
	if err == nil {
		x.By = f.name(kept)
	}
	return x, err
}

func (estargzTable) name([]byte) string { return "eStargz" }

func (zstdChunked) name([]byte) string { return "zstd:chunked" }

// read reads a part of a blob that is no larger than a table may be.
func read(ctx context.Context, blob Blob, from, to int64) ([]byte, error) {
	if from < 0 || to <= from || to-from > maxTable {
		return nil, fmt.Errorf("%w: it is at %d to %d of the blob", ErrUnreadable, from, to)
	}
	r, err := blob(ctx, from, to)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data := make([]byte, to-from)
	_, err = io.ReadFull(r, data)
	return data, err
}

// estargzTable has its table as the last file of the tar, in a gzip member of its own, and after that a member without
// contents whose header says where the table begins. Its value is the digest of the table's JSON.
//
// Who unpacks the layer finds the table as a file in it, if it comes before the end mark of the tar. Some writers put
// it after that mark, where nobody finds it. The table does not say which; the end of the last file's member does.
type estargzTable struct{ digest digest.Digest }

const (
	footerSize = 51
	tableName  = "stargz.index.json"
	tail       = 256 << 10 // read at once from the end: it often has all of the table
)

// What fetch keeps begins with where the table is, in 8 bytes, and a byte that says whether it is a file of the layer.
const (
	keptHead   = 9
	tableShown = 'f'
	tableApart = 'a'
)

// fetch keeps the end of the blob from where the table begins.
func (f estargzTable) fetch(ctx context.Context, of *Source) ([]byte, error) {
	size, blob := of.Size, of.Blob
	from := max(0, size-tail)
	data, err := read(ctx, blob, from, size)
	if err != nil {
		return nil, err
	}
	at, err := tableOffset(data)
	if err != nil {
		return nil, err
	}
	if at < 0 || at >= size-footerSize {
		return nil, fmt.Errorf("%w: it is said to be at %d of %d bytes", ErrUnreadable, at, size)
	}
	if at < from {
		before, err := read(ctx, blob, at, from)
		if err != nil {
			return nil, err
		}
		data, from = append(before, data...), at
	}
	kept := append(append(binary.BigEndian.AppendUint64(nil, uint64(at)), tableApart), data[at-from:]...)
	x, err := f.open(ctx, kept, size)
	if err != nil {
		return nil, err
	}
	ends, err := x.marksEnd(ctx, at, blob)
	if !ends {
		kept[keptHead-1] = tableShown
	}
	return kept, err
}

// marksEnd says whether the tar ends between its last file and the table, by a block of zeros (POSIX, pax, "ustar
// Interchange Format"): what follows a file otherwise are headers, of which none is zeros.
func (x *Index) marksEnd(ctx context.Context, table int64, blob Blob) (bool, error) {
	if len(x.Chunks) == 0 {
		return false, fmt.Errorf("%w: it has no file with contents", ErrUnreadable)
	}
	last := slices.MaxFunc(x.Chunks, func(a, b Chunk) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Skip, b.Skip)) })
	if last.From >= table {
		return false, fmt.Errorf("%w: a file comes after it", ErrUnreadable)
	}
	data, err := read(ctx, blob, last.From, table)
	if err != nil {
		return false, err
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	end := last.Skip + last.Size
	for _, e := range x.TOC.Entries {
		if e.Type == layer.File && last.At >= e.Offset && last.At < e.Offset+e.Size {
			end += -e.Size & (layer.TarBlock - 1)
		}
	}
	if _, err := io.CopyN(io.Discard, z, end); err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	block := make([]byte, layer.TarBlock)
	rest := &io.LimitedReader{R: z, N: maxTable} // nothing but headers
	for {
		_, err := io.ReadFull(rest, block)
		switch {
		case rest.N == 0:
			return false, fmt.Errorf("%w: more than %d bytes follow its last file", ErrUnreadable, int64(maxTable))
		case err == io.EOF:
			return false, nil
		case err != nil:
			return false, fmt.Errorf("%w: %w", ErrUnreadable, err)
		case !slices.ContainsFunc(block, func(b byte) bool { return b != 0 }):
			return true, nil
		}
	}
}

// tableOffset reads the footer (RFC 1952, 2.3.1.1: the field of the subfield "SG").
func tableOffset(data []byte) (int64, error) {
	if len(data) < footerSize {
		return 0, fmt.Errorf("%w: it has no footer", ErrUnreadable)
	}
	z, err := gzip.NewReader(bytes.NewReader(data[len(data)-footerSize:]))
	if err != nil {
		return 0, fmt.Errorf("%w: its footer: %w", ErrUnreadable, err)
	}
	extra := z.Extra
	if len(extra) != 26 || string(extra[:4]) != "SG\x16\x00" || string(extra[20:]) != "STARGZ" {
		return 0, fmt.Errorf("%w: its footer is another one", ErrUnreadable)
	}
	at, err := strconv.ParseInt(string(extra[4:20]), 16, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: its footer: %w", ErrUnreadable, err)
	}
	return at, nil
}

func (f estargzTable) open(ctx context.Context, kept []byte, size int64) (*Index, error) {
	if len(kept) < keptHead || size < int64(len(kept)-keptHead) || kept[keptHead-1] != tableShown && kept[keptHead-1] != tableApart {
		return nil, fmt.Errorf("%w: %d bytes are left of it", ErrUnreadable, len(kept))
	}
	at := int64(binary.BigEndian.Uint64(kept))
	z, err := gzip.NewReader(bytes.NewReader(kept[keptHead:]))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	tr := tar.NewReader(io.LimitReader(z, maxTable))
	h, err := tr.Next()
	if err != nil || h.Name != tableName || h.Size > maxTable {
		return nil, fmt.Errorf("%w: where it should be there is something else (%v)", ErrUnreadable, err)
	}
	table, err := io.ReadAll(tr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if got := f.digest.Algorithm().FromBytes(table); got != f.digest {
		return nil, fmt.Errorf("%w: it has %s, and the manifest says %s", ErrUnreadable, got, f.digest)
	}
	x, err := parse(ctx, table, at, layer.Gzip)
	if err != nil || kept[keptHead-1] == tableApart {
		return x, err
	}
	return x, x.addTable(ctx, h, table, at, size)
}

// addTable gives the index the table itself, which is a file of the layer as well. It is nowhere listed.
func (x *Index) addTable(ctx context.Context, h *tar.Header, table []byte, at, size int64) error {
	b := layer.NewBuilder(ctx)
	e, err := b.Add(h)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	e.Offset, e.Digest = x.Space, digest.FromBytes(table)
	if x.TOC.Lookup(e.Path) != nil {
		return nil
	}
	toc, err := layer.NewTOC(append(x.TOC.Entries, e))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	// Before it, its header is in the stream, and of a long name more headers; there is none of this name.
	x.TOC = toc
	x.Chunks = append(x.Chunks, Chunk{At: x.Space, Size: e.Size, From: at, To: size, Skip: layer.TarBlock, Digest: e.Digest})
	x.Space += e.Size
	return nil
}

// zstdChunked has its table in a frame that decompressors skip. Its value is the digest of the compressed table, and
// where that is: "OFFSET:LENGTH:UNCOMPRESSED:TYPE".
type zstdChunked struct {
	digest   digest.Digest
	position string
}

// place is where the compressed table is.
func (f zstdChunked) place(size int64) (from, to int64, err error) {
	n, err := position(f.position, 4)
	switch {
	case err != nil:
		return 0, 0, err
	case n[3] != 1:
		return 0, 0, fmt.Errorf("%w: it is of the type %d", ErrUnreadable, n[3])
	case n[1] == 0 || n[1] > maxTable || n[0] > size-n[1]:
		return 0, 0, fmt.Errorf("%w: it has %d bytes at %d of %d", ErrUnreadable, n[1], n[0], size)
	}
	return n[0], n[0] + n[1], nil
}

func (f zstdChunked) fetch(ctx context.Context, of *Source) ([]byte, error) {
	from, to, err := f.place(of.Size)
	if err != nil {
		return nil, err
	}
	kept, err := read(ctx, of.Blob, from, to)
	if err == nil {
		_, err = f.open(ctx, kept, of.Size)
	}
	return kept, err
}

func (f zstdChunked) open(ctx context.Context, kept []byte, size int64) (*Index, error) {
	from, _, err := f.place(size)
	if err != nil {
		return nil, err
	}
	if got := f.digest.Algorithm().FromBytes(kept); got != f.digest {
		return nil, fmt.Errorf("%w: it has %s, and the manifest says %s", ErrUnreadable, got, f.digest)
	}
	z, err := zstd.NewReader(bytes.NewReader(kept), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*maxTable))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	defer z.Close()
	table, err := io.ReadAll(io.LimitReader(z, maxTable+1))
	if err == nil && len(table) > maxTable {
		err = errors.New("it is too large")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return parse(ctx, table, from, layer.Zstd)
}
