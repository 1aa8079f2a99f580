package layers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/erofs"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/seal"
)

// A layer whose tar is here is mounted by an EROFS index of it where the machine can do that, instead of being laid
// out as a tree: "erofs" in its folder. The index of a layer and those below it, as one, is "merged-" with the
// beginning of their chainID, in the folder of the topmost. An index is made of the tables of contents in a few
// milliseconds, so one that is not as it was sealed is not verified: it is made again.

const (
	formIndex    = "erofs"
	mergedPrefix = "merged-"
)

// Forms says in which forms layers are mounted.
type Forms string

// The values of Forms. A layer that has no tar here, as that of a RUN, is a tree in all of them.
const (
	// AutoForms is an index where the machine can mount one, merged where many layers come together, and a tree
	// otherwise.
	AutoForms Forms = "auto"
	// TreeForms are trees only.
	TreeForms Forms = "tree"
	// IndexForms is an index for each layer, where the machine can mount one.
	IndexForms Forms = "erofs"
	// MergedForms is one index for as many layers as can be.
	MergedForms Forms = "merged"
)

// ParseForms parses a value of Forms; "" is AutoForms.
func ParseForms(text string) (Forms, error) {
	switch f := Forms(text); f {
	case "":
		return AutoForms, nil
	case AutoForms, TreeForms, IndexForms, MergedForms:
		return f, nil
	}
	return "", fmt.Errorf("%q is none of %s, %s, %s and %s", text, AutoForms, TreeForms, IndexForms, MergedForms)
}

// WithForms returns the same layers for somebody who has them mounted in these forms.
func (ls *Layers) WithForms(f Forms) *Layers {
	view := *ls
	view.forms = f
	return &view
}

// mergeFrom is from how many layers on they are merged.
func (ls *Layers) mergeFrom() int {
	switch ls.forms {
	case MergedForms:
		return 2
	case IndexForms, TreeForms:
		return 1 << 30
	}
	return 8
}

// errNoIndex says that there is no index of a layer: what it holds cannot be said by one, or none can be written.
var errNoIndex = errors.New("the layer has no index")

// KeepsTars says that layers are mounted by indexes of their tars, so that those need not become trees.
func (ls *Layers) KeepsTars() bool {
	return ls.forms != TreeForms && ls.memory.canMount(func() error {
		dir, err := ls.session.Temp("erofs")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		return erofs.Mountable(dir)
	})
}

// indexable says whether a layer, which is fetched if it is not here, can be mounted by an index. Its tar is as it
// was sealed then.
func (l *Layer) indexable(ctx context.Context) (bool, error) {
	if l.layers.forms == TreeForms || l.layers.memory.hasNoIndex(l.DiffID) {
		return false, nil
	}
	if err := l.ensure(ctx); err != nil {
		return false, err
	}
	if !l.tar().Here() || !l.layers.canMount() {
		return false, nil
	}
	return l.trust(ctx, formTar)
}

// canMount says whether an index can be mounted. Where nothing can be written, the first that is there tells
// (mountable).
func (ls *Layers) canMount() bool { return ls.session.ReadOnly() || ls.KeepsTars() }

// mountable says whether an index that is there as it was sealed can be mounted, of a store that cannot be written to.
func (ls *Layers) mountable(lower *Lower) bool {
	return ls.memory.canMount(func() error {
		index, err := os.Open(lower.Index)
		if err != nil {
			return err
		}
		defer index.Close()
		mount, err := lower.Open(index)
		if err != nil {
			return err
		}
		return unix.Close(mount)
	})
}

// index is the layer by the index of its tar, which is trusted; errNoIndex where there can be none.
func (l *Layer) index(ctx context.Context) (Lower, error) {
	lower, err := l.layers.indexed(ctx, []*Layer{l})
	if errors.Is(err, errNoIndex) {
		l.layers.memory.setNoIndex(l.DiffID)
	}
	return lower, err
}

// merge is several layers, the lowest first, by one index of their tars, which are trusted; errNoIndex where there
// can be none.
func (ls *Layers) merge(ctx context.Context, layers []*Layer) (Lower, error) {
	return ls.indexed(ctx, layers)
}

// indexForm is the name of the index of layers with these devices. It tells which they are, since what was one tar may
// come back as a delta, whose index has other places.
func indexForm(layers []*Layer, on []device) string {
	if len(on) == 1 {
		return formIndex
	}
	h := digest.SHA256.Digester()
	for _, l := range layers {
		fmt.Fprintln(h.Hash(), l.DiffID)
	}
	for _, d := range on {
		if d.delta != nil {
			h.Hash().Write(d.delta.Encode(d.DiffID))
		}
	}
	return mergedPrefix + h.Digest().Encoded()[:32]
}

// indexed is layers by an index in the folder of the topmost, which is made if it is not there as it was sealed.
func (ls *Layers) indexed(ctx context.Context, layers []*Layer) (Lower, error) {
	top := layers[len(layers)-1].DiffID
	on, err := ls.devicesOf(layers)
	if err != nil {
		return Lower{}, fmt.Errorf("indexing layer %s: %w", top, err)
	}
	name := indexForm(layers, on)
	lower := Lower{Index: ls.Path(top, name), Layers: len(layers)}
	for _, d := range on {
		lower.Tars = append(lower.Tars, d.path)
	}
	if ok, err := ls.indexHere(&lower, top, name); ok && ls.session.ReadOnly() && !ls.mountable(&lower) {
		return lower, errNoIndex
	} else if ok || err != nil {
		return lower, err
	}
	if ls.session.ReadOnly() {
		return lower, errNoIndex
	}
	c, err := ls.contentsOf(ctx, layers, on) // which may take the lock, to mend a table of contents
	if err != nil {
		return lower, err
	}
	unlock := ls.memory.lock(top)
	defer unlock()
	if ok, err := ls.indexHere(&lower, top, name); ok || err != nil {
		return lower, err
	}
	err = ls.makeIndex(c, top, name)
	switch {
	case errors.Is(err, erofs.ErrNotSaid):
		return lower, errNoIndex
	case err != nil:
		return lower, fmt.Errorf("indexing layer %s: %w", top, ls.session.Explain(err))
	}
	return lower, nil
}

// indexHere says whether an index is there as it was sealed. Another process may have removed it since this one looked.
func (ls *Layers) indexHere(lower *Lower, top digest.Digest, name string) (bool, error) {
	ok, err := ls.asSealed(top, name)
	return ok && disk.Exists(lower.Index), err
}

func (ls *Layers) makeIndex(c *indexContents, top digest.Digest, name string) error {
	dir, err := ls.session.Temp("index")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := c.write(f); err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return ls.placeIndex(f.Name(), top, name, st.Size())
}

// placeIndex gives an index its name and its seal, while nobody else does that or removes the layer.
func (ls *Layers) placeIndex(made string, top digest.Digest, name string, size int64) error {
	final := ls.Path(top, name)
	if err := ls.session.MarkUnsynced(final); err != nil {
		return err
	}
	err := ls.db.Tx(func(tx *sql.Tx) error {
		if !disk.Exists(final) {
			if _, err := tx.Exec("UPDATE layers SET disk = disk + ?, used = max(used, ?) WHERE diff_id = ?", size, db.Now(), top); err != nil {
				return err
			}
		}
		if err := os.Rename(made, final); err != nil {
			return err
		}
		if err := ls.removeOldMerged(tx, top, name); err != nil {
			return err
		}
		if sum, err := ls.sealOf(ls.Path(top), top, name); err == nil { // after the rename, which moves its ctime
			_ = ls.putSeals(top, seal.Seals{name: sum}) // without it, the next process makes the index again
		}
		return nil
	})
	if err == nil {
		ls.memory.trust(top, name)
	}
	return err
}

// maxMerged is how many merged indexes stay in a layer's folder: those of the chains below it that were mounted last.
const maxMerged = 4

// removeOldMerged removes merged indexes of a layer but those that were made last. What is mounted stays as it is.
func (ls *Layers) removeOldMerged(tx *sql.Tx, top digest.Digest, name string) error {
	if !strings.HasPrefix(name, mergedPrefix) {
		return nil
	}
	paths, err := filepath.Glob(ls.Path(top, mergedPrefix+"*"))
	if err != nil || len(paths) <= maxMerged {
		return err
	}
	made := map[string]os.FileInfo{}
	for _, path := range paths {
		if st, err := os.Lstat(path); err == nil {
			made[path] = st
		}
	}
	old := slices.SortedFunc(maps.Keys(made), func(a, b string) int { return made[b].ModTime().Compare(made[a].ModTime()) })
	for _, path := range old[min(maxMerged, len(old)):] {
		if err := ls.takeIndex(tx, top, path, made[path].Size()); err != nil {
			return err
		}
	}
	return nil
}

// takeIndex removes an index.
func (ls *Layers) takeIndex(tx *sql.Tx, diffID digest.Digest, path string, size int64) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	_, err := tx.Exec("UPDATE layers SET disk = max(0, disk - ?) WHERE diff_id = ?", size, diffID)
	return err
}

// RemoveIndex removes an index of a layer, which CheckIndexes has found damaged.
func (ls *Layers) RemoveIndex(diffID digest.Digest, path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	return ls.db.Tx(func(tx *sql.Tx) error { return ls.takeIndex(tx, diffID, path, st.Size()) })
}

// indexContents are what an index is made of.
type indexContents struct {
	nodes   iter.Seq[erofs.Node]
	devices []erofs.Device
	on      []device
}

// write writes the index.
func (c *indexContents) write(w io.Writer) error {
	return erofs.Write(w, func(yield func(erofs.Node) bool) {
		for n := range c.nodes {
			if n.Type == layer.File && n.Size > 0 && c.on[n.Device].delta != nil {
				inBase, from, rest := c.on[n.Device].delta.Find(n.Offset)
				if n.Offset = from; inBase {
					n.Device++
				}
				if rest < n.Size { // its contents are not in one piece
					n.Offset = -1
				}
			}
			if !yield(n) {
				return
			}
		}
	}, c.devices)
}

// device is a file that an index has the contents of files in: a tar, what a tar has more than its base, or that base.
type device struct {
	erofs.Device
	path  string
	delta *layer.TarDelta // of the tar that is not all in this file; its base comes next
}

// devicesOf are the devices of an index of layers, the lowest first.
func (ls *Layers) devicesOf(layers []*Layer) ([]device, error) {
	var all []device
	for _, l := range layers {
		d, err := ls.delta(l.DiffID)
		if err != nil {
			return nil, err
		}
		if d != nil {
			all = append(all,
				device{erofs.Device{DiffID: l.DiffID, Size: d.OwnSize()}, ls.Path(l.DiffID, DeltaFile), d},
				device{erofs.Device{DiffID: d.Base, Size: d.BaseSize}, ls.Path(d.Base, formTar), nil})
			continue
		}
		path := ls.Path(l.DiffID, formTar)
		st, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		all = append(all, device{erofs.Device{DiffID: l.DiffID, Size: st.Size()}, path, nil})
	}
	return all, nil
}

// contentsOf are what the index of layers, the lowest first, on these devices is made of.
func (ls *Layers) contentsOf(ctx context.Context, layers []*Layer, on []device) (*indexContents, error) {
	c := &indexContents{on: on}
	var first []int // device of each layer
	for i, d := range on {
		c.devices = append(c.devices, d.Device)
		if i == 0 || on[i-1].delta == nil {
			first = append(first, i)
		}
	}
	if len(layers) == 1 {
		t, err := layers[0].Table(ctx)
		if err != nil {
			return nil, err
		}
		c.nodes = erofs.Of(t)
		return c, nil
	}
	sources := make([]layer.Source, len(layers))
	for i, l := range layers {
		sources[i] = source{l}
	}
	placed, err := layer.NewStack(sources...).Placed(ctx)
	if err != nil {
		return nil, err
	}
	c.nodes = func(yield func(erofs.Node) bool) {
		for p := range placed {
			n := erofs.Node{Entry: p.Entry, Offset: p.Offset}
			if p.Layer >= 0 {
				n.Device = first[p.Layer]
			}
			if !yield(n) {
				return
			}
		}
	}
	return c, nil
}

// CheckIndexes compares the indexes in a layer's folder with what they are made of, and returns those that are
// damaged, by their paths. What an index is made of is sound, or the index counts as damaged.
func (ls *Layers) CheckIndexes(ctx context.Context, diffID digest.Digest) (damaged []string, err error) {
	names, err := os.ReadDir(ls.Path(diffID))
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if n.Name() != formIndex && !strings.HasPrefix(n.Name(), mergedPrefix) {
			continue
		}
		path := ls.Path(diffID, n.Name())
		if ok, err := ls.indexIsSound(ctx, path); err != nil {
			return nil, err
		} else if !ok {
			damaged = append(damaged, path)
		}
	}
	return damaged, nil
}

func (ls *Layers) indexIsSound(ctx context.Context, path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	diffIDs, err := erofs.Devices(f)
	if err != nil || len(diffIDs) == 0 {
		return false, nil
	}
	layers, err := ls.indexedBy(diffIDs)
	var unknown *UnavailableError
	if errors.As(err, &unknown) {
		return true, nil // it is of no use without that layer, and of use again with it
	}
	if err != nil {
		return false, err
	}
	for _, l := range layers {
		if !l.Present() || !l.tar().Here() {
			return true, nil
		}
	}
	on, err := ls.devicesOf(layers)
	if err != nil {
		return false, err
	}
	c, err := ls.contentsOf(ctx, layers, on)
	if err != nil {
		return false, err
	}
	same := &comparison{with: f}
	if err := c.write(same); err != nil {
		return false, nil
	}
	return same.atEnd(), nil
}

// indexedBy are the layers of an index with devices of these diffIDs: the bases of deltas among them are left out.
func (ls *Layers) indexedBy(diffIDs []digest.Digest) ([]*Layer, error) {
	var chain []digest.Digest
	base := digest.Digest("")
	for _, diffID := range diffIDs {
		if diffID == base {
			base = ""
			continue
		}
		chain, base = append(chain, diffID), ""
		if d, err := ls.delta(diffID); err == nil && d != nil {
			base = d.Base
		}
	}
	return ls.Chain(chain)
}

var errDiffers = errors.New("other bytes")

// comparison compares what is written to it with a file.
type comparison struct {
	with *os.File
	at   int64
}

func (c *comparison) Write(p []byte) (int, error) {
	have := make([]byte, len(p))
	if _, err := c.with.ReadAt(have, c.at); err != nil || string(have) != string(p) {
		return 0, errDiffers
	}
	c.at += int64(len(p))
	return len(p), nil
}

// atEnd says that the file has nothing more.
func (c *comparison) atEnd() bool {
	st, err := c.with.Stat()
	return err == nil && st.Size() == c.at
}
