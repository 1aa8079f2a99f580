package cli

import (
	"context"
	"fmt"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/event/progress"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

func (a *app) pull() *cobra.Command {
	var quiet, all, asJSON bool
	var wanted string
	cmd := &cobra.Command{
		Use:   "pull [OPTIONS] NAME[:TAG|@DIGEST]",
		Short: "Pull an image from its registry",
		Args:  args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON {
				return a.pullAsDocuments(cmd.Context(), args[0], wanted, all)
			}
			return a.runPull(cmd.Context(), args[0], wanted, quiet, all)
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the name only")
	cmd.Flags().BoolVarP(&all, "all-tags", "a", false, "pull all tags of the repository")
	platformFlag(cmd.Flags(), &wanted)
	ignoreTrust(cmd.Flags())
	jsonFlag(cmd.Flags(), &asJSON, "print what was pulled as JSON, a line for each name, and no progress")
	return cmd
}

// pullArguments reads the name and the platform of a pull, of one image or of all tags.
func pullArguments(name, wanted string, all bool) (ref reference.Named, p ocispec.Platform, err error) {
	if ref, err = registry.ParseName(name); err != nil {
		return nil, p, &exit{exitUsage, err}
	}
	if all && !reference.IsNameOnly(ref) {
		return nil, p, usageError("--all-tags goes with a name without a tag: %s", reference.FamiliarName(ref))
	}
	p, err = parsePlatform(wanted)
	return ref, p, err
}

func (a *app) runPull(ctx context.Context, name, wanted string, quiet, all bool) error {
	ref, p, err := pullArguments(name, wanted, all)
	if err != nil {
		return err
	}
	out := progress.NewLayers(a.stdout, quiet)
	defer out.Close()
	m, err := a.moverFor(out)
	if err != nil {
		return err
	}
	if reference.IsNameOnly(ref) && !all {
		ref = reference.TagNameOnly(ref)
		out.Message("Using default tag: latest")
	}
	refs := []reference.Named{ref}
	if all {
		if refs, err = allTags(ctx, m, ref); err != nil {
			return err
		}
	}
	err = pullAll(ctx, m, refs, transfer.Wanted{Platform: p, Sole: !platformAsked(wanted)}, out)
	out.Close()
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, ref)
	return nil
}

// allTags are the names of all tags that a repository has in its registry.
func allTags(ctx context.Context, m *transfer.Mover, repository reference.Named) ([]reference.Named, error) {
	tags, err := m.Registry.Tags(ctx, repository)
	if err != nil {
		return nil, err
	}
	var refs []reference.Named
	for _, tag := range tags {
		ref, err := reference.WithTag(repository, tag)
		if err != nil {
			return nil, fmt.Errorf("%s: the registry lists the tag %q: %w", reference.FamiliarName(repository), tag, err)
		}
		refs = append(refs, ref)
	}
	if len(refs) == 0 {
		return nil, fmt.Errorf("%s has no tags", reference.FamiliarName(repository))
	}
	return refs, nil
}

// pullAll pulls images of one repository and prints the same lines as docker pull.
func pullAll(ctx context.Context, m *transfer.Mover, refs []reference.Named, want transfer.Wanted, out *progress.Layers) error {
	fresh := false
	for _, ref := range refs {
		out.Message(fmt.Sprintf("%s: Pulling from %s", tagOrDigest(ref), reference.Path(ref)))
		p, err := m.Pull(ctx, ref, want)
		if err != nil {
			return err
		}
		fresh = fresh || p.Fresh
		out.Message("Digest: " + p.Digest.String())
	}
	status := "Image is up to date for"
	if fresh {
		status = "Downloaded newer image for"
	}
	of := refs[0]
	if len(refs) > 1 {
		of = reference.TrimNamed(of)
	}
	out.Message(fmt.Sprintf("Status: %s %s", status, reference.FamiliarString(of)))
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
