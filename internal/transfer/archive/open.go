package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/strata-build/strata/internal/layer"
)

// Open opens a file (a tar, plain or compressed in any way that layer.Decompress knows) or a directory (an OCI layout).
// A compressed tar is unpacked into tmpDir first, within limits, and leaves nothing there.
func Open(name, tmpDir string, l layer.Limits) (*Reader, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		root, err := os.OpenRoot(name)
		if err != nil {
			return nil, err
		}
		return newReader(dirSource{root}, name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		defer f.Close()
		return OpenStream(f, tmpDir, l)
	}
	head := make([]byte, layer.DetectLen)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		f.Close()
		return nil, err
	}
	if layer.Detect(head[:n]) != layer.None {
		defer f.Close()
		return OpenStream(f, tmpDir, l)
	}
	return openTar(f, name)
}

// errNoIndex is of an archive that is of neither format.
var errNoIndex = fmt.Errorf("%w: it has neither manifest.json (docker save) nor index.json (OCI layout); a root file system is read by `strata import`", ErrFormat)

// errTruncated is of an archive, or of anything else, that ends too early.
var errTruncated = fmt.Errorf("%w that is whole: it is truncated; fetch or make it again", ErrFormat)

// OpenStream opens an archive that comes from a pipe. It is kept in a nameless file in tmpDir until the Reader is
// closed.
func OpenStream(r io.Reader, tmpDir string, l layer.Limits) (*Reader, error) {
	plain, err := layer.Decompress(r, l.On(tmpDir))
	if err != nil {
		return nil, damaged(err)
	}
	defer plain.Close()
	in := bufio.NewReaderSize(plain, 64<<10)
	head, _ := in.Peek(layer.TarBlock)
	if len(head) == layer.TarBlock && bytes.Count(head, []byte{0}) == layer.TarBlock {
		return nil, errNoIndex // an empty tar, which may be endless: /dev/zero
	}
	if _, err := tar.NewReader(bytes.NewReader(head)).Next(); errors.Is(err, tar.ErrHeader) {
		return nil, fmt.Errorf("reading the archive: %w", damaged(err)) // no tar, which may be endless too
	}
	f, err := os.CreateTemp(tmpDir, "strata-archive-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil { // so that nothing stays behind, however we end
		f.Close()
		return nil, err
	}
	if _, err := io.Copy(f, in); err != nil {
		f.Close()
		return nil, fmt.Errorf("reading the archive: %w", damaged(err))
	}
	return openTar(f, "the archive")
}

// damaged marks what decompressors and tar readers say about their input as a matter of the format.
func damaged(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errTruncated
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, layer.ErrCompression), errors.Is(err, tar.ErrHeader):
		return fmt.Errorf("%w: %w", err, ErrFormat)
	}
	return err
}

// dirSource is a layout in a directory. os.Root keeps symlinks from leading out of it.
type dirSource struct{ root *os.Root }

func (s dirSource) open(name string) (io.ReadCloser, int64, error) {
	f, size, err := s.openFile(name)
	if err != nil {
		return nil, 0, err // not f, whose interface would not be nil
	}
	return f, size, nil
}

func (s dirSource) close() error { return s.root.Close() }

// member is a file in a tar: where its bytes are, or what it links to.
type member struct {
	offset, size int64
	link         string // name in the archive, "" for a regular file
}

// tarSource is an uncompressed tar whose members were listed.
type tarSource struct {
	file    *os.File
	members map[string]member
}

func openTar(f *os.File, name string) (*Reader, error) {
	members, err := listMembers(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return newReader(&tarSource{file: f, members: members}, name)
}

// listMembers notes where each file of a tar is, without reading their contents.
func listMembers(f *os.File) (map[string]member, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	members := make(map[string]member)
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if err == io.EOF {
			return members, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the tar: %w", damaged(err))
		}
		if len(members) == maxMembers {
			return nil, fmt.Errorf("more than %d files in it: %w", maxMembers, ErrFormat)
		}
		name, err := memberName(h.Name)
		if err != nil {
			return nil, err
		}
		switch h.Typeflag {
		case tar.TypeReg:
			offset, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			members[name] = member{offset: offset, size: h.Size}
		case tar.TypeSymlink, tar.TypeLink:
			target := h.Linkname
			if h.Typeflag == tar.TypeSymlink {
				target = path.Join(path.Dir(name), target)
			}
			if path.IsAbs(h.Linkname) {
				return nil, fmt.Errorf("%q links to %q, outside of the archive: %w", name, printable(h.Linkname), ErrFormat)
			}
			if target, err = memberName(target); err != nil {
				return nil, err
			}
			members[name] = member{link: target}
		case tar.TypeDir, tar.TypeXGlobalHeader:
		default:
			return nil, fmt.Errorf("%q is of the type %q, which no image archive has: %w", name, h.Typeflag, ErrFormat)
		}
		if isSparse(h) {
			return nil, fmt.Errorf("%q is a sparse file, which no image archive has: %w", name, ErrFormat)
		}
	}
}

// isSparse tells of files that are not in the tar as they are.
func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// memberName cleans a name of a tar, which has to stay inside of it.
func memberName(name string) (string, error) {
	clean := path.Clean(name)
	if path.IsAbs(name) || !fs.ValidPath(clean) || len(name) > 4096 {
		return "", fmt.Errorf("the name %q leads out of the archive: %w", printable(name), ErrFormat)
	}
	return clean, nil
}

// printable keeps a hostile name short in messages, which quote it.
func printable(name string) string {
	if len(name) > 80 {
		return name[:80] + "…"
	}
	return name
}

func (s *tarSource) open(name string) (io.ReadCloser, int64, error) {
	for range layer.MaxLinks {
		m, ok := s.members[name]
		if !ok {
			return nil, 0, &fs.PathError{Op: "open", Path: printable(name), Err: fs.ErrNotExist}
		}
		if m.link == "" {
			return io.NopCloser(io.NewSectionReader(s.file, m.offset, m.size)), m.size, nil
		}
		name = m.link
	}
	return nil, 0, fmt.Errorf("%s: too many links: %w", printable(name), ErrFormat)
}

func (s *tarSource) close() error { return s.file.Close() }
