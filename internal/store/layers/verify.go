package layers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/disk"
)

// Damage is what is wrong with a layer that is here.
type Damage struct {
	DiffID digest.Digest
	// Forms are the bad ones: "toc", "tar", "fs".
	Forms []string
	// Whole says that nothing of the layer can be used.
	Whole bool
	// Cause is what is wrong with the first of them.
	Cause error

	verified map[string]disk.Identity // what was looked at, by its form; the layer's folder by ""
}

// newDamage notes what is looked at, before that is done.
func (ls *Layers) newDamage(diffID digest.Digest) *Damage {
	d := &Damage{DiffID: diffID, verified: map[string]disk.Identity{}}
	for _, form := range []string{"", formTOC, formTar, formTree} {
		d.verified[form] = disk.Identify(ls.formPath(diffID, form))
	}
	return d
}

// replaced says that what was looked at is not what has its place now: another goroutine or process has made it again.
func (ls *Layers) replaced(d *Damage, form string) bool {
	if form != "" {
		return d.verified[form] != disk.Identify(ls.formPath(d.DiffID, form))
	}
	for form, id := range d.verified {
		if id != disk.Identify(ls.formPath(d.DiffID, form)) {
			return true
		}
	}
	return false
}

func (d *Damage) add(form string, err error) {
	var tree *layer.DamageError
	if errors.As(err, &tree) {
		err = tree // without the folder, which the layer tells
	}
	d.Forms = append(d.Forms, form)
	if d.Cause == nil {
		d.Cause = err
	}
}

// Verify reads all of a layer that is here, and returns what is wrong with it, nil if nothing is. The
// error is this machine's, and says nothing of the layer.
func (ls *Layers) Verify(ctx context.Context, diffID digest.Digest) (*Damage, error) {
	return ls.verify(ctx, diffID, layer.VerifyTree, ls.verifyTar)
}

// VerifyEntries is Verify without reading what files hold.
func (ls *Layers) VerifyEntries(ctx context.Context, diffID digest.Digest) (*Damage, error) {
	return ls.verify(ctx, diffID, layer.VerifyEntries, ls.verifyTarLength)
}

func (ls *Layers) verify(ctx context.Context, diffID digest.Digest,
	tree func(context.Context, *layer.TOC, string) error, tar func(context.Context, digest.Digest, *layer.TOC) error) (*Damage, error) {
	d := ls.newDamage(diffID)
	has := map[string]bool{}
	for _, form := range []string{formTar, formTree} {
		has[form] = disk.Exists(ls.formPath(diffID, form))
	}
	want, err := ls.contentID(diffID)
	if err != nil {
		return nil, err
	}
	t, tocErr := ls.verifyTOC(diffID, want)
	if has[formTar] {
		if err := tar(ctx, diffID, t); err != nil {
			if isMachine(ctx, err) {
				return nil, err
			}
			d.add(formTar, err)
			has[formTar] = false
		}
	}
	if tocErr != nil {
		if isMachine(ctx, tocErr) {
			return nil, tocErr
		}
		d.add(formTOC, tocErr)
		d.Whole = !has[formTar]
		if d.Whole {
			return d, nil
		}
		if t, err = ls.scanTar(ctx, diffID); err != nil {
			return nil, err
		}
	}
	if has[formTree] {
		err := tree(ctx, t, ls.Path(diffID, formTree))
		if err == nil && !has[formTar] && len(d.Forms) > 0 {
			err = ls.verifyMade(ctx, diffID, t)
		}
		if err != nil {
			if isMachine(ctx, err) {
				return nil, err
			}
			d.add(formTree, err)
			has[formTree] = false
		}
	}
	if !has[formTar] && !has[formTree] {
		d.Whole = true
		if d.Cause == nil {
			d.Cause = errors.New("neither its tree nor its tar is here")
		}
	}
	if d.Cause == nil {
		return nil, nil
	}
	return d, nil
}

// isMachine says that an error would be the same for a sound layer.
func isMachine(ctx context.Context, err error) bool { return ctx.Err() != nil || disk.IsLocal(err) }

// contentID is what the layer's row says of its content, "" where that is not known.
func (ls *Layers) contentID(diffID digest.Digest) (id digest.Digest, err error) {
	err = ls.db.QueryRow("SELECT content_id FROM layers WHERE diff_id = ?", diffID).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return id, err
}

// verifyTOC reads a layer's table of contents and compares it with its content ID. An error says that it is damaged,
// or is this machine's.
func (ls *Layers) verifyTOC(diffID, want digest.Digest) (*layer.TOC, error) {
	t, err := disk.ReadTOC(ls.Path(diffID, formTOC))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("its table of contents is missing")
	}
	if err != nil {
		return nil, err
	}
	if got := t.ContentID(); want != "" && want != got {
		return nil, fmt.Errorf("the table of contents is another layer's: its content ID is %s and not %s", got, want)
	}
	return t, nil
}

// verifyTar compares a tar with its digest.
func (ls *Layers) verifyTar(ctx context.Context, diffID digest.Digest, _ *layer.TOC) error {
	f, err := ls.openTar(diffID)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := disk.Sum(ctx, f.Reader())
	if err == nil && got != diffID {
		err = fmt.Errorf("the tar has the digest %s", got)
	}
	return err
}

// verifyTarLength sees whether a tar reaches as far as the contents of its last file. Without a table of
// contents it compares the digest, since one is made again of the tar.
func (ls *Layers) verifyTarLength(ctx context.Context, diffID digest.Digest, t *layer.TOC) error {
	if t == nil {
		return ls.verifyTar(ctx, diffID, nil)
	}
	f, err := ls.openTar(diffID)
	if err != nil {
		return err
	}
	defer f.Close()
	end := int64(0)
	for _, e := range t.Entries {
		if e.Type == layer.File {
			end = max(end, e.Offset+e.Size)
		}
	}
	if f.Size() < end {
		return fmt.Errorf("the tar has %d bytes and not %d", f.Size(), end)
	}
	return nil
}

// scanTar makes a table of contents of a layer's tar.
func (ls *Layers) scanTar(ctx context.Context, diffID digest.Digest) (*layer.TOC, error) {
	f, err := ls.openTar(diffID)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := layer.Scan(ctx, f.Reader(), layer.Unlimited)
	if err != nil {
		return nil, err
	}
	return t.TOC()
}

// verifyMade sees whether the tree gives the layer's tar.
func (ls *Layers) verifyMade(ctx context.Context, diffID digest.Digest, t *layer.TOC) error {
	made, err := layer.HashTar(ctx, t, layer.TreeSource(ls.Path(diffID, formTree), t).Open)
	if err == nil && made.DiffID != diffID {
		err = fmt.Errorf("the tree gives a tar with the digest %s", made.DiffID)
	}
	return err
}

// VerifyTree is Verify of the tree alone, of a layer whose other forms were there before.
func (ls *Layers) VerifyTree(ctx context.Context, diffID digest.Digest) (*Damage, error) {
	d := ls.newDamage(diffID)
	want, err := ls.contentID(diffID)
	if err != nil {
		return nil, err
	}
	t, err := ls.verifyTOC(diffID, want)
	if err == nil {
		err = layer.VerifyTree(ctx, t, ls.Path(diffID, formTree))
	}
	if err == nil {
		return nil, nil
	}
	if isMachine(ctx, err) {
		return nil, err
	}
	d.add(formTree, err)
	d.Whole = !ls.has(diffID, formTar)
	return d, nil
}
