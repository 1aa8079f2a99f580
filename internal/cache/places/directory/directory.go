// Package directory is a cache that is an artifact in an OCI layout, a directory of files. Layers stay there until one
// is needed.
package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/cache/places/artifact"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/archive"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// Kind is type=local, as BuildKit calls it.
var Kind = places.Kind{
	Type: "local",
	From: append([]places.Attribute{{Name: "src", Value: "DIRECTORY"}}, places.MountsFrom()...),
	To: slices.Concat([]places.Attribute{{Name: "dest", Value: "DIRECTORY"}, {Name: resetName, Check: places.CheckBool}},
		places.Options(), places.MountsTo(), places.OCIOptions()),
	Open:   Open,
	Create: create,
}

// resetName is the attribute that removes all blobs which no manifest of the layout names, as in BuildKit.
const resetName = "reset"

func create(m *transfer.Mover, s places.Spec) (cache.Place, error) {
	p, err := New(m, s.Ref)
	if err != nil {
		return nil, err
	}
	p.reset = s.On(resetName)
	return p, nil
}

// Open makes a source of the cache that a directory has.
func Open(ctx context.Context, m *transfer.Mover, s places.Spec, _ ocispec.Platform) (*cache.Source, error) {
	p, err := New(m, s.Ref)
	if err == nil {
		_, err = p.Load(ctx)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("there is no cache in this directory yet")
	}
	if err != nil {
		return nil, err
	}
	return &cache.Source{Name: s.Ref, Place: p}, nil
}

// Place is a cache in a directory.
type Place struct {
	*artifact.Document
	mover *transfer.Mover
	name  string // as the person wrote it
	dir   string // absolute
	reset bool   // Put removes whatever the index does not lead to
}

// New returns the place of a directory, which need not be there. Nothing of it is read.
func New(m *transfer.Mover, dir string) (*Place, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	p := &Place{mover: m, name: dir, dir: abs}
	p.Document = artifact.NewDocument(p.read)
	return p, nil
}

// read reads the cache that the index names. Another one may take its place meanwhile, whose writer removes the blobs
// of the one before: then that is read.
func (p *Place) read(context.Context) (*artifact.Records, error) {
	for last := digest.Digest(""); ; {
		records, of, err := p.readIndexed()
		if !errors.Is(err, fs.ErrNotExist) || of == "" || of == last {
			return records, err
		}
		last = of
	}
}

// readIndexed reads the cache that the index names, and says which manifest it is of.
func (p *Place) readIndexed() (_ *artifact.Records, of digest.Digest, err error) {
	l, err := archive.OpenLayout(p.dir)
	if err != nil {
		return nil, of, err
	}
	defer l.Close()
	index, err := l.Index()
	if err != nil {
		return nil, of, err
	}
	i := slices.IndexFunc(index.Manifests, isCache)
	if i < 0 {
		return nil, of, fmt.Errorf("%s holds no cache of strata; write one there with --cache-to type=local,dest=%[1]s", p.name)
	}
	of = index.Manifests[i].Digest
	var manifest ocispec.Manifest
	data, err := l.Read(index.Manifests[i], archive.MaxManifest)
	if err == nil {
		err = json.Unmarshal(data, &manifest)
	}
	if err == nil {
		data, err = l.Read(manifest.Config, archive.MaxConfig)
	}
	if err != nil {
		return nil, of, fmt.Errorf("reading the cache in %s: %w", p.name, err)
	}
	records, err := artifact.Decode(p.name, data, manifest.Layers)
	if err != nil {
		return nil, of, err
	}
	return records, of, records.Locate(p.mover, transfer.LayoutLocation(p.dir))
}

func isCache(d ocispec.Descriptor) bool { return d.ArtifactType == artifact.Type }

// Put writes the steps. What else the layout has stays; the cache that was there is replaced once the new one is
// complete, and its blobs are removed that nothing in the layout needs any more. Whoever else writes there meanwhile
// does not remove what this cache needs.
func (p *Place) Put(ctx context.Context, steps []cache.Step) error {
	steps, diffIDs, err := places.Sendable(p.mover, steps)
	if err != nil {
		return err
	}
	p.Set(nil)
	to, err := makeLayout(p.dir)
	if err != nil {
		return err
	}
	// What takes long is done without the lock. What another one has removed since is sent again with it.
	if _, err := p.send(ctx, to, steps, diffIDs); err != nil {
		return err
	}
	unlock, err := to.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	desc, err := p.send(ctx, to, steps, diffIDs)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	replaced, err := enterIndex(p.dir, desc, isCache)
	if err != nil {
		return err
	}
	return p.tidy(ctx, replaced)
}

// send writes the blobs of a cache that are not there yet, and returns its manifest.
func (p *Place) send(ctx context.Context, to layout, steps []cache.Step, diffIDs []digest.Digest) (
	desc ocispec.Descriptor, err error,
) {
	blobs := make([]ocispec.Descriptor, len(diffIDs))
	for i, d := range diffIDs {
		if blobs[i], err = p.mover.SendLayer(ctx, d, layer.Gzip, to); err != nil {
			return desc, err
		}
	}
	config, manifest, err := artifact.Encode(steps, diffIDs, blobs)
	if err != nil {
		return desc, err
	}
	for _, b := range []registry.Blob{config, manifest} {
		if err := to.put(ctx, b); err != nil {
			return desc, err
		}
	}
	desc = manifest.Descriptor()
	desc.ArtifactType = artifact.Type
	return desc, nil
}
