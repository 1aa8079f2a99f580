package buildcontext

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/strata-build/strata/internal/layer"
	"golang.org/x/sys/unix"
)

// Sum implements layer.Tree: it takes digests from the stat cache and hashes the files that it does not
// know, with all processors. If a file changed since it was listed, the entry's size, mode, time and
// attributes are brought up to date with the digest; if it changes while it is read, twice in a row, the
// error is a ChangedError.
func (c *Context) Sum(ctx context.Context, entries []*layer.Entry) error {
	c.sumMu.Lock()
	defer c.sumMu.Unlock()
	todo, err := c.known(entries)
	if err != nil || len(todo) == 0 {
		return err
	}
	// Large files first, so that none is left for one processor at the end.
	slices.SortStableFunc(todo, func(a, b *job) int { return cmp.Compare(b.entry.Size>>23, a.entry.Size>>23) })
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(todo)) {
		wg.Go(func() {
			buf := make([]byte, 256<<10)
			for i := next.Add(1) - 1; int(i) < len(todo) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := c.hash(ctx, todo[i], buf); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.remember(todo)
	return nil
}

// job is a file to hash.
type job struct {
	node   *node
	entry  *layer.Entry
	st     unix.Stat_t
	sum    [32]byte
	xattrs []layer.Xattr
}

// known fills in the digests that need no reading and returns the rest.
func (c *Context) known(entries []*layer.Entry) ([]*job, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var todo []*job
	var dir *node
	next := 0 // the child of dir that comes next if the entries are in order
	for _, e := range entries {
		if e.Type != layer.File || e.Digest != "" {
			continue
		}
		// Entries come directory by directory.
		if parent := layer.Parent(e.Path); dir == nil || dir.path() != parent {
			var err error
			if dir, err = c.find(parent); err != nil {
				return nil, err
			}
			if err := c.own.list(dir); err != nil {
				return nil, err
			}
			next = 0
		}
		n := dir.childAt(next, e.Path)
		if n == nil {
			return nil, notExist(e.Path)
		}
		next++
		if n.file.sum() != "" {
			n.describe(e)
		} else {
			todo = append(todo, &job{node: n, entry: e})
		}
	}
	return todo, nil
}

// describe writes what is known of a hashed file to an entry.
func (n *node) describe(e *layer.Entry) {
	now := n.entry()
	e.Digest, e.Size, e.Mode, e.ModTime, e.Xattrs = now.Digest, now.Size, now.Mode, now.ModTime, now.Xattrs
}

// hash reads a file, and once more if it changed meanwhile.
func (c *Context) hash(ctx context.Context, j *job, buf []byte) error {
	err := c.hashOnce(ctx, j, buf)
	if errors.Is(err, ErrChanged) {
		err = c.hashOnce(ctx, j, buf)
	}
	return err
}

func (c *Context) hashOnce(ctx context.Context, j *job, buf []byte) error {
	path := j.entry.Path
	fd, before, err := c.openFile(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if j.xattrs, err = xattrsOf(fd); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	h := sha256.New()
	var size int64
	for {
		n, err := readFD(fd, buf)
		if err != nil {
			return fmt.Errorf("read %q of the build context: %w", "/"+path, err)
		}
		h.Write(buf[:n])
		// A short read at the size that fstat gave is the end; the stat after it sees what came later.
		if size += int64(n); n == 0 || size == before.size && n < len(buf) {
			break
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if c.onRead != nil {
		c.onRead(path)
	}
	if err := unix.Fstat(fd, &j.st); err != nil {
		return fmt.Errorf("read %q of the build context: %w", "/"+path, err)
	}
	if statOf(&j.st) != before || size != before.size {
		return &ChangedError{path}
	}
	h.Sum(j.sum[:0])
	return nil
}

// remember puts the results of jobs into the tree and the entries.
func (c *Context) remember(jobs []*job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range jobs {
		n := j.node
		now := contents{statOf(&j.st), string(j.sum[:]), j.xattrs}
		if now.stat != n.file.stat() {
			// Listed before it changed: whether it has settled, the next build will see.
			n.settled = false
			n.note(&j.st, &now.stat)
		}
		c.own.raw = appendRecord(c.own.raw[:0], n.path(), &now)
		n.file = c.own.shelf.keep(c.own.raw)
		n.describe(j.entry)
		if n.settled {
			c.cache.changed.Store(true)
		}
	}
}
