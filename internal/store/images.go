package store

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Kind says what a config stands for.
type Kind string

// An image is what a build, pull, load or import gave. A step is a state on the way to one. A failed step's
// state is kept so that it can be entered.
const (
	Image  Kind = "image"
	Step   Kind = "step"
	Failed Kind = "failed"
)

// Config is an image config in the store. Its ID, the digest of Data, is the image's ID or the step's.
type Config struct {
	ID     digest.Digest
	Parent digest.Digest // the step or image that it was made from, "" where it came from elsewhere
	Kind   Kind
	Data   []byte
	Added  time.Time
}

// PutConfig adds a config, or raises the kind of one that is there from step to image.
func (s *Store) PutConfig(data []byte, parent digest.Digest, kind Kind) (digest.Digest, error) {
	id := digest.FromBytes(data)
	_, err := s.db.Exec(`INSERT INTO configs (id, parent, kind, data, added, used) VALUES (?1, ?2, ?3, ?4, ?5, ?5)
		ON CONFLICT (id) DO UPDATE SET used = ?5, parent = CASE WHEN parent = '' THEN ?2 ELSE parent END,
		kind = CASE WHEN ?3 = 'image' THEN 'image' ELSE kind END`, id, parent, kind, data, now())
	if err != nil {
		return "", fmt.Errorf("storing config %s: %w%s", id, err, hint(err))
	}
	return id, nil
}

// Config returns a config by its ID; ErrNotFound if there is none.
func (s *Store) Config(id digest.Digest) (*Config, error) {
	c := &Config{ID: id}
	var added int64
	err := s.db.QueryRow("SELECT parent, kind, data, added FROM configs WHERE id = ?", id).Scan(&c.Parent, &c.Kind, &c.Data, &added)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("config %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("reading config %s: %w", id, err)
	}
	c.Added = time.UnixMilli(added)
	return c, nil
}

// Configs returns all configs of a kind, those added last first. Data is included.
func (s *Store) Configs(kind Kind) ([]*Config, error) {
	rows, err := s.db.Query("SELECT id, parent, data, added FROM configs WHERE kind = ? ORDER BY added DESC", kind)
	if err != nil {
		return nil, fmt.Errorf("listing configs: %w", err)
	}
	defer rows.Close()
	var all []*Config
	for rows.Next() {
		c := &Config{Kind: kind}
		var added int64
		if err := rows.Scan(&c.ID, &c.Parent, &c.Data, &added); err != nil {
			return nil, fmt.Errorf("listing configs: %w", err)
		}
		c.Added = time.UnixMilli(added)
		all = append(all, c)
	}
	return all, rows.Err()
}

// Touch notes that configs are used now, which keeps a prune that runs beside this process off them.
func (s *Store) Touch(ids ...digest.Digest) error {
	for _, id := range ids {
		if _, err := s.db.Exec("UPDATE configs SET used = ? WHERE id = ?", now(), id); err != nil {
			return fmt.Errorf("noting the use of %s: %w", id, err)
		}
	}
	return nil
}

// Name is a name that an image has: "docker.io/me/app:test", or "docker.io/me/app@sha256:…" for the digest of
// the manifest by which it was pulled or pushed.
type Name struct {
	Name     string
	ID       digest.Digest
	Manifest digest.Digest // manifest or index that the name had in its registry, "" if it never was in one
	Set      time.Time
}

// SetName gives an image a name, taking it from the image, or images for several platforms, that had it. It returns that image's ID, or "".
func (s *Store) SetName(ref reference.Named, id, manifest digest.Digest) (before digest.Digest, err error) {
	if reference.IsNameOnly(ref) {
		ref = reference.TagNameOnly(ref)
	}
	tx, err := s.db.Begin()
	if err != nil {
		return "", fmt.Errorf("naming %s: %w", reference.FamiliarString(ref), err)
	}
	defer tx.Rollback()
	err = tx.QueryRow("SELECT id FROM names WHERE name = ?", ref.String()).Scan(&before)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("naming %s: %w", reference.FamiliarString(ref), err)
	}
	if err := putName(tx, ref, id, manifest); err != nil {
		return "", fmt.Errorf("naming %s: %w", reference.FamiliarString(ref), err)
	}
	return before, tx.Commit()
}

// RemoveName takes a name away; ErrNotFound if no image has it.
func (s *Store) RemoveName(ref reference.Named) error {
	found := false
	err := s.inTx(func(tx *sql.Tx) error {
		r, err := tx.Exec("DELETE FROM names WHERE name = ?", ref.String())
		if err != nil {
			return err
		}
		n, _ := r.RowsAffected()
		found = n > 0
		_, err = tx.Exec("DELETE FROM platforms WHERE name = ?", ref.String())
		return err
	})
	if err != nil {
		return fmt.Errorf("removing the name %s: %w", reference.FamiliarString(ref), err)
	}
	if !found {
		return fmt.Errorf("%s: %w", reference.FamiliarString(ref), ErrNotFound)
	}
	return nil
}

// Names returns the names of an image, or of all if id is "", in the order of the names.
func (s *Store) Names(id digest.Digest) ([]Name, error) {
	return s.queryNames("SELECT name, id, manifest, set_at FROM names WHERE ?1 = '' OR id = ?1 ORDER BY name", id)
}

// queryNames reads rows of a name, an ID, a manifest and a time.
func (s *Store) queryNames(query string, id digest.Digest) ([]Name, error) {
	rows, err := s.db.Query(query, id)
	if err != nil {
		return nil, fmt.Errorf("listing names: %w", err)
	}
	defer rows.Close()
	var names []Name
	for rows.Next() {
		var n Name
		var set int64
		if err := rows.Scan(&n.Name, &n.ID, &n.Manifest, &set); err != nil {
			return nil, fmt.Errorf("listing names: %w", err)
		}
		n.Set = time.UnixMilli(set)
		names = append(names, n)
	}
	return names, rows.Err()
}

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
// tag), a name with a manifest digest, an ID or the beginning of one. ErrNotFound if nothing fits.
func (s *Store) Resolve(text string) (digest.Digest, error) {
	if _, id, err := s.resolveName(text); !errors.Is(err, ErrNotFound) {
		return id, err
	}
	return s.ResolveID(text)
}

// resolveName finds the name that text is, as it stands in the store, and the image that it means.
func (s *Store) resolveName(text string) (name string, id digest.Digest, err error) {
	notFound := fmt.Errorf("%s: %w", text, ErrNotFound)
	ref, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return "", "", notFound
	}
	ref = reference.TagNameOnly(ref)
	if d, ok := ref.(reference.Digested); ok {
		err = s.db.QueryRow(`SELECT name, id FROM names WHERE name = ?1 OR (manifest = ?2 AND (name LIKE ?3 || ':%' OR name LIKE ?3 || '@%')) LIMIT 1`,
			ref.String(), d.Digest(), ref.Name()).Scan(&name, &id)
	} else {
		err = s.db.QueryRow("SELECT name, id FROM names WHERE name = ?", ref.String()).Scan(&name, &id)
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
// without "sha256:". ErrNotFound if there is none, an AmbiguousError if there are several.
func (s *Store) ResolveID(text string) (digest.Digest, error) {
	prefix := strings.TrimPrefix(text, "sha256:")
	if prefix == "" || strings.Trim(prefix, "0123456789abcdef") != "" || len(prefix) > 64 {
		return "", fmt.Errorf("%s: %w", text, ErrNotFound)
	}
	rows, err := s.db.Query("SELECT id FROM configs WHERE id >= ? AND id < ? LIMIT 5", "sha256:"+prefix, "sha256:"+prefix+"g")
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
		return "", fmt.Errorf("%s: %w", text, ErrNotFound)
	case 1:
		return ids[0], nil
	}
	return "", &AmbiguousError{prefix, ids}
}

// Manifest is a manifest or image index as it came from, or went to, a registry.
type Manifest struct {
	Digest    digest.Digest
	MediaType string
	ID        digest.Digest // the image's, "" for an index
	Data      []byte
}

// PutManifest keeps a manifest.
func (s *Store) PutManifest(m Manifest) error {
	_, err := s.db.Exec("INSERT OR REPLACE INTO manifests (digest, media_type, id, data) VALUES (?, ?, ?, ?)", m.Digest, m.MediaType, m.ID, m.Data)
	if err != nil {
		return fmt.Errorf("storing manifest %s: %w", m.Digest, err)
	}
	return nil
}

// ManifestsOf returns the manifests that are known of an image.
func (s *Store) ManifestsOf(id digest.Digest) ([]Manifest, error) {
	rows, err := s.db.Query("SELECT digest, media_type, data FROM manifests WHERE id = ?", id)
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
