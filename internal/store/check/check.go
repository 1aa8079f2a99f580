package check

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/content"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/layers"
)

// Options says how a store is checked.
type Options struct {
	// ReadData compares all bytes with their digests. Without it, what is missing or cut short is found.
	ReadData bool
	// Repair sets aside what is damaged, so that it is made again when it is needed.
	Repair bool
}

// Problem is something that is not as the store promises.
type Problem struct {
	Kind   string        `json:"kind"` // "database", "image", "name", "layer", "blob", "record", or what kept.Damage says
	Digest digest.Digest `json:"digest,omitempty"`
	Name   string        `json:"name,omitempty"`
	// Wrong is what was found.
	Wrong string `json:"wrong"`
	// Needed are the images, by name or ID, that have it.
	Needed []string `json:"needed,omitempty"`
	// Again is how it can be had again.
	Again string `json:"again"`
	// Repaired says that it was set aside.
	Repaired bool `json:"repaired"`
}

// Report is what a check found.
type Report struct {
	Images   int       `json:"images"`
	Layers   int       `json:"layers"` // that are here
	Blobs    int       `json:"blobs"`  // that are here
	Records  int       `json:"records"`
	Problems []Problem `json:"problems"`
}

// Sound says that nothing is wrong, or nothing any more.
func (r *Report) Sound() bool {
	return !slices.ContainsFunc(r.Problems, func(p Problem) bool { return !p.Repaired })
}

// Check compares a store with what it promises: meta.db, the digests of images, what names mean, that the layers of
// images can be had, layers and blobs that are here, records, and what is kept to save time.
func (c *Checker) Check(ctx context.Context, o Options) (*Report, error) {
	k := &checking{Checker: c, ctx: ctx, options: o, report: &Report{Problems: []Problem{}}, needed: map[digest.Digest][]string{}}
	for _, f := range []func() error{k.database, k.images, k.names, k.blobs, k.allLayers, k.complete, k.records, k.keptThings} {
		if err := f(); err != nil {
			return nil, fmt.Errorf("checking the store: %w", err)
		}
	}
	return k.report, nil
}

// checking is one run of Check.
type checking struct {
	*Checker
	ctx     context.Context
	options Options
	report  *Report
	chains  []chain
	needed  map[digest.Digest][]string // by layer, the images that have it
}

// found notes a problem. repair, where it is asked for, sets aside what is damaged; nil where that cannot be.
func (k *checking) found(p Problem, repair func() error) error {
	if k.options.Repair && repair != nil {
		if err := repair(); err != nil {
			return err
		}
		p.Repaired = true
	}
	k.report.Problems = append(k.report.Problems, p)
	return nil
}

func (k *checking) database() error {
	pragma := "PRAGMA quick_check"
	if k.options.ReadData {
		pragma = "PRAGMA integrity_check"
	}
	lines, err := db.Column[string](k.db.Query(pragma))
	if err != nil {
		return err
	}
	if slices.Equal(lines, []string{"ok"}) {
		return nil
	}
	return k.found(Problem{Kind: "database", Name: "meta.db", Wrong: strings.Join(lines, "; "),
		Again: "by moving the store away, and building or pulling again"}, nil)
}

// blobs looks at the blobs that are to be here.
func (k *checking) blobs() error {
	type row struct {
		content.Blob
		diffID digest.Digest
	}
	rows, err := k.db.Query("SELECT digest, size, diff_id FROM blobs WHERE repository = '' ORDER BY digest")
	all, err := db.Rows(rows, err, func(rows *sql.Rows) (r row, err error) {
		err = rows.Scan(&r.Digest, &r.Size, &r.diffID)
		return r, err
	})
	if err != nil {
		return err
	}
	for _, r := range all {
		wrong, err := k.blob(r.Blob)
		if err != nil {
			return err
		}
		if wrong == "" {
			k.report.Blobs++
			continue
		}
		err = k.found(Problem{Kind: "blob", Digest: r.Digest, Wrong: wrong, Needed: k.needed[r.diffID],
			Again: "from its layer, or from a registry"}, func() error { return k.content.Drop(r.Digest) })
		if err != nil {
			return err
		}
	}
	return nil
}

// blob says what is wrong with a blob.
func (k *checking) blob(b content.Blob) (wrong string, err error) {
	st, err := os.Stat(k.content.BlobPath(b.Digest))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "it is missing", nil
	case err != nil:
		return "", err
	case st.Size() != b.Size:
		return fmt.Sprintf("it has %d bytes and not %d", st.Size(), b.Size), nil
	case !k.options.ReadData:
		return "", nil
	}
	damage, err := k.content.Verify(k.ctx, b.Digest)
	if damage != nil {
		return damage.Error(), nil
	}
	return "", err
}

// indexes looks at the indexes by which a layer that is sound is mounted.
func (k *checking) indexes(d digest.Digest) error {
	damaged, err := k.layers.CheckIndexes(k.ctx, d)
	for _, path := range damaged {
		if err == nil {
			err = k.found(Problem{Kind: "layer", Digest: d, Wrong: "its index is not what its table of contents says", Needed: k.needed[d],
				Again: "by the next process that mounts it"}, func() error { return k.layers.RemoveIndex(d, path) })
		}
	}
	return err
}

func (k *checking) allLayers() error {
	known, err := db.Column[digest.Digest](k.db.Query("SELECT diff_id FROM layers ORDER BY added, diff_id"))
	if err != nil {
		return err
	}
	verify := k.layers.VerifyEntries
	if k.options.ReadData {
		verify = k.layers.Verify
	}
	for _, d := range known {
		if _, err := os.Lstat(k.layers.Path(d)); errors.Is(err, os.ErrNotExist) {
			continue // in a repository, or nowhere, which complete finds
		}
		damage, err := verify(k.ctx, d)
		if err != nil {
			return err
		}
		if damage == nil {
			k.report.Layers++
			if err := k.indexes(d); err != nil {
				return err
			}
			continue
		}
		err = k.found(Problem{Kind: "layer", Digest: d, Wrong: damage.Cause.Error(), Needed: k.needed[d], Again: k.again(damage)},
			func() error { return k.layers.SetAside(k.ctx, damage) })
		if err != nil {
			return err
		}
	}
	return nil
}

// again says how a layer can be had again.
func (k *checking) again(d *layers.Damage) string {
	if !d.Whole {
		return "from its other form, when it is needed"
	}
	blobs, err := k.content.Blobs(d.DiffID)
	if err == nil && len(blobs) > 0 {
		if blobs[0].Repository == "" {
			return "from its blob, when it is needed"
		}
		return "from " + familiar(blobs[0].Repository) + ", when it is needed"
	}
	return "by building or pulling the image"
}
