package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache/packed"
	"github.com/strata-build/strata/internal/cache/places"
)

// grace is how old a layer has to be that no record names: somebody may have sent it, and be about to write the record.
const grace = time.Hour

// Entries implements places.Manager.
func (p *Place) Entries(ctx context.Context) iter.Seq2[places.Entry, error] {
	return func(yield func(places.Entry, error) bool) {
		for kind, read := range map[string]func(context.Context, Object) (places.Entry, error){"records": p.entry, "mounts": p.mountEntry} {
			for found, err := range p.objects.List(ctx, p.name(kind, "")) {
				if err != nil {
					yield(places.Entry{}, fmt.Errorf("listing the %s of %s: %w", kind, p.title, err))
					return
				}
				e, err := read(ctx, found)
				if errors.Is(err, ErrNoObject) {
					continue // removed since
				}
				if !yield(e, err) || err != nil {
					return
				}
			}
		}
	}
}

// mountEntry reads the document of a cache mount.
func (p *Place) mountEntry(ctx context.Context, found Object) (places.Entry, error) {
	e := places.Entry{
		Key:     digest.NewDigestFromEncoded(digest.SHA256, strings.TrimPrefix(found.Name, p.name("mounts", ""))),
		Written: found.Modified,
		IsMount: true,
	}
	d, _, err := p.readMount(ctx, found.Name)
	if err == nil && (d.Check() != nil || d.Mount.Digest() != e.Key) {
		err = packed.ErrNone
	}
	if errors.Is(err, packed.ErrNone) {
		e.Err = fmt.Errorf("cache mount %s: %w", e.Key, places.ErrDamaged)
		return e, nil
	}
	e.Mount = d
	return e, err
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

// blob is a layer or a pack that an entry names.
type blob struct {
	digest digest.Digest
	size   int64
}

func blobsOf(e places.Entry) []blob {
	var all []blob
	if e.Blob != nil {
		all = append(all, blob{e.Blob.Digest, e.Blob.Size})
	}
	if e.Mount != nil {
		for _, b := range e.Mount.Blobs() {
			all = append(all, blob{b.Digest, b.Size})
		}
	}
	return all
}

// Verify implements places.Manager.
func (p *Place) Verify(ctx context.Context, e places.Entry, read bool) error {
	if e.Err != nil {
		return e.Err
	}
	for _, b := range blobsOf(e) {
		if err := p.verifyBlob(ctx, b, read); err != nil {
			return err
		}
	}
	return nil
}

func (p *Place) verifyBlob(ctx context.Context, b blob, read bool) error {
	name := p.o.blobName(b.digest)
	found, err := p.objects.Stat(ctx, name)
	switch {
	case errors.Is(err, ErrNoObject):
		return fmt.Errorf("layer %s: %w: it is gone", b.digest, places.ErrDamaged)
	case err != nil:
		return err
	case found.Size != b.size:
		return fmt.Errorf("layer %s: %w: it has %d bytes in the place of %d", b.digest, places.ErrDamaged, found.Size, b.size)
	case !read:
		return nil
	}
	r, _, err := p.objects.Open(ctx, name, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	v := b.digest.Verifier()
	if _, err := io.Copy(v, io.LimitReader(r, b.size+1)); err != nil {
		return fmt.Errorf("reading layer %s: %w", b.digest, err)
	}
	if !v.Verified() {
		return fmt.Errorf("layer %s: %w: its bytes are others", b.digest, places.ErrDamaged)
	}
	return nil
}

// Prune implements places.Pruner. Lists are written anew by the builds that come; what they name that is gone is no hit.
func (p *Place) Prune(ctx context.Context, o places.PruneOptions) (places.Pruned, error) {
	var pruned places.Pruned
	var kept, gone []places.Entry
	for e, err := range p.Entries(ctx) {
		if err != nil {
			return pruned, err
		}
		if e.Err != nil || e.Written.Before(o.Before) {
			gone = append(gone, e)
		} else {
			kept = append(kept, e)
		}
	}
	kept, over := within(kept, o.MaxBytes)
	gone = append(gone, over...)
	names := make([]string, 0, len(gone))
	for _, e := range gone {
		name, isMount := p.objectOf(e)
		if isMount {
			pruned.Mounts++
		} else {
			pruned.Records++
		}
		names = append(names, name)
	}
	lists, err := p.oldLists(ctx, o.Before, pruned.Records > 0)
	if err != nil {
		return pruned, err
	}
	// What names layers goes before them, so that nobody finds a record whose layer is gone.
	if err := p.remove(ctx, append(names, lists...), o.Dry); err != nil {
		return pruned, err
	}
	named := map[string]bool{}
	for _, e := range kept {
		for _, b := range blobsOf(e) {
			named[p.o.blobName(b.digest)] = true
		}
	}
	names = nil
	for found, err := range p.objects.List(ctx, p.o.Prefix+p.o.Blobs) {
		if err != nil {
			return pruned, err
		}
		if named[found.Name] || time.Since(found.Modified) < grace {
			continue
		}
		pruned.Blobs++
		pruned.Bytes += found.Size
		names = append(names, found.Name)
	}
	if err := p.remove(ctx, names, o.Dry); err != nil {
		return pruned, err
	}
	if t, ok := p.objects.(Tidier); ok && !o.Dry {
		return pruned, t.Tidy(ctx, p.o.Prefix+p.o.Blobs, time.Now().Add(-day))
	}
	return pruned, nil
}

// day is how old what a cut upload has left has to be that is removed: somebody may go on with it.
const day = 24 * time.Hour

// objectOf is the object of an entry, and whether it is of a mount.
func (p *Place) objectOf(e places.Entry) (name string, isMount bool) {
	if e.IsMount {
		return p.name("mounts", e.Key.Encoded()), true
	}
	return p.recordName(e.Key), false
}

func (p *Place) remove(ctx context.Context, names []string, dry bool) error {
	if dry {
		return nil
	}
	for _, name := range names {
		if err := p.objects.Remove(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// within parts entries into those that were written last and name no more than most bytes together, and the others. 0 is any
// number.
func within(entries []places.Entry, most int64) (kept, over []places.Entry) {
	if most <= 0 {
		return entries, nil
	}
	slices.SortStableFunc(entries, func(a, b places.Entry) int { return b.Written.Compare(a.Written) })
	counted := map[digest.Digest]bool{}
	var total int64
	for i, e := range entries {
		for _, b := range blobsOf(e) {
			if !counted[b.digest] {
				counted[b.digest] = true
				total += b.size
			}
		}
		if total > most {
			return entries[:i], entries[i:]
		}
	}
	return entries, nil
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
