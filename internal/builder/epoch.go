package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/export"
	"github.com/strata-build/strata/internal/builder/source/address"
	"github.com/strata-build/strata/internal/builder/source/buildcontext"
)

// sourceDateEpoch is the build argument after which no time of what is built is
// (reproducible-builds.org/docs/source-date-epoch).
const sourceDateEpoch = "SOURCE_DATE_EPOCH"

// contextEpoch is its value for the time of the context.
const contextEpoch = "context"

// resolveEpoch gives the values of the build's arguments with a time in the place of a SOURCE_DATE_EPOCH that is a word:
// "context", the name of a named context, or that of a stage which is FROM scratch and one ADD from elsewhere
// (BuildKit's dockerfile2llb/epoch.go). Of a git repository it is the commit's, of a URL that which the server gave, or
// that of an archive's newest file. Files here and images have none, as in BuildKit.
func (b *build) resolveEpoch(ctx context.Context) (values, error) {
	asked := values{args: b.Target.Args}
	value, given := asked.args[sourceDateEpoch]
	if !b.Target.Dialect.File.BuildKitArgs || !given && !bytes.Contains(b.input.source, []byte(sourceDateEpoch)) {
		return asked, nil
	}
	options := b.planOptions(b.Target.targets()[0])
	options.Found = nil
	plan, err := b.file.Plan(options)
	if err != nil {
		return asked, nil // whoever makes the plans tells
	}
	if !given {
		value, _ = plan.Argument(sourceDateEpoch)
	}
	if _, err := strconv.ParseInt(value, 10, 64); err == nil || value == "" {
		return asked, nil
	}
	t, err := b.timeCalled(ctx, plan, value)
	if err != nil {
		return asked, fmt.Errorf("%s=%s: %w", sourceDateEpoch, value, err)
	}
	seconds := ""
	if !t.IsZero() {
		seconds = strconv.FormatInt(t.Unix(), 10)
	}
	if !given {
		asked.globals = map[string]string{sourceDateEpoch: seconds}
		return asked, nil
	}
	resolved := values{args: maps.Clone(asked.args)}
	if seconds == "" {
		delete(resolved.args, sourceDateEpoch)
	} else {
		resolved.args[sourceDateEpoch] = seconds
	}
	return resolved, nil
}

// timeCalled is the time of what a SOURCE_DATE_EPOCH names; the zero time if that has none.
func (b *build) timeCalled(ctx context.Context, plan *dockerfile.Plan, name string) (time.Time, error) {
	if name == contextEpoch {
		return b.timeOf(ctx, b.input.remote, "")
	}
	if key, err := dockerfile.ContextName(name); err == nil {
		if spec := b.input.named.specs[key]; spec != nil {
			return b.timeOf(ctx, spec.Remote, "")
		}
	}
	e, err := plan.OnlyAdd(name)
	if err != nil {
		return time.Time{}, err
	}
	if e == nil {
		return time.Time{}, errors.New("it is a number of seconds since 1970, as git log -1 --pretty=%ct prints it, or " +
			"context, or the name of a --build-context or a stage")
	}
	return b.timeOf(ctx, e.Source, e.Checksum)
}

// timeOf is the time of what is elsewhere; nil has none.
func (b *build) timeOf(ctx context.Context, source *address.Source, checksum digest.Digest) (time.Time, error) {
	if source == nil {
		return time.Time{}, nil
	}
	if source.Git != nil {
		c, err := b.fetcher.Commit(ctx, source.Git)
		if err != nil {
			return time.Time{}, err
		}
		return b.fetcher.CommitTime(ctx, c)
	}
	file, err := b.fetcher.File(ctx, source.URL, checksum)
	if err != nil {
		return time.Time{}, err
	}
	if !file.Modified.IsZero() {
		return file.Modified, nil
	}
	kind, r, err := buildcontext.Detect(file.Reader())
	if err != nil || kind == buildcontext.Dockerfile {
		return time.Time{}, nil // no archive
	}
	dir, err := b.store.Temp("epoch")
	if err != nil {
		return time.Time{}, err
	}
	defer os.RemoveAll(dir)
	if buildcontext.Unpack(ctx, r, dir, b.store.Limits().On(b.store.Root())) != nil {
		return time.Time{}, context.Cause(ctx)
	}
	return newestIn(dir)
}

// findEpoch is SOURCE_DATE_EPOCH: the build argument, or what an ARG before the first FROM says; nil if there is none. The
// classic engine knows nothing of it.
func (b *build) findEpoch(parts []*part) (*time.Time, error) {
	if !b.Target.Dialect.File.BuildKitArgs {
		return nil, nil
	}
	value, ok := b.values.args[sourceDateEpoch]
	if !ok {
		value, _ = parts[0].plan.Argument(sourceDateEpoch)
	}
	t, err := export.ParseEpoch(value)
	if err != nil {
		return nil, fmt.Errorf("%s=%s: %w", sourceDateEpoch, value, err)
	}
	return t, nil
}

// newestIn is the time of the newest file in a directory, the zero time if there is none.
func newestIn(dir string) (newest time.Time, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		st, err := e.Info()
		if err == nil && st.ModTime().After(newest) {
			newest = st.ModTime()
		}
		return err
	})
	return newest, err
}
