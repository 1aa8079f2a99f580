package images

import (
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Manifest is a manifest or image index as it came from, or went to, a registry.
type Manifest struct {
	Digest    digest.Digest
	MediaType string
	ID        digest.Digest // the image's, "" for an index
	Data      []byte
}

// PutManifest keeps a manifest.
func (im *Images) PutManifest(m Manifest) error {
	_, err := im.db.Exec("INSERT OR REPLACE INTO manifests (digest, media_type, id, data) VALUES (?, ?, ?, ?)", m.Digest, m.MediaType, m.ID, m.Data)
	if err != nil {
		return fmt.Errorf("storing manifest %s: %w", m.Digest, err)
	}
	return nil
}

// ManifestsOf returns the manifests that are known of an image.
func (im *Images) ManifestsOf(id digest.Digest) ([]Manifest, error) {
	rows, err := im.db.Query("SELECT digest, media_type, data FROM manifests WHERE id = ?", id)
	if err != nil {
		return nil, fmt.Errorf("listing the manifests of %s: %w", id, err)
	}
	defer rows.Close()
	var all []Manifest
	for rows.Next() {
		m := Manifest{ID: id}
		if err := rows.Scan(&m.Digest, &m.MediaType, &m.Data); err != nil {
			return nil, fmt.Errorf("listing the manifests of %s: %w", id, err)
		}
		all = append(all, m)
	}
	return all, rows.Err()
}
