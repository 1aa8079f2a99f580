// Package content keeps blobs, the compressed forms of layers: what is known of each, and the bytes
// of those that are here.
package content

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/session"
)

// Blob is a compressed form of a layer: one that is here, or one that a repository has.
type Blob struct {
	Digest    digest.Digest
	Size      int64 // bytes, compressed
	MediaType string
	// Repository has the blob ("docker.io/library/python"); "" says that it is in this store.
	Repository string
	// Noted is when it was last noted to be there.
	Noted time.Time
}

// Descriptor is the blob as manifests name it.
func (b Blob) Descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: b.MediaType, Digest: b.Digest, Size: b.Size}
}

// Content is the blobs of a store: the table blobs and the folder blobs/.
type Content struct {
	db      *db.DB
	dir     string
	session *session.Session

	verified sync.Map // digests of blobs that this process has compared with their bytes
}

// New opens the blobs of the store in the folder root.
func New(root string, d *db.DB, se *session.Session) *Content {
	return &Content{db: d, dir: filepath.Join(root, "blobs", "sha256"), session: se}
}

// Folder is where the blobs that are here lie, each named by the digits of its digest.
func (c *Content) Folder() string { return c.dir }

// BlobPath is where a blob lies if it is here.
func (c *Content) BlobPath(d digest.Digest) string { return filepath.Join(c.dir, d.Encoded()) }

// PutBlob is AddBlob as a part of a transaction.
func PutBlob(tx db.Queryer, diffID digest.Digest, b Blob) error {
	_, err := tx.Exec(`INSERT INTO blobs (digest, repository, diff_id, media_type, size, used) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (digest, repository) DO UPDATE SET diff_id = excluded.diff_id, used = excluded.used`,
		b.Digest, b.Repository, diffID, b.MediaType, b.Size, db.Now())
	return err
}

// AddBlob notes that a layer's compressed form is in the store (written by Ingest) or in a repository.
func (c *Content) AddBlob(diffID digest.Digest, b Blob) error {
	if err := PutBlob(c.db, diffID, b); err != nil {
		return fmt.Errorf("noting blob %s: %w", b.Digest, err)
	}
	return nil
}

// Blobs returns the compressed forms of a layer that are known, those in the store first.
func (c *Content) Blobs(diffID digest.Digest) ([]Blob, error) {
	rows, err := c.db.Query("SELECT digest, size, media_type, repository, used FROM blobs WHERE diff_id = ? ORDER BY repository, used DESC", diffID)
	blobs, err := db.Rows(rows, err, func(rows *sql.Rows) (b Blob, err error) {
		var used int64
		err = rows.Scan(&b.Digest, &b.Size, &b.MediaType, &b.Repository, &used)
		b.Noted = time.UnixMilli(used)
		return b, err
	})
	if err != nil {
		return nil, fmt.Errorf("looking up the blobs of layer %s: %w", diffID, err)
	}
	return blobs, nil
}

// DiffIDOf returns the layer whose compressed form is known to be the blob; "" if it is not known.
func (c *Content) DiffIDOf(blob digest.Digest) (digest.Digest, error) {
	var d digest.Digest
	err := c.db.QueryRow("SELECT diff_id FROM blobs WHERE digest = ? AND diff_id != '' LIMIT 1", blob).Scan(&d)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return d, err
}

// HasBlob says whether the blob is on this disk.
func (c *Content) HasBlob(d digest.Digest) bool {
	return d.Validate() == nil && d.Algorithm() == digest.SHA256 && disk.Exists(c.BlobPath(d))
}

// OpenBlob opens a blob that is on this disk; db.ErrNotFound if it is not.
func (c *Content) OpenBlob(d digest.Digest) (*os.File, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("opening blob %q: %w", d, err)
	}
	f, err := os.Open(c.BlobPath(d))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("blob %s: %w", d, db.ErrNotFound)
	}
	return f, err
}

// place gives the file at path, whose bytes are all written, the name of a blob.
func (c *Content) place(path string, d digest.Digest) error {
	err := c.session.MarkUnsynced(c.BlobPath(d))
	if err == nil {
		err = os.Rename(path, c.BlobPath(d))
	}
	if err != nil {
		return fmt.Errorf("storing blob %s: %w", d, err)
	}
	return nil
}

// PlaceBlob takes the file at path, which is in a folder that Temp made, into the store as a compressed form of
// a layer. The caller knows its digest from having written it.
func (c *Content) PlaceBlob(path string, diffID digest.Digest, b Blob) error {
	b.Repository = ""
	if err := c.place(path, b.Digest); err != nil {
		return err
	}
	c.verified.Store(b.Digest, true)
	return c.AddBlob(diffID, b)
}
