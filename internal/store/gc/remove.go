package gc

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/images"
)

// ErrChanged says that an image got or lost a name since the caller decided to remove it: it has to
// decide again.
var ErrChanged = errors.New("the image's names have changed meanwhile")

// RemoveImage takes an image or a step out of the store with what only it needed, the steps on the way included. names
// are all that it has, as far as the caller knows: with others nothing is removed, and the error is ErrChanged.
// Where something else was made from it, it stays as a step on the way to that; where another process may be
// using it, it stays until the next prune. Records of the cache, and the layers they lead to, stay.
func (c *Collector) RemoveImage(id digest.Digest, names []string) (*Pruned, error) {
	p, err := c.remove(func(tx *sql.Tx, _ *Pruned) ([]digest.Digest, error) {
		now, err := db.Column[string](tx.Query("SELECT name FROM names WHERE id = ?", id))
		if err != nil {
			return nil, err
		}
		if slices.Sort(now); !slices.Equal(now, slices.Sorted(slices.Values(names))) {
			return nil, ErrChanged
		}
		return []digest.Digest{id}, nil
	})
	if err != nil {
		return p, fmt.Errorf("removing image %s: %w", id, err)
	}
	return p, nil
}

// RemoveName takes a name away, and as RemoveImage does those of the images it means that no other name keeps;
// db.ErrNotFound if it means none. What was decided and what was done is one transaction: a name that the image
// gets meanwhile keeps it.
func (c *Collector) RemoveName(ref reference.Named) (*Pruned, error) {
	p, err := c.remove(func(tx *sql.Tx, p *Pruned) ([]digest.Digest, error) {
		ids, err := images.Unname(tx, ref.String())
		if err != nil {
			return nil, err
		}
		p.Untagged = append(p.Untagged, ref.String())
		var free []digest.Digest
		for _, id := range ids {
			held, err := images.IsHeld(tx, id)
			if err != nil {
				return nil, err
			}
			if !held {
				free = append(free, id)
			}
		}
		return free, nil
	})
	if err != nil {
		return p, fmt.Errorf("removing the name %s: %w", reference.FamiliarString(ref), err)
	}
	return p, nil
}

// remove removes the images that choose gives, in the same transaction, and then what only they needed.
func (c *Collector) remove(choose func(*sql.Tx, *Pruned) ([]digest.Digest, error)) (*Pruned, error) {
	c.session.MakeRoom()
	release, err := c.session.Lock(context.Background(), "prune")
	if err != nil {
		return nil, err
	}
	defer release()
	cut, err := c.cutoffs(time.Time{})
	if err != nil {
		return nil, err
	}
	p := &Pruned{}
	var chosen []digest.Digest
	err = c.decide(cut, func(tx *sql.Tx) (err error) {
		if chosen, err = choose(tx, p); err != nil || len(chosen) == 0 {
			return err
		}
		return removeConfigs(tx, chosen, cut, p)
	})
	if err == nil {
		c.db.Promise()
	}
	if err != nil || len(chosen) == 0 {
		return p, err
	}
	if err := c.collect(cut.used, p); err != nil {
		return p, fmt.Errorf("removing layers: %w", err)
	}
	return p, nil
}
