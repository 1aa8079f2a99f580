package images

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/store/db"
)

// Member is one of the images that a name means: one for each platform.
type Member struct {
	ID       digest.Digest
	Platform ocispec.Platform // as its config says
	// Manifest is what the name had in its registry when the image was found there, "" if it never was in one. Members
	// with the same one belong together.
	Manifest digest.Digest
}

// PlatformError says that what a name means is here, but not for the platform that is asked for.
type PlatformError struct {
	Name string
	ID   digest.Digest // that Name is, if it is no name
	Want ocispec.Platform
	Have []ocispec.Platform
}

func (e *PlatformError) Error() string {
	return fmt.Sprintf("%s is not here for %s, only for %s", e.Name, platform.Format(e.Want), platform.FormatAll(e.Have))
}

// SetImages gives several images, each for another platform, one name, taking it from those that had it. The first is
// the one that the name means where no platform is asked for.
func (im *Images) SetImages(ref reference.Named, ids []digest.Digest, manifest digest.Digest) error {
	ref = reference.TagNameOnly(ref)
	return im.change(ref, func(tx *sql.Tx) error {
		if err := putName(tx, ref, ids[0], manifest); err != nil {
			return err
		}
		for _, id := range ids[1:] {
			if err := putOther(tx, ref.String(), id, manifest); err != nil {
				return err
			}
		}
		return nil
	})
}

// AddImage makes an image one of those that a name means, in the place of the one for the same platform. Where first is
// set it is from now on the one that the name means without a platform; those that had another manifest are none of it
// any more if replace is set.
func (im *Images) AddImage(ref reference.Named, id, manifest digest.Digest, first, replace bool) error {
	ref = reference.TagNameOnly(ref)
	return im.change(ref, func(tx *sql.Tx) error {
		var old Member
		err := tx.QueryRow("SELECT id, manifest FROM names WHERE name = ?", ref.String()).Scan(&old.ID, &old.Manifest)
		if errors.Is(err, sql.ErrNoRows) {
			return putName(tx, ref, id, manifest)
		}
		if err != nil {
			return err
		}
		if replace {
			if _, err := tx.Exec("DELETE FROM platforms WHERE name = ? AND manifest != ?", ref.String(), manifest); err != nil {
				return err
			}
		}
		p, err := platformOf(tx, id)
		if err != nil {
			return err
		}
		before, err := platformOf(tx, old.ID)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		switch same := platform.Same(p, before); {
		case !first && !same:
			return putOther(tx, ref.String(), id, manifest)
		case !same && (!replace || old.Manifest == manifest):
			if err := putOther(tx, ref.String(), old.ID, old.Manifest); err != nil {
				return err
			}
		}
		if _, err := tx.Exec("DELETE FROM platforms WHERE name = ? AND platform = ?", ref.String(), platform.Format(p)); err != nil {
			return err
		}
		if err := becomeImage(tx, id); err != nil {
			return err
		}
		_, err = tx.Exec("UPDATE names SET id = ?, manifest = ?, set_at = ? WHERE name = ?", id, manifest, db.Now(), ref.String())
		return err
	})
}

// SetManifest notes by which manifest or index the registry of a name has some images now. It leaves a name alone that
// means another image meanwhile, or none.
func (im *Images) SetManifest(ref reference.Named, ids []digest.Digest, manifest digest.Digest) error {
	ref = reference.TagNameOnly(ref)
	return im.change(ref, func(tx *sql.Tx) error {
		for _, id := range ids {
			if _, err := tx.Exec("UPDATE names SET manifest = ?1, set_at = ?2 WHERE name = ?3 AND id = ?4", manifest, db.Now(), ref.String(), id); err != nil {
				return err
			}
			if _, err := tx.Exec("UPDATE platforms SET manifest = ?1 WHERE name = ?2 AND id = ?3", manifest, ref.String(), id); err != nil {
				return err
			}
		}
		return nil
	})
}

// putName makes an image the only one that a name means.
func putName(tx *sql.Tx, ref reference.Named, id, manifest digest.Digest) error {
	if err := becomeImage(tx, id); err != nil {
		return err
	}
	if _, err := tx.Exec("DELETE FROM platforms WHERE name = ?", ref.String()); err != nil {
		return err
	}
	_, err := tx.Exec("INSERT OR REPLACE INTO names (name, id, manifest, set_at) VALUES (?, ?, ?, ?)", ref.String(), id, manifest, db.Now())
	return err
}

// becomeImage makes what gets a name an image, which another process may just have made a step by removing its
// last name; db.ErrNotFound if it was removed altogether.
func becomeImage(tx *sql.Tx, id digest.Digest) error {
	r, err := tx.Exec("UPDATE configs SET kind = 'image', used = max(used, ?2) WHERE id = ?1", id, db.Now())
	if err != nil {
		return err
	}
	if n, _ := r.RowsAffected(); n == 0 {
		return fmt.Errorf("image %s: %w", id, db.ErrNotFound)
	}
	return nil
}

func putOther(tx *sql.Tx, name string, id, manifest digest.Digest) error {
	if err := becomeImage(tx, id); err != nil {
		return err
	}
	p, err := platformOf(tx, id)
	if err == nil {
		_, err = tx.Exec("INSERT OR REPLACE INTO platforms (name, platform, id, manifest) VALUES (?, ?, ?, ?)", name, platform.Format(p), id, manifest)
	}
	return err
}

func platformOf(tx *sql.Tx, id digest.Digest) (ocispec.Platform, error) {
	var data []byte
	if err := tx.QueryRow("SELECT data FROM configs WHERE id = ?", id).Scan(&data); err != nil {
		return ocispec.Platform{}, err
	}
	c, err := image.Parse(data)
	if err != nil {
		return ocispec.Platform{}, err
	}
	return platform.Normal(c.Platform), nil
}

// Members are the images that a name means, that for no platform in particular first.
// db.ErrNotFound if the name means none.
func (im *Images) Members(ref reference.Named) ([]Member, error) {
	name := reference.TagNameOnly(ref).String()
	rows, err := im.db.Query(`SELECT id, n.manifest, data FROM names n JOIN configs USING (id) WHERE name = ?1
		UNION ALL SELECT * FROM (SELECT id, p.manifest, data FROM platforms p JOIN configs USING (id) WHERE name = ?1 ORDER BY platform)`, name)
	if err != nil {
		return nil, fmt.Errorf("looking up %s: %w", reference.FamiliarString(ref), err)
	}
	defer rows.Close()
	var all []Member
	for rows.Next() {
		var m Member
		var data []byte
		if err := rows.Scan(&m.ID, &m.Manifest, &data); err != nil {
			return nil, fmt.Errorf("looking up %s: %w", reference.FamiliarString(ref), err)
		}
		c, err := image.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", image.ShortID(m.ID), err)
		}
		m.Platform = platform.Normal(c.Platform)
		all = append(all, m)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("looking up %s: %w", reference.FamiliarString(ref), err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: %w", reference.FamiliarString(ref), db.ErrNotFound)
	}
	return all, nil
}

// OtherNames are the names that mean an image, or any image if id is "", for its platform, and another image where no
// platform is asked for.
func (im *Images) OtherNames(id digest.Digest) ([]Name, error) {
	return im.queryNames("SELECT name, p.id, p.manifest, set_at FROM platforms p JOIN names USING (name) WHERE ?1 = '' OR p.id = ?1 ORDER BY name", id)
}

// IndexMembers are the images of a name that belong together: that for no platform in particular first, and with it those
// that came with the same index or out of the same build. want limits them to the one for a platform, a *PlatformError
// if there is none.
func (im *Images) IndexMembers(ref reference.Named, want *ocispec.Platform) ([]Member, error) {
	all, err := im.Members(ref)
	if err != nil {
		return nil, err
	}
	if want == nil {
		first := all[0].Manifest
		return slices.DeleteFunc(all, func(m Member) bool { return m.Manifest != first }), nil
	}
	id, err := im.ResolveFor(ref.String(), *want)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(m Member) bool { return m.ID != id }), nil
}

// ResolveFor is Resolve for a platform: of the images that a name means the one that suits it best. Where none does, or
// text is the ID of an image for another one, the error is a *PlatformError.
func (im *Images) ResolveFor(text string, want ocispec.Platform) (digest.Digest, error) {
	name, _, err := im.ByName(text)
	if errors.Is(err, db.ErrNotFound) {
		return im.resolveIDFor(text, want)
	}
	if err != nil {
		return "", err
	}
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("looking up %s: %w", text, err)
	}
	members, err := im.Members(ref)
	if err != nil {
		return "", err
	}
	best, bestRank := digest.Digest(""), -1
	var have []ocispec.Platform
	for _, m := range members {
		if r := platform.Rank(m.Platform, want); r > bestRank {
			best, bestRank = m.ID, r
		} else if bestRank < 0 && platform.Suits(m.Platform, want) {
			best, bestRank = m.ID, 0
		}
		have = append(have, m.Platform)
	}
	if best == "" {
		return "", &PlatformError{text, "", want, have}
	}
	return best, nil
}

func (im *Images) resolveIDFor(text string, want ocispec.Platform) (digest.Digest, error) {
	id, err := im.ResolveID(text)
	if err != nil {
		return "", err
	}
	c, err := im.Config(id)
	if err != nil {
		return "", err
	}
	config, err := image.Parse(c.Data)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", image.ShortID(id), err)
	}
	if !platform.Suits(config.Platform, want) {
		return "", &PlatformError{text, id, want, []ocispec.Platform{platform.Normal(config.Platform)}}
	}
	return id, nil
}
