package packed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/store"
)

const (
	// mountPatience is how long a cache mount that a step uses is waited for before it is sent.
	mountPatience = 10 * time.Second
	// fresh is how old a document may be that is not written anew where nothing has changed: its age says when somebody last had it.
	fresh = 24 * time.Hour
)

// Carrier carries the cache mounts of a store to a place and from it.
type Carrier struct {
	Store  *store.Store
	Keeper Keeper
	// Limit is how many bytes a mount may have that is sent or brought, 0 for any number.
	Limit int64
}

// Bring puts into the empty directory dir what a document of the place says. Where it fails the directory is as it was.
func (c Carrier) Bring(ctx context.Context, d *Document, dir string) error {
	if err := checkLimit(d.Bytes, c.Limit); err != nil {
		return err
	}
	temp, err := c.Store.Temp("mount")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	made := filepath.Join(temp, "fs")
	if err := os.Mkdir(made, 0o755); err != nil {
		return err
	}
	if err := Restore(ctx, c.Keeper, d, temp, made); err != nil {
		return c.Store.Explain(err)
	}
	return replace(made, dir)
}

// replace puts the directory made in the place of the empty directory dir, which is there until it is another (rename(2)).
func replace(made, dir string) error {
	// Only root moves a directory that its mode forbids to write to: its ".." changes.
	st, err := os.Stat(made)
	if err != nil {
		return err
	}
	mode := st.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	if mode&0o200 != 0 {
		return unix.Rename(made, dir)
	}
	if err := os.Chmod(made, mode|0o200); err != nil {
		return err
	}
	if err := unix.Rename(made, dir); err != nil {
		return err
	}
	return os.Chmod(dir, mode)
}

// Stays says of an error of Sent or Send that it is no failure: what the place has of the mount stays.
func Stays(err error) bool {
	return errors.Is(err, store.ErrCacheMountInUse) || errors.Is(err, ErrChanged) || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrUnfit)
}

// Sent is what Send is told of a mount: which list was sent of it as it is now, "" where it was used since. The error is
// store.ErrNoCacheMount where there is no such mount here.
func (c Carrier) Sent(ctx context.Context, name Name) (string, error) {
	reading, err := c.read(ctx, name)
	if err != nil {
		return "", err
	}
	return reading.Sent(), reading.Close()
}

// read reads a mount as a whole.
func (c Carrier) read(ctx context.Context, name Name) (*store.CacheMountReading, error) {
	return c.Store.Mounts.Read(ctx, store.CacheMountOptions{ID: name.ID, Base: name.Base}, mountPatience)
}

// Send sends what has changed of a mount; nil where the place has it as it is. Nobody uses the mount as long as it is read,
// which is while nothing is asked of the place.
func (c Carrier) Send(ctx context.Context, name Name, sent string) (*Snapshot, error) {
	doc, version, err := c.Keeper.Mount(ctx, name)
	if errors.Is(err, ErrNone) {
		doc = nil
	} else if err != nil {
		return nil, err
	}
	if doc != nil && string(doc.List.Digest) == sent {
		if err := c.touch(ctx, doc, version); err == nil || ctx.Err() != nil {
			return nil, err
		}
		// Something of it is gone there.
	}
	var before *Previous
	if doc != nil {
		if before, err = ReadPrevious(ctx, c.Keeper, doc); err != nil && ctx.Err() != nil {
			return nil, err
		} else if err != nil {
			before = nil // all of it is made anew
		}
	}
	temp, err := c.Store.Temp("mount")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	made, reading, err := c.make(ctx, name, temp, before)
	if err != nil {
		return nil, err
	}
	// Where packs are new, the document is the same and its blobs are gone.
	if before != nil && made.Document.Same(doc) && len(made.New) == 1 {
		reading.SetSent(string(doc.List.Digest))
		return nil, c.touch(ctx, doc, version)
	}
	expect := &version
	if doc == nil && version == "" {
		expect = nil
	}
	if err := c.Keeper.PutMount(ctx, &made.Document, made.New, expect); err != nil {
		return nil, err
	}
	reading.SetSent(string(made.Document.List.Digest))
	return made, nil
}

// make makes what is sent of a mount: a copy, in the folder temp. The reading has ended.
func (c Carrier) make(ctx context.Context, name Name, temp string, before *Previous) (*Snapshot, *store.CacheMountReading, error) {
	reading, err := c.read(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	made, err := Make(ctx, name, Source{Dir: reading.Dir, Limit: c.Limit}, temp, before)
	return made, reading, errors.Join(c.Store.Explain(err), reading.Close())
}

// Has says whether a place has all of a mount.
func (c Carrier) Has(ctx context.Context, name Name) (bool, error) {
	doc, _, err := c.Keeper.Mount(ctx, name)
	if errors.Is(err, ErrNone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	gone, err := missing(ctx, c.Keeper, name, doc.Blobs())
	return err == nil && !slices.Contains(gone, true), err
}

// touch writes a document anew that has not been for a while, so that it does not count as old. It is an error that a blob of it
// is gone.
func (c Carrier) touch(ctx context.Context, doc *Document, version string) error {
	if time.Since(doc.Written) < fresh {
		return nil
	}
	gone, err := missing(ctx, c.Keeper, doc.Mount, doc.Blobs())
	if err != nil {
		return err
	}
	if slices.Contains(gone, true) {
		return fmt.Errorf("the cache mount %s: the place has lost a part of it", doc.Mount.ID)
	}
	again := *doc
	again.Written = time.Now().UTC()
	if err := c.Keeper.PutMount(ctx, &again, nil, &version); !errors.Is(err, ErrChanged) {
		return err
	}
	return nil
}
