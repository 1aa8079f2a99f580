// Package export takes what a build gave out of it, as --output says: into the store, to registries, as archives, as
// plain files.
//
//	spec.go        type=…,dest=… → Spec
//	export.go      images × specs → outputs
//	ahead.go       layers on their way to registries while the build goes on
//	store.go       type=image, and type=docker without a file: names in the store, pushes
//	archive.go     type=oci, type=docker
//	files.go       type=local, type=tar: the merged tree of each image
//	directory.go   a tree → a directory that people work in
//
// The types and their attributes are those of `docker buildx build --output`.
package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/transfer"
)

// Image is what a build gave for one platform.
type Image struct {
	Platform ocispec.Platform
	// ID is the digest of its config, which is in the store; "" for an empty stage, which is no image.
	ID     digest.Digest
	Config *image.Config
	// Base is the config of the image that it was built from, nil for none (FROM scratch).
	Base *image.Config
	// Steps are those since, as the inline cache has them.
	Steps []cache.Step
	// Attestations are what is attested of it.
	Attestations []transfer.Attestation
}

// baseLayers is how many of the image's layers are the base's.
func (i *Image) baseLayers() int {
	if i.Base == nil {
		return 0
	}
	return len(i.Base.RootFS.DiffIDs)
}

// baseRows is how many rows of its history are the base's.
func (i *Image) baseRows() int {
	if i.Base == nil {
		return 0
	}
	return len(i.Base.History)
}

// Options are what all outputs of a build share.
type Options struct {
	Tags  []reference.Named // --tag
	Epoch *time.Time        // SOURCE_DATE_EPOCH, nil if it is not set
	// Index gives a result for one platform the form of one for several: an index, a folder of its own.
	Index bool
	// Annotations are those of all images, beside each output's own.
	Annotations []Annotation
	// File calls write with the file that a dest names, or with standard output for "-". The file appears when it is
	// complete.
	File   func(dest string, write func(io.Writer) error) error
	Events event.Sink
}

// output shows an output under way.
type output struct {
	events event.Sink
	vertex *event.Vertex
}

// item tells of a part of it how many of how many bytes are done, 0 where there is nothing to count. status is "" while
// bytes move, and "done" at the end.
func (o *output) item(text string, current, total int64, status string) {
	o.events.Send(event.Progress{Vertex: o.vertex, Item: text, Current: current, Total: total, Status: status})
}

// exporter is one call of Run.
type exporter struct {
	*transfer.Mover
	images []Image
	o      Options
	result Result
}

// Run makes the outputs, one after the other. images are what the build gave, one for each platform.
func Run(ctx context.Context, m *transfer.Mover, images []Image, specs []Spec, o Options) (*Result, error) {
	if len(images) == 0 {
		return nil, errors.New("there is nothing to export")
	}
	x := &exporter{Mover: m, images: images, o: o}
	for i := range specs {
		if err := x.export(ctx, &specs[i]); err != nil {
			return nil, err
		}
	}
	return &x.result, nil
}

func (x *exporter) export(ctx context.Context, s *Spec) error {
	var run func(context.Context, *Spec, *output) error
	name := ""
	switch s.Kind {
	case CacheOnly:
		return nil
	case Local:
		name, run = "exporting to client directory", x.directory
	case Tar:
		name, run = "exporting to client tarball", x.tarball
	case OCI, Docker:
		name, run = fmt.Sprintf("exporting to %s image format", s.Kind), x.archive
		if s.Dest == "" && !s.Directory {
			name, run = "exporting to image", x.store
		}
	default:
		name, run = "exporting to image", x.store
	}
	v := event.Begin(x.o.Events, event.Export, name)
	err := run(ctx, s, &output{x.o.Events, v})
	event.End(x.o.Events, v, err)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// checkImages says that each result is an image.
func (x *exporter) checkImages() error {
	for _, img := range x.images {
		if img.ID == "" {
			return errors.New("the target is an empty stage (FROM scratch and nothing else), which gives no image; add an instruction to it")
		}
	}
	return nil
}

// several says that the result has a part for each of several platforms.
func (x *exporter) several() bool { return len(x.images) > 1 || x.o.Index }

// tree is the merged tree of an image, and what opens its files.
func (x *exporter) tree(ctx context.Context, img *Image) (*layer.TOC, layer.OpenFunc, error) {
	stack, err := x.Store.Stack(img.Config.RootFS.DiffIDs)
	if err != nil {
		return nil, nil, err
	}
	t, err := stack.Flatten(ctx)
	return t, stack.Open, err
}
