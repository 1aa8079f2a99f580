package check

import (
	"database/sql"
	"fmt"
	"math"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/records"
)

// records compares the records of steps with their seals.
func (k *checking) records() error {
	rows, err := k.db.Query("SELECT key, data FROM records ORDER BY key")
	damaged, err := db.Rows(rows, err, func(rows *sql.Rows) (key digest.Digest, err error) {
		var r records.Record
		if err := rows.Scan(&r.Key, &r.Data); err != nil || r.AsSealed() {
			return "", err
		}
		return r.Key, nil
	})
	if err != nil {
		return err
	}
	for _, key := range damaged {
		if key == "" {
			k.report.Records++
			continue
		}
		err := k.found(Problem{Kind: "record", Digest: key, Wrong: "it is not as it was written", Again: "by building, which runs the step"},
			func() error {
				return k.db.Tx(func(tx *sql.Tx) error {
					_, err := records.Delete(tx, []digest.Digest{key}, math.MaxInt64)
					return err
				})
			})
		if err != nil {
			return err
		}
	}
	return nil
}

// keptThings looks at what only saves time or traffic.
func (k *checking) keptThings() error {
	all, err := k.Checker.kept.Verify(k.ctx, k.options.ReadData)
	if err != nil {
		return err
	}
	for _, d := range all {
		err := k.found(Problem{Kind: d.What, Name: filepath.Base(d.Path), Wrong: d.Wrong, Again: "by the next build that needs it"},
			func() error {
				_, err := k.Checker.kept.Remove(d.Path)
				if err == nil && disk.Exists(d.Path) {
					err = fmt.Errorf("a build uses %s, which is damaged: repair the store again when it has ended", d.Path)
				}
				return err
			})
		if err != nil {
			return err
		}
	}
	return nil
}
