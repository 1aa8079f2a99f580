package store

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/layer"
)

// Layer is a layer that the store knows, whether or not its bytes are here.
type Layer struct {
	DiffID digest.Digest
	// ContentID is the digest of the TOC without times, "" while nothing but the diffID is known.
	ContentID digest.Digest
	// Size is the sum of the sizes of its files in bytes, as Docker shows it; -1 while it is not known.
	Size int64
	// Disk is what it takes on this disk in bytes, the compressed blob not counted; 0 if it is not here.
	Disk int64

	store *Store
}

type tocEntry struct {
	once sync.Once
	toc  *layer.TOC
	err  error
}

func (s *Store) layerPath(diffID digest.Digest, elem ...string) string {
	return s.path(append([]string{"layers", diffID.Encoded()}, elem...)...)
}

// Layer returns what is known of a layer; ErrNotFound if nothing is.
func (s *Store) Layer(diffID digest.Digest) (*Layer, error) {
	l := &Layer{DiffID: diffID, store: s}
	err := s.db.QueryRow("SELECT content_id, size, disk FROM layers WHERE diff_id = ?", diffID).Scan(&l.ContentID, &l.Size, &l.Disk)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("layer %s: %w", diffID, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("looking up layer %s: %w", diffID, err)
	}
	return l, nil
}

// Present says whether the layer's bytes are on this disk, as a tree or a tar.
func (l *Layer) Present() bool {
	_, err := os.Stat(l.store.layerPath(l.DiffID, "toc"))
	return err == nil
}

// AddLayer takes the layer in dir, a folder that Temp made, into the store. It holds the layer's tree as
// "fs", or its uncompressed tar as "tar". If the store has the layer already, dir is dropped.
func (s *Store) AddLayer(diffID digest.Digest, t *layer.TOC, dir string) (*Layer, error) {
	if err := diffID.Validate(); err != nil {
		return nil, fmt.Errorf("adding a layer: %w", err)
	}
	l := &Layer{DiffID: diffID, ContentID: t.ContentID(), Size: t.Size(), store: s}
	l.Disk = diskSize(t)
	err := s.writeTOC(filepath.Join(dir, "toc"), t)
	if err == nil {
		err = os.Chmod(dir, 0o700)
	}
	if err == nil {
		err = s.placeLayer(l, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("adding layer %s to the store: %w%s", diffID, err, hint(err))
	}
	return l, nil
}

// placeLayer gives dir its final name and the layer its row, both while nobody else can write to meta.db: a prune
// that is about to remove the same layer either sees that it was used, or has moved the folder out of the way.
func (s *Store) placeLayer(l *Layer, dir string) error {
	err := s.inTx(func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO layers (diff_id, content_id, size, disk, added, used) VALUES (?1, ?2, ?3, ?4, ?5, ?5)
			ON CONFLICT (diff_id) DO UPDATE SET content_id = ?2, size = ?3, disk = max(disk, ?4), used = max(used, ?5)`,
			l.DiffID, l.ContentID, l.Size, l.Disk, now())
		if err != nil {
			return err
		}
		return rename(dir, s.layerPath(l.DiffID))
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(dir) // still there if another was first
}

// diskSize estimates what a layer takes on disk: whole blocks of 4 KiB, and one for each directory. Two folders and the
// table of contents come with it.
func diskSize(t *layer.TOC) int64 {
	n := int64(3 * 4096)
	for _, e := range t.Entries {
		switch e.Type {
		case layer.File:
			n += (e.Size + 4095) &^ 4095
		case layer.Dir:
			n += 4096
		}
	}
	return n
}

// rename gives dir its final name unless that is there already.
func rename(dir, final string) error {
	err := os.Rename(dir, final)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscallNotEmpty) {
		return nil
	}
	return err
}

func (s *Store) writeTOC(path string, t *layer.TOC) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<18)
	if err := t.Encode(w); err != nil {
		f.Close()
		return err
	}
	if err := w.Flush(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// AddRemote notes that a layer is known and where its compressed form can be fetched.
func (s *Store) AddRemote(diffID digest.Digest, b Blob) error {
	tx, err := s.db.Begin()
	if err != nil {
		return fmt.Errorf("noting layer %s: %w", diffID, err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("INSERT INTO layers (diff_id, added, used) VALUES (?1, ?2, ?2) ON CONFLICT (diff_id) DO UPDATE SET used = ?2",
		diffID, now()); err != nil {
		return fmt.Errorf("noting layer %s: %w", diffID, err)
	}
	if err := putBlob(tx, diffID, b); err != nil {
		return fmt.Errorf("noting layer %s: %w", diffID, err)
	}
	return tx.Commit()
}

// TOC returns the layer's table of contents, fetching the layer first if it is not here. Do not change it:
// it is shared.
func (l *Layer) TOC(ctx context.Context) (*layer.TOC, error) {
	if err := l.ensure(ctx); err != nil {
		return nil, err
	}
	s := l.store
	s.mu.Lock()
	e := s.tocs[l.DiffID]
	if e == nil {
		e = &tocEntry{}
		s.tocs[l.DiffID] = e
	}
	s.mu.Unlock()
	e.once.Do(func() {
		data, err := os.ReadFile(s.layerPath(l.DiffID, "toc"))
		if err == nil {
			e.toc = &layer.TOC{}
			err = e.toc.Decode(bytes.NewReader(data))
		}
		if err != nil {
			e.err = fmt.Errorf("reading the table of contents of layer %s: %w", l.DiffID, err)
		}
	})
	return e.toc, e.err
}

// Tree returns the folder that overlayfs takes as a lower layer, making it from the other forms if need be.
func (l *Layer) Tree(ctx context.Context) (string, error) {
	if err := l.ensure(ctx); err != nil {
		return "", err
	}
	s := l.store
	dir := s.layerPath(l.DiffID, "fs")
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	unlock := s.lockLayer(l.DiffID)
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	t, err := l.TOC(ctx)
	if err != nil {
		return "", err
	}
	tmp, err := s.Temp("tree")
	if err != nil {
		return "", err
	}
	f, err := os.Open(s.layerPath(l.DiffID, "tar"))
	if err != nil {
		return "", fmt.Errorf("laying out layer %s: %w", l.DiffID, err)
	}
	defer f.Close()
	out := filepath.Join(tmp, "fs")
	if err := os.Mkdir(out, 0o755); err != nil {
		return "", fmt.Errorf("laying out layer %s: %w", l.DiffID, err)
	}
	if err := layer.Extract(ctx, t, f, out, layer.ExtractOptions{}); err != nil {
		return "", fmt.Errorf("laying out layer %s: %w%s", l.DiffID, err, hint(err))
	}
	err = rename(out, dir)
	if err == nil {
		_, err = s.db.Exec("UPDATE layers SET disk = ? WHERE diff_id = ?", 2*diskSize(t), l.DiffID) // both forms
	}
	if err != nil {
		return "", fmt.Errorf("laying out layer %s: %w", l.DiffID, err)
	}
	return dir, os.RemoveAll(tmp)
}

// source is a layer as package layer reads it, with the context of the one who asked.
type source struct {
	ctx context.Context
	l   *Layer
	// all, if not nil, brings the whole chain's tables of contents at once: who reads one reads them all.
	all func() error
}

func (s source) TOC() (*layer.TOC, error) {
	if s.all != nil {
		if err := s.all(); err != nil {
			return nil, err
		}
	}
	return s.l.TOC(s.ctx)
}

func (s source) Open(e *layer.Entry) (io.ReadCloser, error) {
	t, err := s.l.TOC(s.ctx)
	if err != nil {
		return nil, err
	}
	if tar := s.l.store.layerPath(s.l.DiffID, "tar"); exists(tar) {
		return layer.TarSource(tar, t).Open(e)
	}
	return layer.TreeSource(s.l.store.layerPath(s.l.DiffID, "fs"), t).Open(e)
}

// Stack returns the merged state that a chain of layers gives, bottom first. Layers are read, and fetched,
// when the first path is looked up.
func (s *Store) Stack(ctx context.Context, chain []digest.Digest) (*layer.Stack, error) {
	layers, err := s.Layers(chain)
	if err != nil {
		return nil, err
	}
	all := sync.OnceValue(func() error {
		g, ctx := errgroup.WithContext(ctx)
		for _, l := range layers {
			g.Go(func() error {
				_, err := l.TOC(ctx)
				return err
			})
		}
		return g.Wait()
	})
	sources := make([]layer.Source, len(layers))
	for i, l := range layers {
		sources[i] = source{ctx, l, all}
	}
	return layer.NewStack(sources...), nil
}

// Layers looks up several layers.
func (s *Store) Layers(chain []digest.Digest) ([]*Layer, error) {
	layers := make([]*Layer, len(chain))
	for i, d := range chain {
		l, err := s.Layer(d)
		if err != nil {
			return nil, err
		}
		layers[i] = l
	}
	return layers, nil
}

// Source gives the layer to those who read its table of contents and its files.
func (l *Layer) Source(ctx context.Context) layer.Source { return source{ctx, l, nil} }

// WriteTar writes the layer's uncompressed tar, whose sha256 is the diffID, which it checks while it writes.
// A layer that came compressed is decompressed again, since its tar need not be the canonical one.
func (l *Layer) WriteTar(ctx context.Context, w io.Writer) error {
	if err := l.ensure(ctx); err != nil {
		return err
	}
	verifier := l.DiffID.Verifier()
	w = io.MultiWriter(w, verifier)
	if err := l.writeTar(ctx, w); err != nil {
		return fmt.Errorf("reading layer %s: %w", l.DiffID, err)
	}
	if !verifier.Verified() {
		return fmt.Errorf("reading layer %s: its files in %s were changed by somebody else; remove the image and build or pull it again", l.DiffID, l.store.layerPath(l.DiffID))
	}
	return nil
}

func (l *Layer) writeTar(ctx context.Context, w io.Writer) error {
	s := l.store
	if f, err := os.Open(s.layerPath(l.DiffID, "tar")); err == nil {
		defer f.Close()
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, make([]byte, 1<<20))
		return err
	}
	blobs, err := s.Blobs(l.DiffID)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		if b.Repository != "" || !exists(s.blobPath(b.Digest)) {
			continue
		}
		r, err := s.OpenBlob(b.Digest)
		if err != nil {
			return err
		}
		defer r.Close()
		z, err := layer.Decompress(r)
		if err != nil {
			return err
		}
		defer z.Close()
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, z, make([]byte, 1<<20))
		return err
	}
	t, err := l.TOC(ctx)
	if err != nil {
		return err
	}
	return layer.WriteTar(ctx, w, t, layer.TreeSource(s.layerPath(l.DiffID, "fs"), t).Open)
}

// lockLayer keeps this process's other goroutines from making the same layer at the same time. Another
// process may: both end with the same layer, and the later rename finds it there.
func (s *Store) lockLayer(diffID digest.Digest) (unlock func()) {
	s.mu.Lock()
	m := s.fetches[diffID]
	if m == nil {
		m = &sync.Mutex{}
		s.fetches[diffID] = m
	}
	s.mu.Unlock()
	m.Lock()
	return m.Unlock
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Trees returns the folders that overlayfs takes as lower layers for a chain, top first as it wants them.
func (s *Store) Trees(ctx context.Context, chain []digest.Digest) ([]string, error) {
	layers, err := s.Layers(chain)
	if err != nil {
		return nil, err
	}
	dirs := make([]string, len(layers))
	g, ctx := errgroup.WithContext(ctx)
	for i, l := range layers {
		g.Go(func() (err error) {
			dirs[len(dirs)-1-i], err = l.Tree(ctx)
			return err
		})
	}
	return dirs, g.Wait()
}
