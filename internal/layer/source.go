package layer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Source is a layer at rest, in whichever form.
type Source interface {
	// TOC returns the layer's table of contents. It may be slow the first time, and must not be changed by the caller.
	TOC(ctx context.Context) (*TOC, error)
	// Open reads the contents of a File entry of the TOC.
	Open(ctx context.Context, e *Entry) (io.ReadCloser, error)
}

// TreeSource is a layer that rests as a tree: a directory that overlayfs takes, and its TOC.
func TreeSource(dir string, t *TOC) Source { return treeSource{dir, t} }

type treeSource struct {
	dir string
	toc *TOC
}

func (s treeSource) TOC(context.Context) (*TOC, error) { return s.toc, nil }

// Open follows no symbolic link anywhere in the path.
func (s treeSource) Open(_ context.Context, e *Entry) (io.ReadCloser, error) {
	root, err := openRoot(s.dir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	return openFileBeneath(root, e.Path)
}

// TarSource is a layer that rests as an uncompressed tar, and its TOC with offsets.
func TarSource(path string, t *TOC) Source {
	return TarFileSource(func() (*TarFile, error) { return OpenTar(path) }, t)
}

// TarFileSource is TarSource of a tar that is opened with open, for each file anew.
func TarFileSource(open func() (*TarFile, error), t *TOC) Source { return tarSource{open, t} }

type tarSource struct {
	open func() (*TarFile, error)
	toc  *TOC
}

func (s tarSource) TOC(context.Context) (*TOC, error) { return s.toc, nil }

func (s tarSource) Open(_ context.Context, e *Entry) (io.ReadCloser, error) {
	if e.Offset < 0 {
		return nil, fmt.Errorf("%q is a sparse file, which is not in one piece in the tar; unpack the tar instead", clip(e.Path))
	}
	f, err := s.open()
	if err != nil {
		return nil, err
	}
	return &section{io.NewSectionReader(f, e.Offset, e.Size), f}, nil
}

// section is a part of a tar that closes the tar.
type section struct {
	*io.SectionReader
	of *TarFile
}

func (s *section) Close() error { return s.of.Close() }

// Verified reads the contents of a File entry from r. Where they turn out not to have the digest that e has, what
// damaged makes of a *DamageError comes in the place of io.EOF. Without a digest r is read as it is.
func Verified(r io.ReadCloser, e *Entry, damaged func(*DamageError) error) io.ReadCloser {
	if e.Digest == "" {
		return r
	}
	return &verifiedReader{r, e.Digest.Verifier(), e.Path, damaged}
}

type verifiedReader struct {
	io.ReadCloser
	verifier digest.Verifier
	path     string
	damaged  func(*DamageError) error
}

// ReadAt implements io.ReaderAt, where what is verified does; nothing is compared then. Else it is
// errors.ErrUnsupported.
func (r *verifiedReader) ReadAt(p []byte, offset int64) (int, error) {
	if at, ok := r.ReadCloser.(io.ReaderAt); ok {
		return at.ReadAt(p, offset)
	}
	return 0, errors.ErrUnsupported
}

func (r *verifiedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.verifier.Write(p[:n])
	if err == io.EOF && !r.verifier.Verified() {
		err = r.damaged(&DamageError{r.path, otherBytes})
	}
	return n, err
}
