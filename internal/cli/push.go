package cli

import (
	"context"
	"fmt"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/event/progress"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

type pushFlags struct {
	quiet, all, json bool
	platform         string
}

func (a *app) push() *cobra.Command {
	f := &pushFlags{}
	cmd := &cobra.Command{
		Use:   "push [OPTIONS] NAME[:TAG]",
		Short: "Push an image to its registry",
		Args:  args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runPush(cmd.Context(), args[0], f)
		},
	}
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "print the name only")
	cmd.Flags().BoolVarP(&f.all, "all-tags", "a", false, "push all tags of the repository")
	onlyPlatformFlag(cmd.Flags(), &f.platform)
	ignoreTrust(cmd.Flags())
	jsonFlag(cmd.Flags(), &f.json, "print what was pushed as JSON, a line for each name, and no progress")
	return cmd
}

func (a *app) runPush(ctx context.Context, name string, f *pushFlags) error {
	ref, err := registry.ParseName(name)
	if err != nil {
		return &exit{exitUsage, err}
	}
	if _, ok := ref.(reference.Digested); ok {
		return usageError("%s: give a tag instead of the digest, which follows from the image", name)
	}
	if f.all && !reference.IsNameOnly(ref) {
		return usageError("--all-tags goes with a name without a tag: %s", reference.FamiliarName(ref))
	}
	only, err := parseOnlyPlatform(f.platform)
	if err != nil {
		return err
	}
	out := progress.NewLayers(a.stdout, f.quiet || f.json)
	defer out.Close()
	m, err := a.moverFor(out)
	if err != nil {
		return err
	}
	refs := []reference.Named{reference.TagNameOnly(ref)}
	if f.all {
		if refs, err = tagsOf(m.Store, ref); err != nil {
			return err
		}
	}
	if f.json {
		return a.pushAsDocuments(ctx, m, refs, only)
	}
	out.Message(fmt.Sprintf("The push refers to repository [%s]", ref.Name()))
	if reference.IsNameOnly(ref) && !f.all {
		out.Message("Using default tag: latest")
	}
	err = pushAll(ctx, m, refs, only, out)
	out.Close()
	if err != nil {
		return err
	}
	if f.quiet {
		fmt.Fprintln(a.stdout, refs[0])
	}
	return nil
}

func pushAll(ctx context.Context, m *transfer.Mover, refs []reference.Named, only *ocispec.Platform, out *progress.Layers) error {
	for _, ref := range refs {
		p, err := m.Push(ctx, ref, only)
		if err != nil {
			return err
		}
		out.Message(fmt.Sprintf("%s: digest: %s size: %d", tagOrDigest(ref), p.Digest, p.Size))
	}
	return nil
}

// tagsOf returns the names with a tag that images in the store have in a repository.
func tagsOf(s *store.Store, repository reference.Named) ([]reference.Named, error) {
	names, err := s.Names("")
	if err != nil {
		return nil, err
	}
	var refs []reference.Named
	for _, n := range names {
		ref, err := reference.ParseNormalizedNamed(n.Name)
		if err != nil {
			continue // a name in another repository
		}
		if _, tagged := ref.(reference.Tagged); tagged && ref.Name() == repository.Name() {
			refs = append(refs, ref)
		}
	}
	if len(refs) == 0 {
		return nil, fmt.Errorf("no image here has a name in the repository %s; see strata images", reference.FamiliarName(repository))
	}
	return refs, nil
}
