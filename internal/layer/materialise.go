package layer

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// FileSource is where Materialise takes what a table of contents lists.
type FileSource struct {
	// Open reads the contents of a file.
	Open OpenFunc
	// ModTime is the time of an entry, finer than the seconds that a TOC has; the zero time where it is not known.
	ModTime func(e *Entry) time.Time
}

// Materialise writes entries as a tree into the empty directory dir, in the form that overlayfs takes as a lower layer.
// On an error it leaves behind what it had written.
func Materialise(ctx context.Context, t *TOC, from FileSource, dir string) error {
	root, err := openRoot(dir)
	if err != nil {
		return fmt.Errorf("laying out files: %w", err)
	}
	defer unix.Close(root)
	entries, err := makeDirs(ctx, root, t.Entries, nil)
	if err != nil {
		return fmt.Errorf("laying out files: %w", err)
	}
	files := ofType(File, slices.Values(entries))
	if err := inParallel(ctx, root, files, func(t *tree, e *Entry) error { return from.file(ctx, t, e) }); err != nil {
		return fmt.Errorf("laying out files: %w", err)
	}
	if err := finishTree(ctx, root, slices.Values(entries), nil); err != nil {
		return fmt.Errorf("laying out files: %w", err)
	}
	return nil
}

func (from FileSource) file(ctx context.Context, t *tree, e *Entry) error {
	r, err := from.Open(ctx, e)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := t.create(e.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{r}, make([]byte, min(e.Size+1, smallFile)))
	if err == nil && n != e.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("copy %q: %w", clip(e.Path), err)
	}
	if err := t.finish(f, e); err != nil {
		return err
	}
	if from.ModTime == nil {
		return nil
	}
	when := from.ModTime(e)
	if when.IsZero() {
		return nil
	}
	at, name, err := t.parent(e.Path)
	if err != nil {
		return err
	}
	ts := unix.NsecToTimespec(when.UnixNano())
	if err := unix.UtimesNanoAt(at, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return pathError("setting the time of", e.Path, err)
	}
	return nil
}
