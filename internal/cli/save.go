package cli

import (
	"context"
	"io"
	"slices"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

func (a *app) save() *cobra.Command {
	var output, format, wanted string
	cmd := &cobra.Command{
		Use:   "save [OPTIONS] IMAGE [IMAGE...]",
		Short: "Save images to an archive",
		Args:  args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f := transfer.Format(format)
			if f != transfer.DockerArchive && f != transfer.OCIArchive {
				return usageError("--format %s: it is docker or oci", format)
			}
			only, err := parseOnlyPlatform(wanted)
			if err != nil {
				return err
			}
			return a.runSave(cmd.Context(), args, only, output, f)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this `FILE` instead of standard output")
	cmd.Flags().StringVar(&format, "format", "docker", "`FORMAT` of the archive: docker (also a valid OCI layout) or oci")
	onlyPlatformFlag(cmd.Flags(), &wanted)
	return cmd
}

func (a *app) runSave(ctx context.Context, names []string, only *ocispec.Platform, output string, format transfer.Format) error {
	out := a.layersOnTerminal()
	defer out.Close()
	m, err := a.moverFor(out)
	if err != nil {
		return err
	}
	if format == transfer.OCIArchive && only == nil && len(names) == 1 && len(a.imagesOf(names[0])) > 1 {
		return a.saveIndex(ctx, m, names[0], output)
	}
	var images []transfer.Saved
	for _, text := range a.withTags(names) {
		c, err := a.findOnly(text, only)
		if err != nil {
			return err
		}
		tags, err := a.namesIn(text)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(images, func(s transfer.Saved) bool { return s.ID == c.ID })
		if at < 0 {
			at = len(images)
			images = append(images, transfer.Saved{ID: c.ID})
		}
		for _, t := range tags {
			if !slices.Contains(images[at].Names, t) {
				images[at].Names = append(images[at].Names, t)
			}
		}
	}
	return a.writeTo(ctx, output, func(w io.Writer) error { return m.Save(ctx, w, format, images) })
}

// withTags puts all names of a repository in the place of one without a tag, as docker save does.
func (a *app) withTags(names []string) []string {
	var all []string
	for _, text := range names {
		ref, err := registry.ParseName(text)
		if err != nil || !reference.IsNameOnly(ref) {
			all = append(all, text)
			continue
		}
		refs, err := tagsOf(a.store, ref)
		if err != nil { // an ID, or nothing
			all = append(all, text)
		}
		for _, r := range refs {
			all = append(all, reference.FamiliarString(r))
		}
	}
	return all
}

// saveIndex writes the images for several platforms that have one name, with an index of them.
func (a *app) saveIndex(ctx context.Context, m *transfer.Mover, name, output string) error {
	ref, err := registry.ParseName(name)
	if err != nil {
		return err
	}
	ref = reference.TagNameOnly(ref)
	return a.writeTo(ctx, output, func(w io.Writer) error { return m.SaveIndex(ctx, w, ref) })
}

// namesIn returns the names that an image gets in an archive: the argument, if it is a name with a
// tag.
func (a *app) namesIn(text string) ([]string, error) {
	ref, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return nil, nil
	}
	if _, ok := ref.(reference.Digested); ok {
		return nil, nil
	}
	ref = reference.TagNameOnly(ref)
	names, err := a.store.Names("")
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if n.Name == ref.String() {
			return []string{reference.FamiliarString(ref)}, nil
		}
	}
	return nil, nil // an ID
}
