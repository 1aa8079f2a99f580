package layers

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
)

// Contents reads parts of a layer's files in any order, out of its tar or its tree. It can be used by several goroutines.
type Contents struct {
	toc *layer.TOC
	tar *os.File
	dir *os.File // the tree, where there is no tar
}

// Contents opens the files of a layer, which is fetched if it is not here, in a form that is as it was sealed. Who has it
// closes it. A tar is not laid out for it.
func (l *Layer) Contents(ctx context.Context) (*Contents, error) {
	t, err := l.TOC(ctx)
	if err != nil {
		return nil, err
	}
	if l.tar().Here() && !hasSparse(t) {
		here, err := l.trust(ctx, formTar)
		if err != nil {
			return nil, err
		}
		if here {
			f, err := os.Open(l.layers.Path(l.DiffID, formTar))
			if err != nil {
				return nil, fmt.Errorf("reading layer %s: %w", l.DiffID, err)
			}
			return &Contents{toc: t, tar: f}, nil
		}
	}
	dir, err := l.Tree(ctx)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("reading layer %s: %w", l.DiffID, err)
	}
	return &Contents{toc: t, dir: f}, nil
}

// TOC is the layer's table of contents.
func (c *Contents) TOC() *layer.TOC { return c.toc }

// ReadAt reads what a File entry of the layer's table of contents has at an offset; fewer bytes than p holds only at the end of
// the file. It returns no io.EOF.
func (c *Contents) ReadAt(e *layer.Entry, p []byte, offset int64) (int, error) {
	p = p[:max(0, min(int64(len(p)), e.Size-offset))]
	if len(p) == 0 {
		return 0, nil
	}
	f := c.tar
	if f != nil {
		offset += e.Offset
	} else {
		var err error
		if f, err = c.open(e.Path); err != nil {
			return 0, err
		}
		defer f.Close()
	}
	n, err := f.ReadAt(p, offset)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // the file is shorter than the table of contents says
	}
	return n, err
}

// open opens a file of the tree, by a path without symbolic links.
func (c *Contents) open(path string) (*os.File, error) {
	fd, err := unix.Openat2(int(c.dir.Fd()), path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NOATIME,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Close ends the use of the files.
func (c *Contents) Close() error {
	if c.tar != nil {
		return c.tar.Close()
	}
	return c.dir.Close()
}
