package records

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/db"
)

// Build is what the store remembers of a past build.
type Build struct {
	ID         string // hexadecimal, as short as a shown image ID
	Started    time.Time
	Took       time.Duration
	Context    string // absolute path, "-" for standard input
	Dockerfile string
	Target     string
	Engine     string
	Image      digest.Digest // the result, "" if the build failed
	Error      string        // why it failed
	Saved      time.Duration // what the steps that were cached took when they ran
	Hits       int           // steps that came from the cache
	Total      int           // steps that could have
	Data       []byte        // the steps, as package explain writes them
	Logs       []byte        // what they printed, as package explain writes it, nil for nothing; BuildLogs reads it
}

// maxBuilds is how many builds are remembered. One takes 1 to 4 KB.
const maxBuilds = 10_000

// MaxLogged is how many builds there are of which it is kept what their steps printed: the last that ran some. The
// logs of one take up to 4 MB, and compressed some KB.
const MaxLogged = 200

const buildColumns = "id, started, took, context, dockerfile, target, engine, image, error, saved, hits, total, data"

// PutBuild remembers a build, and forgets the oldest if there are too many. With a build that did not fail it notes
// what that used of what it holds.
func (rs *Records) PutBuild(b *Build) error {
	err := rs.db.Tx(func(tx *sql.Tx) error {
		r, err := tx.Exec("INSERT INTO builds ("+buildColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			b.ID, b.Started.UnixMilli(), b.Took.Milliseconds(), b.Context, b.Dockerfile, b.Target, b.Engine, b.Image, b.Error,
			b.Saved.Milliseconds(), b.Hits, b.Total, b.Data)
		if err != nil {
			return err
		}
		seq, err := r.LastInsertId()
		if err != nil {
			return err
		}
		if err := putLogs(tx, seq, b.Logs); err != nil {
			return err
		}
		end := rs.held.Keep
		if b.Error != "" {
			end = rs.held.Drop
		}
		if err := end(tx); err != nil {
			return err
		}
		if seq <= maxBuilds {
			return nil
		}
		return forget(tx, "seq <= ?", seq-maxBuilds)
	})
	if err != nil {
		return fmt.Errorf("remembering the build: %w", rs.db.Explain(err))
	}
	return nil
}

// putLogs keeps the logs of a build, and forgets the oldest if there are too many. An older strata that forgets builds
// leaves logs, which are not those of the build that has the number next.
func putLogs(tx *sql.Tx, seq int64, logs []byte) error {
	if len(logs) == 0 {
		_, err := tx.Exec("DELETE FROM logs WHERE seq = ?", seq)
		return err
	}
	if _, err := tx.Exec("INSERT OR REPLACE INTO logs (seq, data) VALUES (?, ?)", seq, logs); err != nil {
		return err
	}
	_, err := tx.Exec("DELETE FROM logs WHERE seq <= (SELECT seq FROM logs ORDER BY seq DESC LIMIT 1 OFFSET ?)", MaxLogged)
	return err
}

// forget deletes builds with their logs.
func forget(tx *sql.Tx, condition string, args ...any) error {
	_, err := tx.Exec("DELETE FROM logs WHERE seq IN (SELECT seq FROM builds WHERE "+condition+")", args...)
	if err == nil {
		_, err = tx.Exec("DELETE FROM builds WHERE "+condition, args...)
	}
	return err
}

// BuildLogs is what the steps of the build with an ID printed, as package explain writes it; nil where nothing of it
// is kept.
func (rs *Records) BuildLogs(id string) ([]byte, error) {
	var data []byte
	err := rs.db.QueryRow("SELECT data FROM logs WHERE seq = (SELECT max(seq) FROM builds WHERE id = ?)", id).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking up what build %s printed: %w", id, err)
	}
	return data, nil
}

// ForgetBuilds forgets the builds with these IDs, or all if none is given. What they made stays.
func (rs *Records) ForgetBuilds(ids ...string) error {
	err := rs.db.Tx(func(tx *sql.Tx) error {
		if len(ids) == 0 {
			return forget(tx, "true")
		}
		for _, id := range ids {
			if err := forget(tx, "id = ?", id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forgetting builds: %w", rs.db.Explain(err))
	}
	return nil
}

// Builds returns up to limit builds, the last first; all if limit is negative.
func (rs *Records) Builds(limit int) ([]*Build, error) {
	return rs.builds("ORDER BY seq DESC LIMIT ?", limit)
}

// BuildsOf returns up to limit builds of one context, Dockerfile, target and engine, the last first.
func (rs *Records) BuildsOf(context, dockerfile, target, engine string, limit int) ([]*Build, error) {
	return rs.builds("WHERE context = ? AND dockerfile = ? AND target = ? AND engine = ? ORDER BY seq DESC LIMIT ?",
		context, dockerfile, target, engine, limit)
}

// BuildByImage returns the last build that gave an image; db.ErrNotFound if none that is remembered did.
func (rs *Records) BuildByImage(id digest.Digest) (*Build, error) {
	found, err := rs.builds("WHERE image = ? ORDER BY seq DESC LIMIT 1", id)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("build of %s: %w", id, db.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// BuildByID finds the build with an ID, or the beginning of one; db.ErrNotFound if there is none.
func (rs *Records) BuildByID(prefix string) (*Build, error) {
	notFound := fmt.Errorf("build %s: %w", prefix, db.ErrNotFound)
	if prefix == "" || strings.Trim(prefix, "0123456789abcdef") != "" {
		return nil, notFound
	}
	found, err := rs.builds("WHERE id >= ? AND id < ? LIMIT 5", prefix, prefix+"g")
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, notFound
	case len(found) > 1:
		var ids []string
		for _, b := range found {
			ids = append(ids, b.ID)
		}
		return nil, fmt.Errorf("the build ID %s is ambiguous: it may be %s; type more of it", prefix, strings.Join(ids, " or "))
	}
	return found[0], nil
}

func (rs *Records) builds(condition string, args ...any) ([]*Build, error) {
	rows, err := rs.db.Query("SELECT "+buildColumns+" FROM builds "+condition, args...)
	if err != nil {
		return nil, fmt.Errorf("looking up builds: %w", err)
	}
	defer rows.Close()
	var all []*Build
	for rows.Next() {
		b, err := scanBuild(rows)
		if err != nil {
			return nil, fmt.Errorf("looking up builds: %w", err)
		}
		all = append(all, b)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("looking up builds: %w", err)
	}
	return all, nil
}

func scanBuild(rows *sql.Rows) (*Build, error) {
	b := &Build{}
	var started, took, saved int64
	err := rows.Scan(&b.ID, &started, &took, &b.Context, &b.Dockerfile, &b.Target, &b.Engine, &b.Image, &b.Error,
		&saved, &b.Hits, &b.Total, &b.Data)
	b.Started = time.UnixMilli(started)
	b.Took, b.Saved = time.Duration(took)*time.Millisecond, time.Duration(saved)*time.Millisecond
	return b, err
}
