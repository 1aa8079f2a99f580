package layer

import (
	"archive/tar"
	"context"
)

// Builder makes a table of contents of the headers of a tar, without its contents. It refuses what Unpack refuses.
type Builder struct{ names *assembler }

// NewBuilder returns one without entries.
func NewBuilder(ctx context.Context) *Builder { return &Builder{newAssembler(ctx, nil, noTree{})} }

// Add takes a header over. It returns the entry, which the caller may give a Digest and an Offset before the next one
// is added, and nil for what is not an entry of its own.
func (b *Builder) Add(h *tar.Header) (*Entry, error) {
	e, err := b.names.add(h)
	if err != nil {
		return nil, entryError(h, err)
	}
	return e, nil
}

// TOC is the table of all that was added. It ends the building.
func (b *Builder) TOC() (*TOC, error) { return b.names.assembled().TOC() }

// XattrRecords are extended attributes as a header has them.
func XattrRecords(xattrs map[string]string) map[string]string {
	records := make(map[string]string, len(xattrs))
	for name, value := range xattrs {
		records[xattrRecord+name] = value
	}
	return records
}
