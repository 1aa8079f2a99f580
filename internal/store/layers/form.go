package layers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/content"
	"github.com/strata-build/strata/internal/store/disk"
)

// Form is one of the ways in which the bytes of a layer are kept: a directory tree, the uncompressed tar, a compressed
// blob, the descriptor of one in a registry. Whoever reads a layer knows no more of it than this.
type Form interface {
	// Here says whether the bytes are on this machine.
	Here() bool
	// Files opens single files of the layer, of which t is the table of contents; nil of a form that has to be read from
	// its beginning.
	Files(t *layer.TOC) layer.Source
	// Stream reads the layer's uncompressed tar, of a form that is here.
	Stream(ctx context.Context) (io.ReadCloser, error)
}

func (l *Layer) tar() Form  { return tarForm{l} }
func (l *Layer) tree() Form { return &treeForm{l, l.layers.Path(l.DiffID, formTree)} }

// compressed are the compressed forms of a layer, which are here or not.
func (l *Layer) compressed() ([]*blobForm, error) {
	blobs, err := l.layers.content.Blobs(l.DiffID)
	if err != nil {
		return nil, err
	}
	forms := make([]*blobForm, len(blobs))
	for i, b := range blobs {
		forms[i] = &blobForm{l.layers, b}
	}
	return forms, nil
}

// tarForm is an uncompressed tar, in one file or as a delta of another layer's.
type tarForm struct{ l *Layer }

func (f tarForm) Here() bool { return f.l.layers.has(f.l.DiffID, formTar) }

func (f tarForm) Files(t *layer.TOC) layer.Source { return layer.TarFileSource(f.open, t) }

func (f tarForm) open() (*layer.TarFile, error) { return f.l.layers.openTar(f.l.DiffID) }

func (f tarForm) Stream(context.Context) (io.ReadCloser, error) {
	tar, err := f.open()
	if err != nil {
		return nil, err
	}
	return tar.Reader(), nil
}

// treeForm is a tree in the form that overlayfs takes.
type treeForm struct {
	l   *Layer
	dir string
}

func (f *treeForm) Here() bool { return disk.Exists(f.dir) }

func (f *treeForm) Files(t *layer.TOC) layer.Source { return layer.TreeSource(f.dir, t) }

// Stream makes the tar of the files: that of a layer that was built here, or was unpacked from such a tar.
func (f *treeForm) Stream(ctx context.Context) (io.ReadCloser, error) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(f.writeTar(ctx, w)) }()
	return r, nil
}

func (f *treeForm) writeTar(ctx context.Context, w io.Writer) error {
	t, err := f.l.TOC(ctx)
	if err != nil {
		return err
	}
	return layer.WriteTar(ctx, w, t, f.Files(t).Open)
}

// blobForm is a compressed blob of the store, or one that a registry has.
type blobForm struct {
	layers *Layers
	blob   content.Blob
}

func (f *blobForm) Here() bool                      { return disk.Exists(f.layers.content.BlobPath(f.blob.Digest)) }
func (f *blobForm) Files(t *layer.TOC) layer.Source { return nil }

// Stream decompresses the blob.
func (f *blobForm) Stream(context.Context) (io.ReadCloser, error) {
	file, err := f.layers.content.OpenBlob(f.blob.Digest)
	if err != nil {
		return nil, err
	}
	z, err := layer.Decompress(bufio.NewReaderSize(file, 1<<18), f.layers.limits)
	if err != nil {
		file.Close()
		return nil, err
	}
	return &blobReader{z, file}, nil
}

// blobReader decompresses a blob.
type blobReader struct {
	io.ReadCloser
	f *os.File
}

func (r *blobReader) Close() error { return errors.Join(r.ReadCloser.Close(), r.f.Close()) }

// formHere is the form that the layer's tar is quickest to read of: its tar, a blob that is here, or its tree,
// of which the tar has to be made.
func (l *Layer) formHere(ctx context.Context) (Form, error) {
	if l.tar().Here() {
		return l.tar(), nil
	}
	blobs, err := l.compressed()
	if err != nil {
		return nil, err
	}
	for _, f := range blobs {
		here, err := l.layers.content.Usable(ctx, f.blob.Digest)
		if err != nil {
			return nil, err
		}
		if here {
			return f, nil
		}
	}
	return l.tree(), nil
}

// openBlob reads the layer's tar out of one of its compressed forms, which it fetches if none is here.
func (l *Layer) openBlob(ctx context.Context) (io.ReadCloser, error) {
	ls := l.layers
	blobs, err := ls.content.Blobs(l.DiffID)
	if err != nil {
		return nil, err
	}
	if len(blobs) == 0 && !l.inFolder() {
		if err := ls.forget(l.DiffID); err != nil {
			return nil, err
		}
	}
	failure := errors.New("nothing says where to get it; build or pull its image again")
	for _, b := range blobs {
		err := ls.bring(ctx, b, "")
		switch {
		case err == nil:
			r, err := (&blobForm{ls, b}).Stream(ctx)
			if err != nil {
				return nil, fmt.Errorf("reading layer %s: %w", l.DiffID, err)
			}
			return r, nil
		case errors.Is(err, errUnavailable):
		case ctx.Err() != nil || disk.IsLocal(err):
			return nil, fmt.Errorf("fetching layer %s: %w", l.DiffID, err)
		default:
			failure = err
		}
	}
	return nil, &UnavailableError{l.DiffID, failure}
}
