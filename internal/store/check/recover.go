// Package check compares what is in a store with what the store promises, and sets aside what is not as
// it should be. docs/store.md says what is promised.
package check

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store/content"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/kept"
	"github.com/strata-build/strata/internal/store/layers"
	"github.com/strata-build/strata/internal/store/session"
)

// Checker looks at a store.
type Checker struct {
	root    string
	db      *db.DB
	session *session.Session
	content *content.Content
	layers  *layers.Layers
	kept    *kept.Kept
}

// New makes what looks at the store in the folder root.
func New(root string, d *db.DB, se *session.Session, c *content.Content, ls *layers.Layers, k *kept.Kept) *Checker {
	return &Checker{root: root, db: d, session: se, content: c, layers: ls, kept: k}
}

// Lost is what was not on the disk when the machine stopped, and was set aside.
type Lost struct {
	Images int // that no command had finished, with their names
	Layers int // of which a form, or all, was incomplete
	Blobs  int
	Other  int // cache mounts, downloads, copies of contexts: what only saves time
}

// String is what a person is told; "" where nothing was lost.
func (l *Lost) String() string {
	if l == nil || *l == (Lost{}) {
		return ""
	}
	var parts []string
	for _, p := range []struct {
		n    int
		name string
	}{{l.Images, "image"}, {l.Layers, "layer"}, {l.Blobs, "blob"}, {l.Other, "other thing"}} {
		switch {
		case p.n == 1:
			parts = append(parts, "1 "+p.name)
		case p.n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", p.n, p.name))
		}
	}
	return "the machine stopped before all of the store was on its disk; set aside, to be made again when needed: " + strings.Join(parts, ", ")
}

// Recover looks, once after each start of the machine, at what was not known to be on the disk when it
// stopped: it reads all of that, and sets aside what is incomplete. It also drops the rows of layers and
// blobs whose files are gone. Others that open the store meanwhile wait. Nil if there was nothing to do.
func (c *Checker) Recover(ctx context.Context) (*Lost, error) {
	if !c.session.Restarted() {
		return nil, nil
	}
	c.session.MakeRoom()
	release, err := c.session.Lock(ctx, "recover")
	if err != nil {
		return nil, err
	}
	defer release()
	if !c.session.Restarted() {
		return nil, nil
	}
	paths, err := c.session.Interrupted()
	if err != nil {
		return nil, err
	}
	r := &recovery{Checker: c, layers: map[digest.Digest]bool{}}
	for _, path := range paths {
		if err := r.verify(ctx, path); err != nil {
			return nil, fmt.Errorf("verifying %s: %w", path, err)
		}
	}
	if err := r.dropRows(); err != nil {
		return nil, err
	}
	r.lost.Layers = len(r.layers)
	if err := r.dropImages(); err != nil {
		return nil, err
	}
	return &r.lost, c.session.Recovered()
}

// recovery is one run of Recover.
type recovery struct {
	*Checker
	lost   Lost
	layers map[digest.Digest]bool // that were set aside, or of which a form was
}

// verify looks at what was marked as not on the disk. What has a digest is compared with it; the rest
// goes.
func (r *recovery) verify(ctx context.Context, path string) error {
	if !disk.Exists(path) {
		return nil
	}
	rel, err := filepath.Rel(r.root, path)
	if err != nil {
		return err
	}
	parts := strings.Split(rel, "/")
	name := digest.NewDigestFromEncoded(digest.SHA256, parts[len(parts)-1])
	switch {
	case parts[0] == "layers" && len(parts) == 2 && name.Validate() == nil:
		damage, err := r.Checker.layers.Verify(ctx, name)
		return r.setAside(ctx, damage, err)
	case parts[0] == "layers" && len(parts) == 3 && parts[2] == "fs":
		damage, err := r.Checker.layers.VerifyTree(ctx, digest.NewDigestFromEncoded(digest.SHA256, parts[1]))
		return r.setAside(ctx, damage, err)
	case parts[0] == "blobs" && name.Validate() == nil:
		damage, err := r.content.Verify(ctx, name)
		if damage == nil || err != nil {
			return err
		}
		r.lost.Blobs++
	case parts[0] != "tocs" && parts[0] != "blobs":
		r.lost.Other++
	}
	return r.remove(path)
}

func (r *recovery) setAside(ctx context.Context, damage *layers.Damage, err error) error {
	if damage == nil || err != nil {
		return err
	}
	r.layers[damage.DiffID] = true
	return r.Checker.layers.SetAside(ctx, damage)
}

func (c *Checker) remove(path string) error {
	trash, err := c.session.Trash()
	if err != nil {
		return err
	}
	return errors.Join(trash.Take(path), trash.Close())
}

// dropRows drops what meta.db says of files that are gone: the names of files and the rows that tell of
// them reach the disk by two ways, and neither waits for the other.
func (r *recovery) dropRows() error {
	return r.db.Tx(func(tx *sql.Tx) error {
		blobs, err := db.Column[digest.Digest](tx.Query("SELECT digest FROM blobs WHERE repository = ''"))
		if err != nil {
			return err
		}
		for _, d := range blobs {
			if disk.Exists(r.content.BlobPath(d)) {
				continue
			}
			if _, err := tx.Exec("DELETE FROM blobs WHERE digest = ? AND repository = ''", d); err != nil {
				return err
			}
		}
		known, err := db.Column[digest.Digest](tx.Query("SELECT diff_id FROM layers"))
		if err != nil {
			return err
		}
		for _, d := range known {
			gone, err := r.Checker.layers.ForgetMissing(tx, d)
			if err != nil {
				return err
			}
			if gone {
				r.layers[d] = true
			}
		}
		return nil
	})
}

// dropImages takes away the images of which a layer was lost: the command that made them did not end.
func (r *recovery) dropImages() error {
	if len(r.layers) == 0 {
		return nil
	}
	rows, err := r.db.Query("SELECT id, data FROM configs WHERE kind = 'image'")
	all, err := db.Rows(rows, err, scanChain)
	if err != nil {
		return err
	}
	for _, c := range all {
		lacks, err := r.lacks(c)
		if err == nil && r.layers[lacks] {
			r.lost.Images++
			err = r.dropConfig(c.id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func scanChain(rows *sql.Rows) (c chain, err error) {
	var data []byte
	if err = rows.Scan(&c.id, &data); err == nil {
		c.diffIDs, err = image.DiffIDs(data)
	}
	return c, err
}
