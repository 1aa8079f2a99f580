package selection

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"github.com/opencontainers/go-digest"
	"github.com/strata-build/strata/internal/layer"
)

// sumVersion is hashed first. It changes with the format of Sum, so that old cache keys are not met again.
const sumVersion = "strata selection 1\n"

// batch is how many items Sum holds at a time: so many files are hashed by all processors together.
const batch = 8 << 10

// Sum returns the digest of what a COPY of these items, in this order, would put into a layer: names, types,
// modes, owners, sizes, contents, symlinks, hard links, device numbers and extended attributes; no
// times. A context's entries have no owner but 0:0, so that the host's owners do not count; a stage's do.
// Missing digests of files are asked of t.Sum.
func Sum(ctx context.Context, t layer.Tree, items ...Items) (digest.Digest, error) {
	h := sha256.New()
	s := &summer{ctx: ctx, tree: t, w: &writer{b: bufio.NewWriterSize(h, 16<<10)}}
	s.w.b.WriteString(sumVersion)
	for _, each := range items {
		if err := each(ctx, s.add); err != nil {
			return "", err
		}
	}
	if err := s.flush(); err != nil {
		return "", err
	}
	s.w.b.Flush()
	return sumOf(h), nil
}

// summer sums items batch by batch.
type summer struct {
	ctx     context.Context
	tree    layer.Tree
	w       *writer
	items   []Item
	entries []*layer.Entry // of items
}

func (s *summer) add(it *Item) error {
	s.items, s.entries = append(s.items, *it), append(s.entries, it.Entry)
	if len(s.items) < batch {
		return nil
	}
	return s.flush()
}

func (s *summer) flush() error {
	if err := s.tree.Sum(s.ctx, s.entries); err != nil {
		return err
	}
	for i := range s.items {
		it := &s.items[i]
		it.Entry = s.entries[i]
		if it.Entry.Type == layer.File && it.Entry.Digest == "" {
			return fmt.Errorf("digest of /%s: %w", it.Entry.Path, errors.New("the tree did not give it"))
		}
		s.w.item(it)
	}
	clear(s.items)
	clear(s.entries)
	s.items, s.entries = s.items[:0], s.entries[:0]
	return nil
}

func sumOf(h hash.Hash) digest.Digest { return digest.NewDigest(digest.SHA256, h) }

// writer writes items so that no two lists of items give the same bytes: strings follow their length.
type writer struct{ b *bufio.Writer }

func (w *writer) item(it *Item) {
	e := it.Entry
	if it.OnTheWay {
		w.b.WriteByte('D')
	} else {
		w.b.WriteByte(byte(e.Type))
	}
	w.string(it.Target)
	w.string(it.Name)
	w.string(it.Link)
	w.number(uint64(e.Mode))
	w.number(uint64(e.UID))
	w.number(uint64(e.GID))
	w.number(uint64(e.Size))
	w.string(string(e.Digest))
	switch e.Type {
	case layer.Symlink:
		w.string(e.Link)
	case layer.Char, layer.Block:
		w.number(uint64(e.Major))
		w.number(uint64(e.Minor))
	}
	w.number(uint64(len(e.Xattrs)))
	for _, x := range e.Xattrs {
		w.string(x.Name)
		w.string(x.Value)
	}
}

func (w *writer) string(s string) {
	w.number(uint64(len(s)))
	w.b.WriteString(s)
}

func (w *writer) number(n uint64) {
	w.b.Write(binary.AppendUvarint(w.b.AvailableBuffer(), n))
}
