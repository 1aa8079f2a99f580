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

// Sum returns the digest of what a COPY of these items, in this order, would put into a layer: names, types,
// modes, owners, sizes, contents, symlinks, hard links, device numbers and extended attributes; no
// times. A context's entries have no owner but 0:0, so that the host's owners do not count; a stage's do.
// Missing digests of files are filled in by t.Sum.
func Sum(ctx context.Context, t layer.Tree, items []Item) (digest.Digest, error) {
	entries := make([]*layer.Entry, len(items))
	for i, it := range items {
		entries[i] = it.Entry
	}
	if err := t.Sum(ctx, entries); err != nil {
		return "", err
	}
	h := sha256.New()
	w := &writer{b: bufio.NewWriterSize(h, 16<<10)}
	w.b.WriteString(sumVersion)
	for _, it := range items {
		if it.Entry.Type == layer.File && it.Entry.Digest == "" {
			return "", fmt.Errorf("digest of /%s: %w", it.Entry.Path, errors.New("the tree did not give it"))
		}
		w.item(&it)
	}
	w.b.Flush()
	return sumOf(h), nil
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
