package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/export"
	"github.com/strata-build/strata/internal/builder/source/address"
	"github.com/strata-build/strata/internal/builder/source/buildcontext"
	"github.com/strata-build/strata/internal/store"
)

// sourceDateEpoch is the build argument after which no time of what is built is
// (reproducible-builds.org/docs/source-date-epoch).
const sourceDateEpoch = "SOURCE_DATE_EPOCH"

// contextEpoch is its value for the time of the context.
const contextEpoch = "context"

// resolveEpoch puts a time into the place of a SOURCE_DATE_EPOCH that is a word: "context", the
// name of a named context, or that of a stage which is FROM scratch and one ADD from elsewhere
// (BuildKit's dockerfile2llb/epoch.go). Of a git repository it is the commit's, of a URL that which
// the server gave, or that of an archive's newest file. Files here and images have none, as in
// BuildKit.
func (in *input) resolveEpoch(ctx context.Context, s *store.Store, o *Options) error {
	value, given := o.Args[sourceDateEpoch]
	if !o.Engine.File.BuildKitArgs || !given && !bytes.Contains(in.source, []byte(sourceDateEpoch)) {
		return nil
	}
	f, err := dockerfile.Parse(in.source, in.name)
	if err != nil {
		return nil // whoever makes the plans tells
	}
	options := in.planOptions(*o, o.targets()[0])
	options.Found = nil
	plan, err := f.Plan(options)
	if err != nil {
		return nil
	}
	if !given {
		value, _ = plan.Argument(sourceDateEpoch)
	}
	if _, err := strconv.ParseInt(value, 10, 64); err == nil || value == "" {
		return nil
	}
	t, err := in.timeCalled(ctx, s, plan, value)
	if err != nil {
		return fmt.Errorf("%s=%s: %w", sourceDateEpoch, value, err)
	}
	seconds := ""
	if !t.IsZero() {
		seconds = strconv.FormatInt(t.Unix(), 10)
	}
	switch {
	case !given:
		o.globals = map[string]string{sourceDateEpoch: seconds}
	case seconds == "":
		delete(o.Args, sourceDateEpoch)
	default:
		o.Args[sourceDateEpoch] = seconds
	}
	return nil
}

// timeCalled is the time of what a SOURCE_DATE_EPOCH names; the zero time if that has none.
func (in *input) timeCalled(ctx context.Context, s *store.Store, plan *dockerfile.Plan, name string) (time.Time, error) {
	if name == contextEpoch {
		return in.timeOf(ctx, s, in.remote, "")
	}
	if key, err := dockerfile.ContextName(name); err == nil {
		if spec := in.named.specs[key]; spec != nil {
			return in.timeOf(ctx, s, spec.Remote, "")
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
	return in.timeOf(ctx, s, e.Source, e.Checksum)
}

// timeOf is the time of what is elsewhere; nil has none.
func (in *input) timeOf(ctx context.Context, s *store.Store, source *address.Source, checksum digest.Digest) (time.Time, error) {
	if source == nil {
		return time.Time{}, nil
	}
	if source.Git != nil {
		c, err := in.fetcher.Commit(ctx, source.Git)
		if err != nil {
			return time.Time{}, err
		}
		return in.fetcher.CommitTime(ctx, c)
	}
	file, err := in.fetcher.File(ctx, source.URL, checksum)
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
	dir, err := s.Temp("epoch")
	if err != nil {
		return time.Time{}, err
	}
	defer os.RemoveAll(dir)
	if buildcontext.Unpack(ctx, r, dir) != nil {
		return time.Time{}, context.Cause(ctx)
	}
	return newestIn(dir)
}

// epoch is SOURCE_DATE_EPOCH: the build argument, or what an ARG before the first FROM says; nil if there is none. The
// classic engine knows nothing of it.
func epoch(parts []*part, o Options) (*time.Time, error) {
	if !o.Engine.File.BuildKitArgs {
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
