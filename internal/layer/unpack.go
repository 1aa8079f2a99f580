package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// UnpackOptions says how Unpack treats a tar.
type UnpackOptions struct {
	// Below is the merged state of the layers under this one, nil for none. From it come the metadata of parents that
	// the tar has no entry for (overlayfs shows the topmost directory's), links in their place, and the targets of hard
	// links into lower layers.
	Below Tree
	// Limits bound it; where their Size has its default, so does what is free on the directory's disk.
	Limits Limits
}

// blockSize is how much of a file's contents goes from the tar to a writer at once. The queue is short: with 4 writers
// at most about 16 blocks, 4 MiB, are under way.
const (
	blockSize   = 256 << 10
	blockQueue  = 4
	fileWriters = 4
)

// Unpack writes the uncompressed tar of a layer, which may be hostile, into the empty directory dir as a tree, and
// returns its TOC with digests. On an error it leaves behind what it had written.
//
// Nothing is ever written outside dir. Names with ".." are refused; a leading "/" is dropped. A parent that is a
// symbolic link is resolved within the layer's root, as in a chroot. Of entries with one path the last one counts. The
// reader is read to its end.
func Unpack(ctx context.Context, r io.Reader, dir string, o UnpackOptions) (*TOC, error) {
	root, err := openRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("unpacking layer: %w", err)
	}
	defer unix.Close(root)
	o.Limits = o.Limits.On(dir)
	u := newUnpacker(ctx, root, o)
	err = u.read(r)
	close(u.files)
	if werr := u.group.Wait(); werr != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = werr
	}
	if err == nil {
		err = ctx.Err()
	}
	u.tree.close()
	if err != nil {
		return nil, err
	}
	u.settle()
	made := u.names.assembled()
	if err := finishTree(ctx, root, made.asInTar(), o.Below); err != nil {
		return nil, fmt.Errorf("unpacking layer: %w", err)
	}
	t, err := made.TOC()
	if err != nil {
		return nil, fmt.Errorf("unpacking layer: %w", err)
	}
	return t, nil
}

// unpacker reads the tar in one goroutine, which makes the directories, and writes files in others. All else is made at
// the end, when it is known what stays: links cannot be in anybody's way while there are none.
type unpacker struct {
	ctx     context.Context
	o       UnpackOptions
	names   *assembler
	tree    *tree // of the reading goroutine
	root    int
	group   *errgroup.Group
	files   chan *fileJob
	pending sync.WaitGroup
	blocks  sync.Pool

	mu      sync.Mutex
	written []*fileJob // that are complete, of which names knows no digests yet
}

// fileJob is a file to write: its first block, and a channel for the others if there are any.
type fileJob struct {
	e     Entry
	slot  uint32 // of the entry, in names
	block []byte
	rest  chan []byte
	from  io.ReadCloser // instead of blocks, where the contents are not in the tar
}

func newUnpacker(ctx context.Context, root int, o UnpackOptions) *unpacker {
	u := &unpacker{o: o, tree: newTree(root), root: root, files: make(chan *fileJob, blockQueue)}
	u.group, u.ctx = errgroup.WithContext(ctx)
	u.names = newAssembler(u.ctx, o.Below, u)
	u.blocks.New = func() any { return make([]byte, blockSize) }
	for range fileWriters {
		u.group.Go(u.writeFiles)
	}
	return u
}

// mkdir, remove and rename make an unpacker the assembler's placer.
func (u *unpacker) mkdir(path string) error { return u.tree.mkdir(path) }

func (u *unpacker) remove(path string) error {
	u.pending.Wait()
	u.settle()
	return u.tree.remove(path)
}

func (u *unpacker) rename(from, to string) error {
	u.pending.Wait()
	u.settle()
	return u.tree.rename(from, to)
}

// settle notes the digests of the files that were written.
func (u *unpacker) settle() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, job := range u.written {
		u.names.names.describe(job.slot, &job.e)
	}
	u.written = u.written[:0]
}

// read takes in the whole tar.
func (u *unpacker) read(r io.Reader) error {
	tr := NewTarReader(r, u.o.Limits)
	for {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return tarError(err)
		}
		u.settle()
		e, err := u.names.add(h)
		if err != nil {
			return entryError(h, err)
		}
		if e == nil || e.Type != File {
			continue
		}
		if err := u.file(h, e, tr); err != nil {
			return entryError(h, err)
		}
	}
	if _, err := copyContext(u.ctx, io.Discard, r, make([]byte, 32<<10)); err != nil {
		return tarError(err)
	}
	return nil
}

// file passes the contents of a file to a writer.
func (u *unpacker) file(h *tar.Header, e *Entry, tr io.Reader) error {
	job := &fileJob{e: *e, slot: u.names.slot}
	left := e.Size
	if h.Typeflag == tar.TypeLink { // a hard link into a layer below
		from, err := u.o.Below.Open(u.ctx, &Entry{Path: e.Link, Type: File})
		if err != nil {
			return fmt.Errorf("copying the target of the hard link: %w", err)
		}
		job.from, left = from, 0
		job.e.Link = ""
	}
	var err error
	if left > 0 {
		if job.block, err = u.block(tr, left); err != nil {
			return err
		}
		if left -= int64(len(job.block)); left > 0 {
			job.rest = make(chan []byte, 2)
			defer close(job.rest)
		}
	}
	u.pending.Add(1)
	select {
	case u.files <- job:
	case <-u.ctx.Done():
		u.pending.Done()
		return u.ctx.Err()
	}
	for left > 0 {
		block, err := u.block(tr, left)
		if err != nil {
			return err
		}
		left -= int64(len(block))
		select {
		case job.rest <- block:
		case <-u.ctx.Done():
			return u.ctx.Err()
		}
	}
	return nil
}

// block reads the next piece of a file of which left bytes are to come.
func (u *unpacker) block(tr io.Reader, left int64) ([]byte, error) {
	block := u.blocks.Get().([]byte)[:min(blockSize, left)]
	if _, err := io.ReadFull(tr, block); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, contentsError(err)
	}
	return block, nil
}

// writeFiles writes files until there are no more. After an error the jobs are still taken, so that nobody waits for
// ever.
func (u *unpacker) writeFiles() error {
	t, sum := newTree(u.root), sha256.New()
	defer t.close()
	var failed error
	for job := range u.files {
		if failed == nil {
			if failed = u.writeFile(t, sum, job); failed != nil {
				failed = fmt.Errorf("unpacking layer: %w", failed)
				u.group.Go(func() error { return failed }) // cancels the reader now
			}
		}
		u.pending.Done()
	}
	return failed
}

func (u *unpacker) writeFile(t *tree, sum hash.Hash, job *fileJob) error {
	f, err := t.create(job.e.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum.Reset()
	w := &sumWriter{f: f, sum: sum}
	n, err := u.contents(w, job)
	if err != nil {
		return err
	}
	if n != job.e.Size {
		return fmt.Errorf("%q: got %d of %d bytes", clip(job.e.Path), n, job.e.Size)
	}
	if err := w.end(n); err != nil {
		return pathError("write", job.e.Path, err)
	}
	job.e.Digest = digest.NewDigest(digest.SHA256, sum)
	if err := t.finish(f, &job.e); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.written = append(u.written, job)
	return nil
}

func (u *unpacker) contents(w io.Writer, job *fileJob) (n int64, err error) {
	if job.from != nil {
		defer job.from.Close()
		return copyContext(u.ctx, w, job.from, make([]byte, 64<<10))
	}
	for block, more := job.block, true; more && block != nil; {
		if _, err := w.Write(block); err != nil {
			return n, pathError("write", job.e.Path, err)
		}
		n += int64(len(block))
		//lint:ignore SA6002 the slice header's allocation is nothing beside the block
		u.blocks.Put(block[:blockSize])
		if job.rest == nil {
			break
		}
		select {
		case block, more = <-job.rest:
		case <-u.ctx.Done():
			return n, u.ctx.Err()
		}
	}
	return n, nil
}
