package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache/places"
)

// grace is how old a layer has to be that no record names: somebody may have sent it, and be about to write the record.
const grace = time.Hour

// Entries implements places.Manager.
func (p *Place) Entries(ctx context.Context) iter.Seq2[places.Entry, error] {
	return func(yield func(places.Entry, error) bool) {
		for found, err := range p.objects.List(ctx, p.name("records", "")) {
			if err != nil {
				yield(places.Entry{}, fmt.Errorf("listing the records of %s: %w", p.title, err))
				return
			}
			e, err := p.entry(ctx, found)
			if errors.Is(err, ErrNoObject) {
				continue // removed since
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// entry reads a record.
func (p *Place) entry(ctx context.Context, found Object) (places.Entry, error) {
	e := places.Entry{
		Key:     digest.NewDigestFromEncoded(digest.SHA256, strings.TrimPrefix(found.Name, p.name("records", ""))),
		Written: found.Modified,
	}
	data, err := p.read(ctx, found.Name, maxRecord)
	if err != nil {
		return e, err
	}
	var o object
	if err := decode(data, &o); err != nil || o.Key != e.Key || !o.sound() {
		e.Err = fmt.Errorf("record %s: %w", e.Key, places.ErrDamaged)
		return e, nil
	}
	e.Record, e.Blob = o.Record, o.Blob
	return e, nil
}

// Verify implements places.Manager.
func (p *Place) Verify(ctx context.Context, e places.Entry, read bool) error {
	if e.Err != nil || e.Blob == nil {
		return e.Err
	}
	name := p.o.blobName(e.Blob.Digest)
	found, err := p.objects.Stat(ctx, name)
	switch {
	case errors.Is(err, ErrNoObject):
		return fmt.Errorf("layer %s: %w: it is gone", e.Blob.Digest, places.ErrDamaged)
	case err != nil:
		return err
	case found.Size != e.Blob.Size:
		return fmt.Errorf("layer %s: %w: it has %d bytes in the place of %d", e.Blob.Digest, places.ErrDamaged, found.Size, e.Blob.Size)
	case !read:
		return nil
	}
	r, _, err := p.objects.Open(ctx, name, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	v := e.Blob.Digest.Verifier()
	if _, err := io.Copy(v, io.LimitReader(r, e.Blob.Size+1)); err != nil {
		return fmt.Errorf("reading layer %s: %w", e.Blob.Digest, err)
	}
	if !v.Verified() {
		return fmt.Errorf("layer %s: %w: its bytes are others", e.Blob.Digest, places.ErrDamaged)
	}
	return nil
}

// Prune implements places.Pruner. Lists are written anew by the builds that come; what they name that is gone is no hit.
func (p *Place) Prune(ctx context.Context, before time.Time, dry bool) (places.Pruned, error) {
	var pruned places.Pruned
	var gone []string
	named := map[string]bool{}
	for e, err := range p.Entries(ctx) {
		if err != nil {
			return pruned, err
		}
		if e.Err != nil || e.Written.Before(before) {
			gone = append(gone, p.recordName(e.Key))
		} else if e.Blob != nil {
			named[p.o.blobName(e.Blob.Digest)] = true
		}
	}
	pruned.Records = len(gone)
	// Records go before their layers, so that nobody finds one whose layer is gone.
	for _, name := range gone {
		if dry {
			break
		}
		if err := p.objects.Remove(ctx, name); err != nil {
			return pruned, err
		}
	}
	lists, err := p.oldLists(ctx, before, len(gone) > 0)
	if err != nil {
		return pruned, err
	}
	for _, name := range lists {
		if dry {
			break
		}
		if err := p.objects.Remove(ctx, name); err != nil {
			return pruned, err
		}
	}
	for found, err := range p.objects.List(ctx, p.o.Prefix+p.o.Blobs) {
		if err != nil {
			return pruned, err
		}
		if named[found.Name] || time.Since(found.Modified) < grace {
			continue
		}
		pruned.Layers++
		pruned.Bytes += found.Size
		if dry {
			continue
		}
		if err := p.objects.Remove(ctx, found.Name); err != nil {
			return pruned, err
		}
	}
	return pruned, nil
}

// oldLists are those that have to go with records: all where records go, since they name them, else those that are old.
func (p *Place) oldLists(ctx context.Context, before time.Time, all bool) ([]string, error) {
	var names []string
	for _, kind := range []string{"names", "weak"} {
		for found, err := range p.objects.List(ctx, p.name(kind, "")) {
			if err != nil {
				return nil, err
			}
			if all || found.Modified.Before(before) {
				names = append(names, found.Name)
			}
		}
	}
	return names, nil
}
