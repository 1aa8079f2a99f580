package cli

import (
	"context"
	"fmt"

	"github.com/distribution/reference"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/event/progress"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

func (a *app) pull() *cobra.Command {
	var quiet, all bool
	var wanted string
	cmd := &cobra.Command{
		Use:   "pull [OPTIONS] NAME[:TAG|@DIGEST]",
		Short: "Pull an image from its registry",
		Args:  args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all {
				return usageError("pull --all-tags is not supported yet; pull each tag by its name")
			}
			return a.runPull(cmd.Context(), args[0], wanted, quiet)
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the name only")
	cmd.Flags().BoolVarP(&all, "all-tags", "a", false, "pull all tags of the repository")
	platformFlag(cmd.Flags(), &wanted)
	return cmd
}

func (a *app) runPull(ctx context.Context, name, wanted string, quiet bool) error {
	ref, err := registry.ParseName(name)
	if err != nil {
		return &exit{exitUsage, err}
	}
	p, err := parsePlatform(wanted)
	if err != nil {
		return err
	}
	out := progress.NewLayers(a.stdout, quiet)
	defer out.Close()
	m, err := a.moverFor(out)
	if err != nil {
		return err
	}
	if reference.IsNameOnly(ref) {
		ref = reference.TagNameOnly(ref)
		out.Message("Using default tag: latest")
	}
	err = pullInto(ctx, m, ref, transfer.Wanted{Platform: p, Sole: wanted == ""}, out)
	out.Close()
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, ref)
	return nil
}

// pullInto pulls an image and prints the same lines as docker pull.
func pullInto(ctx context.Context, m *transfer.Mover, ref reference.Named, want transfer.Wanted, out *progress.Layers) error {
	out.Message(fmt.Sprintf("%s: Pulling from %s", tagOrDigest(ref), reference.Path(ref)))
	p, err := m.Pull(ctx, ref, want)
	if err != nil {
		return err
	}
	status := "Image is up to date for"
	if p.Fresh {
		status = "Downloaded newer image for"
	}
	out.Message("Digest: " + p.Digest.String())
	out.Message(fmt.Sprintf("Status: %s %s", status, reference.FamiliarString(ref)))
	return nil
}

// tagOrDigest returns the tag or digest with which docker pull and push begin a line.
func tagOrDigest(ref reference.Named) string {
	switch r := ref.(type) {
	case reference.Digested:
		return r.Digest().String()
	case reference.Tagged:
		return r.Tag()
	}
	return ""
}
