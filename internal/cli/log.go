package cli

import (
	"context"
	"runtime/debug"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/view"
)

// imageHelp describes the argument IMAGE, for the help of the commands that inspect layers.
const imageHelp = `IMAGE is one of these:
  - the name of an image in the store or in a registry
  - the ID of an image, a step, a history row or a layer
  - an archive: docker-archive:FILE, oci-archive:FILE or oci:DIRECTORY; add :NAME if it has several images`

func (a *app) log() *cobra.Command {
	var oneline, graph, asJSON bool
	cmd := &cobra.Command{
		Use:   "log [OPTIONS] IMAGE",
		Short: "Show the layers and configuration changes of an image, newest first",
		Long: `Show the layers and configuration changes of an image, newest first: how many files each layer added (+), changed (~)
and removed (-), and which rows belong to the base image. For an image in a registry, no layer is downloaded.

` + imageHelp,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.look(cmd.Context(), args[0], func(im *anatomy.Image) error {
				l, err := view.NewLog(cmd.Context(), im)
				if err != nil {
					return err
				}
				return a.page(func(p *view.Printer) error {
					switch {
					case asJSON:
						return p.JSON(l)
					case graph:
						l.Graph(p, a.buildOf(im.ID))
					case oneline:
						l.Oneline(p)
					default:
						l.Print(p)
					}
					return nil
				})
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&oneline, "oneline", false, "print one line for each row")
	fl.BoolVar(&graph, "graph", false, "print one line for each row, and draw the base image and the stages of COPY --from as a graph")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("oneline", "graph", "json")
	return cmd
}

// buildOf returns the recorded build that made an image, nil if there is none.
func (a *app) buildOf(id digest.Digest) *explain.Build {
	row, err := a.store.BuildByImage(id)
	if err != nil {
		return nil
	}
	b, err := explain.Read(row)
	if err != nil {
		return nil
	}
	return b
}

// lookMemory is the memory limit in bytes that the inspecting commands set for Go's garbage
// collector. A million files are a heap of 100 MB without pointers, which is cheap to mark; by
// default Go would let it grow to twice that before it collects.
const lookMemory = 112 << 20

// look calls f with the image that the argument IMAGE names.
func (a *app) look(ctx context.Context, text string, f func(*anatomy.Image) error) error {
	return a.lookAs(ctx, event.Discard, text, f)
}

// lookAs is look with who is told of layers that are fetched.
func (a *app) lookAs(ctx context.Context, events event.Sink, text string, f func(*anatomy.Image) error) error {
	debug.SetMemoryLimit(lookMemory)
	m, err := a.moverFor(events)
	if err != nil {
		return err
	}
	im, err := anatomy.Open(ctx, m, text)
	if err != nil {
		return err
	}
	defer im.Close()
	return f(im)
}
