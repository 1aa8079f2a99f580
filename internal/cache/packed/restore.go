package packed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
)

// parallel is how many blobs are asked for, fetched or sent at once.
const parallel = 4

// Restore puts the files of a document into the empty directory dir. All blobs are fetched into the folder temp, and compared
// with their digests, before the first file is made, and the files with theirs; what it has written when it fails is for the caller
// to remove.
func Restore(ctx context.Context, k Keeper, d *Document, temp, dir string) error {
	l, err := readList(ctx, k, d)
	if err != nil {
		return err
	}
	if err := checkRoom(temp, d); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, b := range d.Packs {
		g.Go(func() error {
			raw, err := read(gctx, k, d.Mount, b)
			if err != nil {
				return err
			}
			return os.WriteFile(packFile(temp, i), raw, 0o600)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return l.materialise(ctx, temp, dir)
}

func packFile(temp string, i int) string { return filepath.Join(temp, "pack-"+strconv.Itoa(i)) }

// checkRoom says whether the disk has room for the packs and the files.
func checkRoom(dir string, d *Document) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	need := uint64(d.Bytes) // Check bounds all of them
	for _, b := range d.Packs {
		need += uint64(b.Raw)
	}
	if blocks := need / uint64(st.Bsize); blocks >= st.Bavail {
		return fmt.Errorf("the cache mount %s takes %d bytes while it is restored, and the disk has %d blocks of %d", d.Mount.ID, need, st.Bavail, st.Bsize)
	}
	return nil
}

// materialise makes the files of a list from the packs in temp.
func (l *list) materialise(ctx context.Context, temp, dir string) error {
	numbers := map[string]int{}
	for _, e := range l.toc.Entries {
		if e.Type == layer.File {
			numbers[e.Path] = len(numbers)
		}
	}
	return layer.Materialise(ctx, l.toc, layer.FileSource{
		Open: func(_ context.Context, e *layer.Entry) (io.ReadCloser, error) {
			r := &contents{temp: temp, pieces: l.pieces[numbers[e.Path]]}
			// The packs are right by now; whoever wrote the list may still have said another place.
			return layer.Verified(r, e, func(d *layer.DamageError) error { return d }), nil
		},
		ModTime: func(e *layer.Entry) time.Time { return time.Unix(e.ModTime, int64(l.times[numbers[e.Path]])) },
	}, dir)
}

// contents reads pieces, one after the other.
type contents struct {
	temp   string
	pieces []piece
	file   *os.File // of the first of pieces, nil where it was not opened yet
	r      io.Reader
}

// Read implements io.Reader.
func (c *contents) Read(p []byte) (int, error) {
	for {
		if len(c.pieces) == 0 {
			return 0, io.EOF
		}
		if c.file == nil {
			f, err := os.Open(packFile(c.temp, c.pieces[0].Pack))
			if err != nil {
				return 0, err
			}
			c.file, c.r = f, io.NewSectionReader(f, c.pieces[0].Offset, c.pieces[0].Size)
		}
		n, err := c.r.Read(p)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		if err := c.Close(); err != nil {
			return 0, err
		}
		c.pieces = c.pieces[1:]
	}
}

// Close implements io.Closer.
func (c *contents) Close() error {
	f := c.file
	c.file = nil
	if f == nil {
		return nil
	}
	return f.Close()
}

// readList fetches the list of a document.
func readList(ctx context.Context, k Keeper, d *Document) (*list, error) {
	raw, err := read(ctx, k, d.Mount, d.List)
	if err != nil {
		return nil, err
	}
	return decodeList(raw, d)
}

// read fetches a blob, and gives its contents.
func read(ctx context.Context, k Keeper, name Name, b Blob) ([]byte, error) {
	r, err := k.OpenBlob(ctx, name, b)
	if err != nil {
		return nil, fmt.Errorf("fetching a part of the cache mount %s: %w", name.ID, err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, b.Size+1))
	if err != nil {
		return nil, fmt.Errorf("fetching a part of the cache mount %s: %w", name.ID, err)
	}
	return decompress(data, b)
}
