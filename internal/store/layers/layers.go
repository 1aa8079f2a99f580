// Package layers keeps layers: what is known of each, the forms in which it is here, and getting those that are not.
package layers

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/content"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/session"
)

// Fetcher brings the compressed layer that desc describes into the store, from the repository repo,
// and may unpack it as the layer diffID while it comes; without a diffID only the blob is wanted.
type Fetcher interface {
	Fetch(ctx context.Context, repo string, desc ocispec.Descriptor, diffID digest.Digest) error
}

// Layers are the layers of a store: the tables layers and derived, and the folders layers/ and tocs/.
type Layers struct {
	db      *db.DB
	root    string
	content *content.Content
	session *session.Session
	memory  *memory
	limits  layer.Limits // on what is unpacked
	fetcher Fetcher      // nil where layers that are not here cannot be had
	forms   Forms        // "" is AutoForms
}

// New opens the layers of the store in the folder root. Layers that are known but not here cannot be had from it: see
// WithFetcher.
func New(root string, d *db.DB, c *content.Content, se *session.Session) *Layers {
	return &Layers{db: d, root: root, content: c, session: se, memory: newMemory()}
}

// WithFetcher returns the same layers for somebody who gets those that are not here from f.
func (ls *Layers) WithFetcher(f Fetcher) *Layers {
	view := *ls
	view.fetcher = f
	return &view
}

// WithLimits returns the same layers for somebody with other limits on what is unpacked; without, they are the
// defaults.
func (ls *Layers) WithLimits(l layer.Limits) *Layers {
	view := *ls
	view.limits = l
	return &view
}

// Limits are those on what is unpacked of what comes from outside.
func (ls *Layers) Limits() layer.Limits { return ls.limits }

// Folders are the folder of the layers that are here, and that of the tables of contents of others.
func (ls *Layers) Folders() (layers, tocs string) {
	return filepath.Join(ls.root, "layers"), filepath.Join(ls.root, "tocs")
}

// Path is where a layer lies if it is here; elem is a part of it: "toc", "fs" or "tar".
func (ls *Layers) Path(diffID digest.Digest, elem ...string) string {
	return filepath.Join(append([]string{ls.root, "layers", diffID.Encoded()}, elem...)...)
}

// Layer is a layer that the store knows, whether or not its bytes are here.
type Layer struct {
	DiffID digest.Digest
	// ContentID is the digest of the TOC without times, "" while nothing but the diffID is known.
	ContentID digest.Digest
	// Size is the sum of the sizes of its files in bytes, as Docker shows it; -1 while it is not known.
	Size int64
	// Disk is what it takes on this disk in bytes, the compressed blob not counted; 0 if it is not here.
	Disk int64

	layers *Layers
}

// Layer returns what is known of a layer; db.ErrNotFound if nothing is.
func (ls *Layers) Layer(diffID digest.Digest) (*Layer, error) {
	l := &Layer{DiffID: diffID, layers: ls}
	err := ls.db.QueryRow("SELECT content_id, size, disk FROM layers WHERE diff_id = ?", diffID).Scan(&l.ContentID, &l.Size, &l.Disk)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("layer %s: %w; build, pull or import its image again", diffID, db.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("looking up layer %s: %w", diffID, err)
	}
	return l, nil
}

// Present says whether the layer's bytes are on this disk, as a tree or a tar.
func (l *Layer) Present() bool { return l.layers.IsPresent(l.DiffID) }

// IsPresent says whether a layer's bytes are on this disk, as a tree or a tar, without asking what is known of it.
func (ls *Layers) IsPresent(diffID digest.Digest) bool { return disk.Exists(ls.Path(diffID, formTOC)) }

// inFolder says whether anything of the layer is on this disk: one without a table of contents is damaged.
func (l *Layer) inFolder() bool { return disk.Exists(l.layers.Path(l.DiffID)) }

// CanBeHad says whether a layer is here, or known to be elsewhere. One of which all is gone is known no more.
func (ls *Layers) CanBeHad(diffID digest.Digest) (bool, error) {
	if disk.Exists(ls.Path(diffID)) {
		return true, nil
	}
	blobs, err := ls.content.Blobs(diffID)
	if err == nil && len(blobs) == 0 {
		err = ls.forget(diffID)
	}
	return len(blobs) > 0, err
}

// Chain looks up several layers, at once. One of which nothing is known is an *UnavailableError.
func (ls *Layers) Chain(chain []digest.Digest) ([]*Layer, error) {
	if len(chain) == 1 {
		l, err := ls.Layer(chain[0])
		if errors.Is(err, db.ErrNotFound) { // forgotten by whoever found that all of it is gone, maybe this moment
			err = &UnavailableError{chain[0], ErrNowhere}
		}
		return []*Layer{l}, err
	}
	known, err := ls.known(chain)
	if err != nil {
		return nil, fmt.Errorf("looking up layers: %w", err)
	}
	layers := make([]*Layer, len(chain))
	for i, d := range chain {
		if layers[i] = known[d]; layers[i] == nil {
			return nil, &UnavailableError{d, ErrNowhere} // forgotten, as above
		}
	}
	return layers, nil
}

// known are those of some layers of which the store knows.
func (ls *Layers) known(chain []digest.Digest) (map[digest.Digest]*Layer, error) {
	distinct := slices.Compact(slices.Sorted(slices.Values(chain)))
	list, err := json.Marshal(distinct)
	if err != nil {
		return nil, err
	}
	rows, err := ls.db.Query("SELECT diff_id, content_id, size, disk FROM layers WHERE diff_id IN (SELECT value FROM json_each(?))", string(list))
	layers, err := db.Rows(rows, err, func(rows *sql.Rows) (*Layer, error) {
		l := &Layer{layers: ls}
		return l, rows.Scan(&l.DiffID, &l.ContentID, &l.Size, &l.Disk)
	})
	known := make(map[digest.Digest]*Layer, len(layers))
	for _, l := range layers {
		known[l.DiffID] = l
	}
	return known, err
}
