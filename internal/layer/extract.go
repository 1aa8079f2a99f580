package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// ExtractOptions says how Extract makes a tree.
type ExtractOptions struct {
	// Below is the merged state of the layers under this one, nil for none: see UnpackOptions.
	Below Tree
}

// Extract writes a layer that rests as a tar, our own as WriteTarFile makes it, into the empty directory dir as a
// tree. Contents are not summed again. On an error it leaves behind what it had written.
func Extract(ctx context.Context, t *TOC, tar *TarFile, dir string, o ExtractOptions) error {
	root, err := openRoot(dir)
	if err != nil {
		return fmt.Errorf("extracting layer: %w", err)
	}
	defer unix.Close(root)
	entries, err := makeDirs(ctx, root, t.Entries, o.Below)
	if err != nil {
		return fmt.Errorf("extracting layer: %w", err)
	}
	files := ofType(File, slices.Values(entries))
	copyOut := func(tr *tree, e *Entry) error { return extractFile(tr, tar, e) }
	if err := inParallel(ctx, root, files, copyOut); err != nil {
		return fmt.Errorf("extracting layer: %w", err)
	}
	if err := finishTree(ctx, root, slices.Values(entries), o.Below); err != nil {
		return fmt.Errorf("extracting layer: %w", err)
	}
	return nil
}

// makeDirs makes all directories, and returns the entries with the parents that were missing among them.
func makeDirs(ctx context.Context, root int, entries []*Entry, below Tree) ([]*Entry, error) {
	a := newAssembler(ctx, below, noTree{})
	t := newTree(root)
	defer t.close()
	made := map[string]bool{"": true}
	all := make([]*Entry, 0, len(entries))
	var mkdir func(e *Entry) error
	mkdir = func(e *Entry) error {
		if parent := Parent(e.Path); !made[parent] {
			implied := a.impliedDir(parent, e.ModTime)
			if implied.Type != Dir {
				return fmt.Errorf("the parent %q is a symbolic link in the layers below", clip(parent))
			}
			if err := mkdir(implied); err != nil {
				return err
			}
		}
		if e.Path != "" && e.Type == Dir {
			if err := t.mkdir(e.Path); err != nil {
				return err
			}
			made[e.Path] = true
		}
		all = append(all, e)
		return nil
	}
	for _, e := range entries {
		if err := mkdir(e); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func extractFile(t *tree, tar *TarFile, e *Entry) error {
	if e.Offset < 0 {
		return fmt.Errorf("%q is a sparse file, which is not in one piece in the tar; unpack the tar instead", clip(e.Path))
	}
	f, err := t.create(e.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := copyRange(f, tar, e.Offset, e.Size); err != nil {
		return pathError("write", e.Path, err)
	}
	return t.finish(f, e)
}

// smallFile is the size up to which one read and one write beat copy_file_range, which goes through a pipe on ext4.
const smallFile = 64 << 10

// copyRange copies size bytes at offset of tar to the empty file f, where possible without the bytes passing through
// here.
func copyRange(f *os.File, tar *TarFile, offset, size int64) error {
	if size > smallFile {
		for size > 0 {
			part, from, left := tar.find(offset)
			n, err := unix.CopyFileRange(int(part.Fd()), &from, int(f.Fd()), nil, int(min(size, left, 1<<30)), 0)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil || n == 0 {
				break // another file system, or an old kernel: copy the rest by hand
			}
			offset, size = offset+int64(n), size-int64(n)
		}
	}
	if size == 0 {
		return nil
	}
	buf := make([]byte, min(size, smallFile))
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, io.NewSectionReader(tar, offset, size), buf)
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	return err
}
