package check

import (
	"database/sql"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/disk"
)

// chain is an image and the layers that it is made of.
type chain struct {
	id      digest.Digest
	diffIDs []digest.Digest
}

// images compares configs with their IDs, and notes which image has which layers.
func (k *checking) images() error {
	type config struct {
		id   digest.Digest
		kind string
		data []byte
	}
	rows, err := k.db.Query("SELECT id, kind, data FROM configs ORDER BY added, id")
	all, err := db.Rows(rows, err, func(rows *sql.Rows) (c config, err error) {
		err = rows.Scan(&c.id, &c.kind, &c.data)
		return c, err
	})
	if err != nil {
		return err
	}
	for _, c := range all {
		if got := digest.FromBytes(c.data); got != c.id {
			err := k.found(Problem{Kind: "image", Digest: c.id, Wrong: "its config has the digest " + got.String(),
				Again: "by building or pulling it"}, func() error { return k.dropConfig(c.id) })
			if err != nil {
				return err
			}
			continue
		}
		if c.kind != "image" {
			continue
		}
		diffIDs, err := image.DiffIDs(c.data)
		if err != nil {
			return err
		}
		called, err := k.called(c.id)
		if err != nil {
			return err
		}
		k.chains = append(k.chains, chain{c.id, diffIDs})
		for _, d := range diffIDs {
			k.needed[d] = append(k.needed[d], called)
		}
	}
	return nil
}

// called is what a person calls an image: its first name, or its ID.
func (k *checking) called(id digest.Digest) (string, error) {
	names, err := db.Column[string](k.db.Query("SELECT name FROM names WHERE id = ? ORDER BY name LIMIT 1", id))
	if err != nil || len(names) == 0 {
		return image.ShortID(id), err
	}
	return familiar(names[0]), nil
}

// familiar is a name as people type it.
func familiar(name string) string {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.FamiliarString(ref)
}

// names looks for names that mean nothing.
func (k *checking) names() error {
	lost, err := db.Column[string](k.db.Query(`SELECT DISTINCT name FROM (SELECT name, id FROM names UNION SELECT name, id FROM platforms)
		WHERE id NOT IN (SELECT id FROM configs) ORDER BY name`))
	if err != nil {
		return err
	}
	for _, name := range lost {
		err := k.found(Problem{Kind: "name", Name: familiar(name), Wrong: "it means an image that is not here",
			Again: "by building or pulling it"}, func() error {
			return k.db.Tx(func(tx *sql.Tx) error {
				for _, table := range []string{"names", "platforms"} {
					if _, err := tx.Exec("DELETE FROM "+table+" WHERE name = ? AND id NOT IN (SELECT id FROM configs)", name); err != nil {
						return err
					}
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// complete looks for images of which a layer can be had nowhere.
func (k *checking) complete() error {
	for _, c := range k.chains {
		lacks, err := k.lacks(c)
		if err != nil {
			return err
		}
		if lacks == "" {
			k.report.Images++
			continue
		}
		called, err := k.called(c.id)
		if err != nil {
			return err
		}
		err = k.found(Problem{Kind: "image", Digest: c.id, Name: called,
			Wrong: "its layer " + image.ShortID(lacks) + " is neither here nor in a registry",
			Again: "by building or pulling it"}, func() error { return k.dropConfig(c.id) })
		if err != nil {
			return err
		}
	}
	return nil
}

// lacks is the first layer of an image that can be had nowhere, "" if there is none.
func (c *Checker) lacks(of chain) (digest.Digest, error) {
	for _, d := range of.diffIDs {
		if can, err := c.canBeHad(d); !can || err != nil {
			return d, err
		}
	}
	return "", nil
}

// canBeHad says whether a layer is here, or known to be elsewhere.
func (c *Checker) canBeHad(d digest.Digest) (bool, error) {
	if disk.Exists(c.layers.Path(d, "toc")) {
		return true, nil
	}
	blobs, err := c.content.Blobs(d)
	return len(blobs) > 0, err
}

// dropConfig takes away an image that cannot be used, with its names.
func (c *Checker) dropConfig(id digest.Digest) error {
	return c.db.Tx(func(tx *sql.Tx) error {
		for _, table := range []string{"names", "platforms", "configs"} {
			if _, err := tx.Exec("DELETE FROM "+table+" WHERE id = ?", id); err != nil {
				return err
			}
		}
		_, err := tx.Exec("DELETE FROM platforms WHERE name NOT IN (SELECT name FROM names)")
		return err
	})
}
