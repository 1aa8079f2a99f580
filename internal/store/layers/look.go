package layers

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/seal"
)

// TOCPath is where the table of contents of a layer is kept that was looked at, but is not here as a tree or tar.
func (ls *Layers) TOCPath(diffID digest.Digest) string {
	return filepath.Join(ls.root, "tocs", diffID.Encoded())
}

// TOCSeal is where the seal of that table of contents is kept: the name with this behind it.
const TOCSeal = ".seal"

// openTOC opens a layer's table of contents, wherever it is kept; fs.ErrNotExist where HasTOC is false.
func (ls *Layers) openTOC(diffID digest.Digest) (*os.File, error) {
	if ok, err := ls.asSealed(diffID, formTOC); ok || err != nil {
		return os.Open(ls.Path(diffID, formTOC))
	}
	if !ls.hasLookedAt(diffID) {
		return nil, fs.ErrNotExist
	}
	return os.Open(ls.TOCPath(diffID))
}

// HasTOC says whether the table of contents of a layer is known here, be the layer here or not, and is as it was
// sealed.
func (ls *Layers) HasTOC(diffID digest.Digest) bool {
	ok, err := ls.asSealed(diffID, formTOC)
	return ok && err == nil || ls.hasLookedAt(diffID)
}

// hasLookedAt says whether the table of contents of a layer that is not here is known. One that is not as it was
// sealed is none; strata made them without a seal once.
func (ls *Layers) hasLookedAt(diffID digest.Digest) bool {
	path := ls.TOCPath(diffID)
	sound, err := ls.memory.trusted(diffID, path, func() (bool, error) {
		want, sealed := seal.Read(path + TOCSeal)[formTOC]
		got, err := seal.OfContents(path, string(diffID))
		return err == nil && (got == want || !sealed), err
	})
	return sound && err == nil
}

// EachEntry calls fn for every entry of a layer's table of contents that is known here, in
// canonical order; the entry is valid during the call only. Nothing is fetched, and nothing kept in
// memory. fs.ErrNotExist where HasTOC is false.
func (ls *Layers) EachEntry(diffID digest.Digest, fn func(*layer.Entry) error) error {
	f, err := ls.openTOC(diffID)
	if err != nil {
		return fmt.Errorf("reading the table of contents of layer %s: %w", diffID, err)
	}
	defer f.Close()
	return layer.EachEntry(f, fn)
}

// Entries are those of a layer's table of contents, one after the other. Who has them closes them.
type Entries struct {
	*layer.EntryReader
	io.Closer
}

// Entries opens a layer's table of contents that is known here, of which nothing is kept in memory. fs.ErrNotExist
// where HasTOC is false.
func (ls *Layers) Entries(diffID digest.Digest) (*Entries, error) {
	f, err := ls.openTOC(diffID)
	if err != nil {
		return nil, fmt.Errorf("reading the table of contents of layer %s: %w", diffID, err)
	}
	return &Entries{layer.NewEntryReader(f), f}, nil
}

// Scan reads the uncompressed tar of the layer diffID from r, of which it keeps the table of
// contents and nothing else. A tar with another digest is refused.
func (ls *Layers) Scan(ctx context.Context, diffID digest.Digest, r io.Reader) error {
	sum := layer.NewDigestReader(r)
	return ls.scan(ctx, diffID, sum, func() error {
		if got := sum.Digest(); got != diffID {
			return fmt.Errorf("its contents have the digest %s; whoever made or sent the image damaged it: get it again, or ask its author", got)
		}
		return nil
	})
}

// ScanChecked is Scan of a tar that is checked while it is read: instead of io.EOF, r gives an error if its digest is
// not diffID.
func (ls *Layers) ScanChecked(ctx context.Context, diffID digest.Digest, r io.Reader) error {
	return ls.scan(ctx, diffID, r, func() error { return nil })
}

func (ls *Layers) scan(ctx context.Context, diffID digest.Digest, r io.Reader, check func() error) error {
	t, err := layer.Scan(ctx, r, ls.limits)
	if err == nil {
		_, err = io.CopyBuffer(io.Discard, r, make([]byte, 1<<16))
	}
	if err == nil {
		err = check()
	}
	if err != nil {
		return fmt.Errorf("reading layer %s: %w", diffID, err)
	}
	path := ls.TOCPath(diffID)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keeping the table of contents of layer %s: %w", diffID, ls.session.Explain(err))
	}
	err = ls.writeTOC(t, path, path)
	if err == nil {
		err = ls.sealLookedAt(diffID, path)
	}
	if err != nil {
		return fmt.Errorf("keeping the table of contents of layer %s: %w", diffID, err)
	}
	return nil
}

// sealLookedAt seals a table of contents that was just written.
func (ls *Layers) sealLookedAt(diffID digest.Digest, path string) error {
	sum, err := seal.OfContents(path, string(diffID))
	if err == nil {
		err = ls.placeSeals(seal.Seals{formTOC: sum}, path+TOCSeal)
	}
	ls.memory.trust(diffID, path)
	return err
}

// writeTOC writes a table of contents to final. Until that is on the disk, marked is what a power cut may damage.
func (ls *Layers) writeTOC(t layer.Table, marked, final string) error {
	dir, err := ls.session.Temp("toc")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "toc")
	err = disk.WriteTOC(name, t)
	if err == nil {
		err = ls.session.MarkUnsynced(marked)
	}
	if err == nil {
		err = os.Rename(name, final)
	}
	if err != nil {
		return ls.session.Explain(err)
	}
	return nil
}

// Look sees to it that the layer's table of contents is known. A layer that is elsewhere is fetched for it, as a blob
// that stays in the store, but it is not laid out: that is left to the step that runs on it.
func (l *Layer) Look(ctx context.Context) error {
	ls := l.layers
	if ls.HasTOC(l.DiffID) {
		return nil
	}
	if l.inFolder() {
		_, err := l.TOC(ctx)
		return err
	}
	unlock := ls.memory.lock(l.DiffID)
	defer unlock()
	if ls.HasTOC(l.DiffID) {
		return nil
	}
	r, err := l.openBlob(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	return ls.Scan(ctx, l.DiffID, r)
}

// OpenFile reads the contents of a File entry, which EachEntry gave, without laying the layer out.
func (l *Layer) OpenFile(ctx context.Context, e *layer.Entry) (io.ReadCloser, error) {
	if l.inFolder() {
		return l.Source().Open(ctx, e)
	}
	r, err := l.openBlob(ctx)
	if err != nil {
		return nil, err
	}
	contents, err := layer.OpenIn(ctx, r, e)
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("reading /%s: %w", e.Path, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{contents, r}, nil
}

// ReadFiles calls read with each of some File entries, which EachEntry gave, and its contents, until that fails. What
// is in the store's folder is opened file by file, and can be read in parts as an io.ReaderAt; that is compared with
// no digest in a tree. A layer that is compressed is decompressed once, and fetched for it if it is not here.
func (l *Layer) ReadFiles(ctx context.Context, entries []*layer.Entry, read func(*layer.Entry, io.Reader) error) error {
	if len(entries) == 0 {
		return nil
	}
	if !l.inFolder() {
		r, err := l.openBlob(ctx)
		if err != nil {
			return err
		}
		defer r.Close()
		return layer.ReadIn(ctx, r, entries, read)
	}
	for _, e := range entries {
		r, err := l.openForParts(ctx, e)
		if err != nil {
			return err
		}
		err = read(e, r)
		r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
