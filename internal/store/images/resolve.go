package images

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/db"
)

// AmbiguousError says that a short ID stands for more than one config.
type AmbiguousError struct {
	Prefix string
	IDs    []digest.Digest
}

func (e *AmbiguousError) Error() string {
	var ids []string
	for _, id := range e.IDs {
		ids = append(ids, id.Encoded()[:min(64, len(e.Prefix)+4)])
	}
	return fmt.Sprintf("the ID %s is ambiguous: it may be %s; type more of it", e.Prefix, strings.Join(ids, " or "))
}

// Resolve finds the config that a person means by text, as Docker does: a name (with "latest" for a missing
// tag), a name with a manifest digest, an ID or the beginning of one. db.ErrNotFound if nothing fits.
func (im *Images) Resolve(text string) (digest.Digest, error) {
	if _, id, err := im.ByName(text); !errors.Is(err, db.ErrNotFound) {
		return id, err
	}
	return im.ResolveID(text)
}

// ByName finds the name that text is, as it stands in the store, and the image that it means. A name with a digest is any
// name of its repository that had this digest there. db.ErrNotFound if text is none.
func (im *Images) ByName(text string) (name string, id digest.Digest, err error) {
	notFound := fmt.Errorf("%s: %w", text, db.ErrNotFound)
	ref, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return "", "", notFound
	}
	ref = reference.TagNameOnly(ref)
	if d, ok := ref.(reference.Digested); ok {
		err = im.db.QueryRow(`SELECT name, id FROM names WHERE name = ?1 OR (manifest = ?2 AND (name LIKE ?3 || ':%' OR name LIKE ?3 || '@%')) LIMIT 1`,
			ref.String(), d.Digest(), ref.Name()).Scan(&name, &id)
	} else {
		err = im.db.QueryRow("SELECT name, id FROM names WHERE name = ?", ref.String()).Scan(&name, &id)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return "", "", notFound
	}
	if err != nil {
		return "", "", fmt.Errorf("looking up %s: %w", text, err)
	}
	return name, id, nil
}

// ResolveID finds the config with the ID, or the beginning of one, that text is: hexadecimal digits with or
// without "sha256:". db.ErrNotFound if there is none, an AmbiguousError if there are several.
func (im *Images) ResolveID(text string) (digest.Digest, error) {
	prefix := strings.TrimPrefix(text, "sha256:")
	if prefix == "" || strings.Trim(prefix, "0123456789abcdef") != "" || len(prefix) > 64 {
		return "", fmt.Errorf("%s: %w", text, db.ErrNotFound)
	}
	rows, err := im.db.Query("SELECT id FROM configs WHERE id >= ? AND id < ? LIMIT 5", "sha256:"+prefix, "sha256:"+prefix+"g")
	if err != nil {
		return "", fmt.Errorf("looking up %s: %w", text, err)
	}
	defer rows.Close()
	var ids []digest.Digest
	for rows.Next() {
		var id digest.Digest
		if err := rows.Scan(&id); err != nil {
			return "", fmt.Errorf("looking up %s: %w", text, err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return "", fmt.Errorf("looking up %s: %w", text, err)
	}
	switch len(ids) {
	case 0:
		return "", fmt.Errorf("%s: %w", text, db.ErrNotFound)
	case 1:
		return ids[0], nil
	}
	return "", &AmbiguousError{prefix, ids}
}
