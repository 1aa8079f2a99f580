package packed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// piece is where bytes of a file are.
type piece struct {
	Pack   int   `json:"p"` // its index in the document
	Offset int64 `json:"o"` // in the uncompressed pack
	Size   int64 `json:"n"`
	// Digest is that of a file's part; "" for a whole file, whose digest the table of contents has.
	Digest digest.Digest `json:"d,omitempty"`
}

// list is the files of a mount.
type list struct {
	toc *layer.TOC
	// times are the nanoseconds of the files' times beside the seconds of the table, in its order.
	times []int32
	// pieces are those of each file, in the order of the table.
	pieces [][]piece
}

// encodedList is a list as JSON.
type encodedList struct {
	TOC    []byte          `json:"toc"` // as layer.TOC encodes it
	Times  json.RawMessage `json:"times"`
	Pieces json.RawMessage `json:"pieces"`
}

// encode is the list as a blob, and what of it the document says.
func (l *list) encode() ([]byte, Blob, error) {
	var toc bytes.Buffer
	if err := l.toc.Encode(&toc); err != nil {
		return nil, Blob{}, err
	}
	times, err := json.Marshal(l.times)
	if err != nil {
		return nil, Blob{}, fmt.Errorf("writing the list of a cache mount: %w", err)
	}
	pieces, err := json.Marshal(l.pieces)
	if err != nil {
		return nil, Blob{}, fmt.Errorf("writing the list of a cache mount: %w", err)
	}
	data, err := json.Marshal(encodedList{toc.Bytes(), times, pieces})
	if err != nil {
		return nil, Blob{}, fmt.Errorf("writing the list of a cache mount: %w", err)
	}
	return compress(data)
}

// compress makes a blob.
func compress(raw []byte) ([]byte, Blob, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, Blob{}, fmt.Errorf("compressing: %w", err)
	}
	data := z.EncodeAll(raw, nil)
	return data, Blob{digest.FromBytes(data), int64(len(data)), int64(len(raw))}, z.Close()
}

// ErrDamaged says that a blob is not what its document promises.
var ErrDamaged = errors.New("it does not have the bytes that its digest promises")

// decompress is the contents of a blob, which has to be as the document says.
func decompress(data []byte, b Blob) ([]byte, error) {
	if int64(len(data)) != b.Size || digest.FromBytes(data) != b.Digest {
		return nil, fmt.Errorf("blob %s: %w", b.Digest, ErrDamaged)
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(max(b.Raw, 1<<20))))
	if err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", b.Digest, err)
	}
	defer z.Close()
	raw, err := z.DecodeAll(data, nil)
	if err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", b.Digest, err)
	}
	if int64(len(raw)) != b.Raw {
		return nil, fmt.Errorf("blob %s has %d bytes, where its document says %d", b.Digest, len(raw), b.Raw)
	}
	return raw, nil
}

// decodeList reads the uncompressed list of a document. What the list says of files is checked as far as it is not a table of
// contents, which checks itself: each file's pieces lie in the packs and are as long as the file, and together the files have no
// more bytes than the document says. What is in memory of it is bounded by that too, however short the elements are in JSON.
func decodeList(raw []byte, d *Document) (*list, error) {
	var x encodedList
	if err := json.Unmarshal(raw, &x); err != nil {
		return nil, fmt.Errorf("reading the list of a cache mount: %w", err)
	}
	l := &list{toc: &layer.TOC{}}
	if err := l.toc.Decode(bytes.NewReader(x.TOC)); err != nil {
		return nil, fmt.Errorf("reading the list of a cache mount: %w", err)
	}
	var files []*layer.Entry
	left := d.Bytes
	for _, e := range l.toc.Entries {
		if !e.Ordinary() || e.Opaque {
			return nil, fmt.Errorf("the list of a cache mount has %q, which is no file, directory or link", e.Path)
		}
		if e.Type != layer.File {
			continue
		}
		if e.Size > left {
			return nil, fmt.Errorf("the list of the cache mount %s has more bytes than the %d that its document says", d.Mount.ID, d.Bytes)
		}
		files, left = append(files, e), left-e.Size
	}
	pieces, err := elements[json.RawMessage](x.Pieces, len(files))
	if err != nil {
		return nil, err
	}
	if l.times, err = elements[int32](x.Times, len(files)); err != nil {
		return nil, err
	}
	if len(pieces) < len(files) || len(l.times) < len(files) {
		return nil, errors.New("the list of a cache mount has files without contents")
	}
	for i, e := range files {
		// All pieces of a file but the last have minPiece bytes at least.
		all, err := elements[piece](pieces[i], 1+int(e.Size/minPiece))
		if err == nil {
			err = checkPieces(e, all, d.Packs)
		}
		if err != nil {
			return nil, err
		}
		if ns := l.times[i]; ns < 0 || ns >= 1e9 {
			return nil, fmt.Errorf("the list of a cache mount has a time of %q that cannot be", e.Path)
		}
		l.pieces = append(l.pieces, all)
	}
	return l, nil
}

// elements reads an array, of which no more than so many elements are made.
func elements[T any](raw json.RawMessage, most int) ([]T, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if start, err := d.Token(); err != nil || start != json.Delim('[') {
		return nil, errors.New("the list of a cache mount has no array where one has to be")
	}
	var all []T
	for d.More() {
		if len(all) == most {
			return nil, fmt.Errorf("the list of a cache mount has more than the %d elements that can be in an array of it", most)
		}
		var one T
		if err := d.Decode(&one); err != nil {
			return nil, fmt.Errorf("reading the list of a cache mount: %w", err)
		}
		all = append(all, one)
	}
	return all, nil
}

func checkPieces(e *layer.Entry, pieces []piece, packs []Blob) error {
	var size int64
	for _, p := range pieces {
		if p.Pack < 0 || p.Pack >= len(packs) || p.Offset < 0 || p.Size < 0 || p.Offset > packs[p.Pack].Raw || p.Size > packs[p.Pack].Raw-p.Offset {
			return fmt.Errorf("the list of a cache mount has %q where no pack is", e.Path)
		}
		size += p.Size
	}
	if size != e.Size {
		return fmt.Errorf("the list of a cache mount has %d bytes of %q, which has %d", size, e.Path, e.Size)
	}
	return nil
}
