package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/event/progress"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/transfer/archive"
)

func (a *app) load() *cobra.Command {
	var input, wanted string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "load [OPTIONS]",
		Short: "Load images from an archive of docker save or an OCI layout",
		Args:  args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			only, err := parseOnlyPlatform(wanted)
			if err != nil {
				return err
			}
			return a.runLoad(cmd.Context(), input, only, quiet)
		},
	}
	cmd.Flags().StringVarP(&input, "input", "i", "-", "read this `FILE` or directory instead of standard input")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print no progress")
	onlyPlatformFlag(cmd.Flags(), &wanted)
	return cmd
}

func (a *app) runLoad(ctx context.Context, input string, only *ocispec.Platform, quiet bool) error {
	if input == "-" && human.IsTerminal(a.stdin) {
		return usageError("standard input is a terminal; name a file with -i, or pipe one in")
	}
	out := progress.NewLayers(a.stdout, quiet || !human.IsTerminal(a.stdout.File))
	defer out.Close()
	m, err := a.moverFor(out)
	if err != nil {
		return err
	}
	r, err := a.openArchive(ctx, input)
	if err != nil {
		return err
	}
	defer r.Close()
	images, err := m.LoadOnly(ctx, r, only)
	out.Close()
	if err != nil {
		return fmt.Errorf("loading %s: %w", input, err)
	}
	for _, img := range images {
		if len(img.Names) == 0 {
			fmt.Fprintf(a.stdout, "Loaded image ID: %s\n", img.ID)
		}
		for _, ref := range img.Names {
			fmt.Fprintf(a.stdout, "Loaded image: %s\n", reference.FamiliarString(ref))
		}
	}
	return nil
}

// openArchive opens an archive from a file or standard input. Temporary data is kept on the store's
// disk.
func (a *app) openArchive(ctx context.Context, input string) (*archive.Reader, error) {
	dir, err := a.store.Temp("archive")
	if err != nil {
		return nil, err
	}
	limits := a.store.Limits().On(a.store.Root())
	if input == "-" {
		r, err := archive.OpenStream(interruptible(ctx, a.stdin), dir, limits)
		if err != nil {
			return nil, a.store.Explain(err)
		}
		return r, nil
	}
	if st, err := os.Stat(input); err == nil && st.Mode()&os.ModeNamedPipe != 0 {
		f, err := disk.OpenFile(ctx, input)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return archive.OpenStream(f, dir, limits)
	}
	r, err := archive.Open(input, dir, limits)
	if err != nil && !strings.Contains(err.Error(), input) { // as for a compressed archive
		err = fmt.Errorf("%s: %w", input, err)
	}
	if err != nil {
		return nil, a.store.Explain(err)
	}
	return r, nil
}
