package layers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/seal"
)

// TOC returns the layer's table of contents, fetching the layer first if it is not here. Do not change it:
// it is shared.
func (l *Layer) TOC(ctx context.Context) (*layer.TOC, error) { return readTable(ctx, l, l.readTOC) }

// FilesSize is the sum of the sizes of the layer's files in bytes, for which no more than one entry of its table of
// contents is in memory. The layer is fetched first if it is not here.
func (l *Layer) FilesSize(ctx context.Context) (int64, error) {
	return readTable(ctx, l, func() (n int64, err error) {
		err = l.layers.EachEntry(l.DiffID, func(e *layer.Entry) error {
			if e.Type == layer.File {
				n += e.Size
			}
			return nil
		})
		return n, err
	})
}

// readTable has a layer's table of contents read when it is here and can be trusted, and read again when it turns out
// to be damaged and is healed.
func readTable[T any](ctx context.Context, l *Layer, read func() (T, error)) (T, error) {
	var none T
	if err := l.ensure(ctx); err != nil {
		return none, err
	}
	here, err := l.trust(ctx, formTOC)
	if err == nil && !here {
		err = l.ensure(ctx) // it was set aside
	}
	if err != nil {
		return none, err
	}
	t, err := read()
	if err == nil {
		return t, nil
	}
	if err := l.heal(ctx, err); err != nil {
		return none, err
	}
	return read()
}

func (l *Layer) readTOC() (*layer.TOC, error) {
	ls := l.layers
	return tocOf(ls.memory, ls.memory.tocs, l.DiffID, func() (*layer.TOC, error) {
		t, err := disk.ReadTOC(ls.Path(l.DiffID, formTOC))
		if err != nil {
			return nil, fmt.Errorf("reading the table of contents of layer %s: %w", l.DiffID, err)
		}
		return t, nil
	})
}

// packFrom is how large the file of a table of contents is at least, in bytes, that is not decoded for Table: that of
// some 50,000 entries. Decoded they take 12 MB.
const packFrom = 4 << 20

// Table is TOC for those who need not have all entries at once: a *layer.Packed of a large layer, else the TOC.
func (l *Layer) Table(ctx context.Context) (layer.Table, error) {
	return readTable(ctx, l, func() (layer.Table, error) {
		ls := l.layers
		path := ls.Path(l.DiffID, formTOC)
		if st, err := os.Stat(path); err != nil || st.Size() < packFrom {
			return l.readTOC() // which says what is wrong
		}
		return tocOf(ls.memory, ls.memory.packed, l.DiffID, func() (*layer.Packed, error) {
			t, err := disk.ReadPacked(path)
			if err != nil {
				return nil, fmt.Errorf("reading the table of contents of layer %s: %w", l.DiffID, err)
			}
			return t, nil
		})
	})
}

// Tree returns the folder that overlayfs takes as a lower layer, making it from the other forms if need be. Of a store
// that cannot be written to, one that has to be made lies elsewhere, for as long as the process lives.
func (l *Layer) Tree(ctx context.Context) (string, error) {
	if err := l.ensure(ctx); err != nil {
		return "", err
	}
	ls := l.layers
	dir := ls.Path(l.DiffID, formTree)
	if here, err := l.trust(ctx, formTree); here || err != nil {
		return dir, err
	}
	if err := identity.Current().Trees(); err != nil {
		return "", fmt.Errorf("laying out layer %s: %w", l.DiffID, err)
	}
	tar, err := l.trust(ctx, formTar)
	if err == nil && !tar {
		err = l.heal(ctx, errors.New("neither its tree nor its tar is here"))
	}
	if err != nil {
		return "", err
	}
	t, err := l.TOC(ctx)
	if err != nil {
		return "", err
	}
	unlock := ls.memory.lock(l.DiffID)
	defer unlock()
	if l.tree().Here() {
		return dir, nil
	}
	tmp, err := ls.session.Scratch("tree")
	if err != nil {
		return "", err
	}
	f, err := ls.openTar(l.DiffID)
	if err != nil {
		return "", fmt.Errorf("laying out layer %s: %w", l.DiffID, err)
	}
	defer f.Close()
	out := filepath.Join(tmp, "fs")
	if err := os.Mkdir(out, 0o755); err != nil {
		return "", fmt.Errorf("laying out layer %s: %w", l.DiffID, err)
	}
	if err := layer.Extract(ctx, t, f, out, layer.ExtractOptions{}); err != nil {
		return "", fmt.Errorf("laying out layer %s: %w", l.DiffID, ls.session.Explain(err))
	}
	if ls.session.ReadOnly() {
		return out, nil // it goes with the process
	}
	err = ls.session.MarkUnsynced(dir)
	if err == nil {
		err = ls.placeTree(l, out, disk.Estimate(t)+diskOf(ls.Path(l.DiffID), t)) // both forms
	}
	if err != nil {
		return "", fmt.Errorf("laying out layer %s: %w", l.DiffID, err)
	}
	return dir, os.RemoveAll(tmp)
}

// placeTree gives the tree in dir its final name, and notes what the layer takes on the disk with it, both
// while nobody removes the layer. Where another was faster, that one's tree stays.
func (ls *Layers) placeTree(l *Layer, dir string, size int64) error {
	sum, err := ls.sealOf(filepath.Dir(dir), l.DiffID, formTree)
	if err != nil {
		return err
	}
	return ls.db.Tx(func(tx *sql.Tx) error {
		if _, err := tx.Exec("UPDATE layers SET disk = ?, used = max(used, ?) WHERE diff_id = ?", size, db.Now(), l.DiffID); err != nil {
			return err
		}
		placed, err := disk.Place(dir, ls.Path(l.DiffID, formTree))
		if placed {
			ls.memory.trust(l.DiffID, formTree)
			_ = ls.putSeals(l.DiffID, seal.Seals{formTree: sum}) // without it, the next process verifies the tree
		}
		return err
	})
}

// WriteTar writes the layer's uncompressed tar, whose sha256 is the diffID, which it checks while it writes.
// A layer that came compressed is decompressed again, since its tar need not be the canonical one.
func (l *Layer) WriteTar(ctx context.Context, w io.Writer) error {
	if err := l.ensure(ctx); err != nil {
		return err
	}
	verifier := l.DiffID.Verifier()
	err := l.writeTar(ctx, layer.Beside(w, verifier))
	if err == nil && !verifier.Verified() {
		err = fmt.Errorf("its files in %s were changed by somebody else", l.layers.Path(l.DiffID))
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("reading layer %s: %w", l.DiffID, l.unreadable(ctx, err))
}

// unreadable sees what is wrong with a layer of which bytes were read that turned out to be wrong, or could not be
// read, and sets it aside: then it is a *DamagedError.
func (l *Layer) unreadable(ctx context.Context, cause error) error {
	unlock := l.layers.memory.lock(l.DiffID)
	defer unlock()
	of, _ := l.layers.delta(l.DiffID)
	damage, err := l.layers.Verify(ctx, l.DiffID)
	if damage == nil || err != nil {
		return cause
	}
	if err := errors.Join(l.layers.SetAside(ctx, damage), l.layers.mendBase(ctx, of)); err != nil {
		return errors.Join(cause, err)
	}
	return &DamagedError{l.DiffID, cause, !l.Present()}
}

// DamagedError is a layer of which wrong bytes were read. What was damaged of it is set aside, and made again when the
// layer is used next, where that can be.
type DamagedError struct {
	DiffID digest.Digest
	Cause  error
	// Gone says that nothing was left of the layer on this machine.
	Gone bool
}

func (e *DamagedError) Error() string {
	if e.Gone {
		return fmt.Sprintf("%v; it is set aside: build the image again, or pull it", e.Cause)
	}
	return fmt.Sprintf("%v; what was damaged is set aside: try again", e.Cause)
}

// Unwrap is as that of an UnavailableError.
func (e *DamagedError) Unwrap() error { return hideMissing(e.Cause) }

func (l *Layer) writeTar(ctx context.Context, w io.Writer) error {
	form, err := l.formHere(ctx)
	if err != nil {
		return err
	}
	if tree, ok := form.(*treeForm); ok {
		return tree.writeTar(ctx, w)
	}
	r, err := form.Stream(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 1<<20))
	return err
}
