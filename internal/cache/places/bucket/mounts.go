package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/cache/packed"
)

// A place keeps the contents of cache mounts beside its records: mounts/<digest of the name> is the document, encoded as records
// are, and its blobs are among the layers.

func (p *Place) mountName(name packed.Name) string {
	return p.name("mounts", name.Digest().Encoded())
}

// Mount implements packed.Keeper.
func (p *Place) Mount(ctx context.Context, name packed.Name) (*packed.Document, string, error) {
	d, version, err := p.readMount(ctx, p.mountName(name))
	if err != nil {
		return nil, version, err
	}
	return d, version, d.CheckFor(name)
}

// readMount reads a document; packed.ErrNone, with the version that there is, where there is none that can be read.
func (p *Place) readMount(ctx context.Context, object string) (*packed.Document, string, error) {
	r, info, err := p.objects.Open(ctx, object, 0)
	if errors.Is(err, ErrNoObject) {
		return nil, "", packed.ErrNone
	}
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, packed.MaxDocument+1))
	if err != nil {
		return nil, "", fmt.Errorf("reading %s of %s: %w", object, p.title, err)
	}
	var d packed.Document
	if len(data) > packed.MaxDocument || decode(data, &d) != nil {
		return nil, info.Version, fmt.Errorf("%s: %w: it is damaged", object, packed.ErrNone)
	}
	return &d, info.Version, nil
}

// HasBlob implements packed.Keeper.
func (p *Place) HasBlob(ctx context.Context, _ packed.Name, b packed.Blob) (bool, error) {
	o, err := p.objects.Stat(ctx, p.o.blobName(b.Digest))
	if errors.Is(err, ErrNoObject) {
		return false, nil
	}
	return err == nil && o.Size == b.Size, err
}

// OpenBlob implements packed.Keeper.
func (p *Place) OpenBlob(ctx context.Context, _ packed.Name, b packed.Blob) (io.ReadCloser, error) {
	r, _, err := p.objects.Open(ctx, p.o.blobName(b.Digest), 0)
	return r, err
}

// PutMount implements packed.Keeper.
func (p *Place) PutMount(ctx context.Context, d *packed.Document, open map[digest.Digest]packed.OpenFunc, before *string) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(p.o.Uploads)
	for _, b := range d.Blobs() {
		if open[b.Digest] != nil {
			g.Go(func() error { return p.putMountBlob(gctx, d.Mount, b, open[b.Digest]) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	data, err := encode(d)
	if err != nil {
		return err
	}
	expect := Expect{Nothing: before == nil}
	if before != nil {
		expect.Version = *before
	}
	err = p.replace(ctx, p.mountName(d.Mount), data, expect)
	if errors.Is(err, ErrChanged) {
		return packed.ErrChanged
	}
	return err
}

func (p *Place) putMountBlob(ctx context.Context, name packed.Name, b packed.Blob, open packed.OpenFunc) error {
	if has, err := p.HasBlob(ctx, name, b); err != nil || has {
		return err
	}
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = p.objects.Put(ctx, p.o.blobName(b.Digest), b.Size, r, Expect{})
	return err
}
