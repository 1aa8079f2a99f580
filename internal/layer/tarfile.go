package layer

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// TarFile is an uncompressed tar that is open: one file, or the two that a TarDelta describes.
type TarFile struct {
	file  *os.File // all of it, or what is not in the base
	base  *os.File
	delta *TarDelta // nil of one file
	size  int64
}

// OpenTar opens a tar that is one file.
func OpenTar(path string) (*TarFile, error) {
	f, size, err := openSized(path)
	if err != nil {
		return nil, err
	}
	return &TarFile{file: f, size: size}, nil
}

// OpenTarDelta opens the tar that d describes: own has the bytes that the tar base does not have. Where the files have
// other lengths than d says, that is an error.
func OpenTarDelta(d *TarDelta, own, base string) (*TarFile, error) {
	t := &TarFile{delta: d, size: d.Size}
	for _, part := range []struct {
		to   **os.File
		path string
		size int64
	}{{&t.file, own, d.OwnSize()}, {&t.base, base, d.BaseSize}} {
		f, size, err := openSized(part.path)
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
		*part.to = f
		if size != part.size {
			return nil, errors.Join(fmt.Errorf("%s has %d bytes and not %d", part.path, size, part.size), t.Close())
		}
	}
	return t, nil
}

func openSized(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

// Size is the length of the tar in bytes.
func (t *TarFile) Size() int64 { return t.size }

// Close closes the files.
func (t *TarFile) Close() error {
	var errs []error
	for _, f := range []*os.File{t.file, t.base} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// find says which file has the byte at an offset, where, and how many bytes from there on it has.
func (t *TarFile) find(at int64) (f *os.File, from, n int64) {
	if t.delta == nil {
		return t.file, at, max(0, t.size-at)
	}
	inBase, from, n := t.delta.Find(at)
	if inBase {
		return t.base, from, n
	}
	return t.file, from, n
}

// ReadAt implements io.ReaderAt.
func (t *TarFile) ReadAt(p []byte, offset int64) (read int, err error) {
	if t.delta == nil {
		return t.file.ReadAt(p, offset)
	}
	if offset < 0 {
		return 0, fmt.Errorf("reading a tar at %d", offset)
	}
	for read < len(p) {
		f, from, n := t.find(offset + int64(read))
		if n == 0 {
			return read, io.EOF
		}
		got, err := f.ReadAt(p[read:min(int64(len(p)), int64(read)+n)], from)
		read += got
		if err != nil {
			return read, err
		}
	}
	return read, nil
}

// Reader reads the tar from its beginning. Closing it closes the tar.
func (t *TarFile) Reader() io.ReadCloser {
	return &section{io.NewSectionReader(t, 0, t.size), t}
}
