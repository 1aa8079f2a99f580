package layers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"

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
	tree func(context.Context, *layer.TOC, string) error, tar func(context.Context, digest.Digest) error) (*Damage, error) {
	d := &Damage{DiffID: diffID}
	has := map[string]bool{}
	for _, form := range []string{"tar", "fs"} {
		has[form] = disk.Exists(ls.Path(diffID, form))
	}
	if has["tar"] {
		if err := tar(ctx, diffID); err != nil {
			if isMachine(ctx, err) {
				return nil, err
			}
			d.add("tar", err)
			has["tar"] = false
		}
	}
	t, err := ls.verifyTOC(diffID)
	if err != nil {
		if isMachine(ctx, err) {
			return nil, err
		}
		d.add("toc", err)
		d.Whole = !has["tar"]
		if d.Whole {
			return d, nil
		}
		if t, err = ls.scanTar(ctx, diffID); err != nil {
			return nil, err
		}
	}
	if has["fs"] {
		err := tree(ctx, t, ls.Path(diffID, "fs"))
		if err == nil && !has["tar"] && len(d.Forms) > 0 {
			err = ls.verifyMade(ctx, diffID, t)
		}
		if err != nil {
			if isMachine(ctx, err) {
				return nil, err
			}
			d.add("fs", err)
			has["fs"] = false
		}
	}
	if !has["tar"] && !has["fs"] {
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

// verifyTOC reads a layer's table of contents and compares it with the layer's row.
func (ls *Layers) verifyTOC(diffID digest.Digest) (*layer.TOC, error) {
	t, err := disk.ReadTOC(ls.Path(diffID, "toc"))
	if err != nil {
		return nil, err
	}
	var want digest.Digest
	err = ls.db.QueryRow("SELECT content_id FROM layers WHERE diff_id = ?", diffID).Scan(&want)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	if got := t.ContentID(); want != "" && want != got {
		return nil, fmt.Errorf("the table of contents is another layer's: its content ID is %s and not %s", got, want)
	}
	return t, nil
}

func (ls *Layers) verifyTar(ctx context.Context, diffID digest.Digest) error {
	f, err := os.Open(ls.Path(diffID, "tar"))
	if err != nil {
		return err
	}
	defer f.Close()
	sum := layer.NewDigestReader(contextReader{ctx, f})
	if _, err := io.CopyBuffer(io.Discard, sum, make([]byte, 1<<18)); err != nil {
		return err
	}
	if got := sum.Digest(); got != diffID {
		return fmt.Errorf("the tar has the digest %s", got)
	}
	return nil
}

// verifyTarLength sees whether a tar reaches as far as the contents of its last file.
func (ls *Layers) verifyTarLength(_ context.Context, diffID digest.Digest) error {
	st, err := os.Stat(ls.Path(diffID, "tar"))
	if err != nil {
		return err
	}
	t, err := ls.verifyTOC(diffID)
	if err != nil {
		return nil // which is told of by itself
	}
	end := int64(0)
	for _, e := range t.Entries {
		if e.Type == layer.File {
			end = max(end, e.Offset+e.Size)
		}
	}
	if st.Size() < end {
		return fmt.Errorf("the tar has %d bytes and not %d", st.Size(), end)
	}
	return nil
}

// contextReader reads until ctx ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// scanTar makes a table of contents of a layer's tar.
func (ls *Layers) scanTar(ctx context.Context, diffID digest.Digest) (*layer.TOC, error) {
	f, err := os.Open(ls.Path(diffID, "tar"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return layer.Scan(ctx, f)
}

// verifyMade sees whether the tree gives the layer's tar.
func (ls *Layers) verifyMade(ctx context.Context, diffID digest.Digest, t *layer.TOC) error {
	made, err := layer.HashTar(ctx, t, layer.TreeSource(ls.Path(diffID, "fs"), t).Open)
	if err == nil && made.DiffID != diffID {
		err = fmt.Errorf("the tree gives a tar with the digest %s", made.DiffID)
	}
	return err
}

// VerifyTree is Verify of the tree alone, of a layer whose other forms were there before.
func (ls *Layers) VerifyTree(ctx context.Context, diffID digest.Digest) (*Damage, error) {
	t, err := ls.verifyTOC(diffID)
	if err == nil {
		err = layer.VerifyTree(ctx, t, ls.Path(diffID, "fs"))
	}
	if err == nil {
		return nil, nil
	}
	if isMachine(ctx, err) {
		return nil, err
	}
	return &Damage{DiffID: diffID, Forms: []string{"fs"}, Whole: !disk.Exists(ls.Path(diffID, "tar")), Cause: err}, nil
}
