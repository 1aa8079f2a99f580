package build

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"time"

	"github.com/strata-build/strata/internal/dockerfile"
	"github.com/strata-build/strata/internal/export"
	"github.com/strata-build/strata/internal/fetch"
)

// sourceDateEpoch is the build argument after which no time of what is built is (reproducible-builds.org/docs/source-date-epoch).
const sourceDateEpoch = "SOURCE_DATE_EPOCH"

// contextEpoch is its value for the time of the context.
const contextEpoch = "context"

// resolveEpoch puts the time of a remote context into the place of SOURCE_DATE_EPOCH=context: the commit's, that which
// the server gave, or that of the newest file. A directory here has none, as in BuildKit.
func (in *input) resolveEpoch(o *Options) {
	if o.Args[sourceDateEpoch] != contextEpoch {
		return
	}
	if in.modified.IsZero() {
		delete(o.Args, sourceDateEpoch)
		return
	}
	o.Args[sourceDateEpoch] = strconv.FormatInt(in.modified.Unix(), 10)
}

// epoch is SOURCE_DATE_EPOCH: the build argument, or what an ARG before the first FROM says; nil if there is none. The
// classic engine knows nothing of it.
func epoch(parts []*part, o Options) (*time.Time, error) {
	if o.Engine == dockerfile.Classic {
		return nil, nil
	}
	value, ok := o.Args[sourceDateEpoch]
	if !ok {
		value, _ = parts[0].plan.Argument(sourceDateEpoch)
	}
	t, err := export.ParseEpoch(value)
	if err != nil {
		return nil, fmt.Errorf("%s=%s: %w", sourceDateEpoch, value, err)
	}
	return t, nil
}

// timeOf is the time of a remote context that is laid out in dir.
func timeOf(c *fetch.Context, dir string) (newest time.Time) {
	if c.Commit == nil && !c.Modified.IsZero() {
		return c.Modified
	}
	// All files of a commit have its time.
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		st, err := e.Info()
		if err == nil && st.ModTime().After(newest) {
			newest = st.ModTime()
		}
		return err
	})
	if err != nil {
		return time.Time{}
	}
	return newest
}
