package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/look/inventory"
)

type imagesFlags struct {
	all, quiet, noTrunc, digests bool
	tree                         bool
	format                       string
	filters                      []string
}

func (a *app) images() *cobra.Command {
	f := &imagesFlags{}
	cmd := &cobra.Command{
		Use:   "images [OPTIONS] [REPOSITORY[:TAG]]",
		Short: "List images",
		Args:  args(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				f.filters = append(f.filters, "reference="+args[0])
			}
			return a.runImages(f)
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.all, "all", "a", false, "list the steps of images too")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "print IDs only")
	fl.BoolVar(&f.noTrunc, "no-trunc", false, "do not shorten IDs")
	fl.BoolVar(&f.digests, "digests", false, "show the digests of the images in their registries")
	fl.BoolVar(&f.tree, "tree", false, "list what names mean as trees, with an image for each platform: U is one that a container was made of")
	fl.StringVar(&f.format, "format", "", "`TEMPLATE` in Go's language, 'table TEMPLATE' or json; fields: .ID .Repository .Tag .Digest .CreatedSince .CreatedAt .Size .Platform")
	fl.VarP((*listFlag)(&f.filters), "filter", "f", "list only matching images, as `KEY=VALUE`: dangling=true, label=KEY[=VALUE], before=IMAGE, since=IMAGE, reference=PATTERN, until=TIME")
	for _, name := range []string{"quiet", "no-trunc", "digests", "format"} {
		cmd.MarkFlagsMutuallyExclusive("tree", name)
	}
	return cmd
}

func (a *app) runImages(f *imagesFlags) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	filter, err := inventory.ParseFilter(s, f.filters, "dangling", "label", "before", "since", "reference", "until")
	if err != nil {
		return &exit{exitUsage, err}
	}
	images, err := inventory.List(s, f.all, filter)
	if err != nil {
		return err
	}
	if f.tree {
		return a.printImageTree(s, images)
	}
	var rows []human.Row
	for _, img := range images {
		rows = append(rows, f.rows(img)...)
	}
	if f.quiet {
		return a.printColumn("ID", rows)
	}
	l := imageListing("Repository", "Tag", "ID", "CreatedSince", "Size")
	if f.digests {
		l.Default = []string{"Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"}
	}
	config := a.readDockerConfig()
	return a.listByConfig(l, f.format, config.ImagesFormat, rows)
}

func imageListing(columns ...string) human.Listing {
	return human.Listing{
		Headers: map[string]string{
			"ID": "IMAGE ID", "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "CreatedSince": "CREATED",
			"CreatedAt": "CREATED AT", "Size": "SIZE", "Containers": "CONTAINERS", "VirtualSize": "SIZE",
			"SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE", "Platform": "PLATFORM",
		},
		Default: columns,
		Raw:     []string{"repository Repository", "tag Tag", "image_id ID", "created_at CreatedAt", "virtual_size Size"},
	}
}

// rows makes a row for each name of an image. A name with a digest and no tag has the tag <none>,
// and is listed only with --digests, or if the image has no other name.
func (f *imagesFlags) rows(img *inventory.Image) []human.Row {
	base := func() human.Row {
		created := image.Created(img.Config)
		r := human.Row{
			"ID": string(img.ID), "Repository": "<none>", "Tag": "<none>", "Digest": "<none>",
			"CreatedSince": human.Since(created), "CreatedAt": created.UTC().Format("2006-01-02 15:04:05 -0700 MST"),
			"Size": human.Size(img.Size), "VirtualSize": human.FullSize(img.Size),
			"Containers": "N/A", "SharedSize": "N/A", "UniqueSize": "N/A",
			"Platform": platform.Format(platform.Normal(img.Config.Platform)),
		}
		if !f.noTrunc {
			r["ID"] = image.ShortID(img.ID)
		}
		return r
	}
	var rows []human.Row
	seen := map[string]bool{}
	for _, tagged := range []bool{true, false} {
		for _, n := range slices.Concat(img.Names, img.Others) {
			if (n.Tag != "") != tagged || !tagged && len(rows) > 0 && (!f.digests || seen[n.ByDigest()]) {
				continue
			}
			r := base()
			r["Repository"] = n.Repository
			if tagged {
				r["Tag"] = n.Tag
			}
			if n.Digest != "" {
				r["Digest"] = n.Digest.String()
			}
			seen[n.ByDigest()] = true
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 {
		rows = append(rows, base())
	}
	return rows
}

// imageGroup is `strata image …`.
func (a *app) imageGroup() *cobra.Command {
	cmd := group("image", "Manage images")
	ls, remove, imp := a.images(), a.remove(), a.importTar()
	ls.Use, ls.Aliases = "ls [OPTIONS] [REPOSITORY[:TAG]]", []string{"list"}
	remove.Use, remove.Aliases = "rm [OPTIONS] IMAGE...", []string{"remove"}
	cmd.AddCommand(ls, remove, imp, a.history(), a.inspect(), a.tag(), a.imagePrune(),
		a.build(), a.pull(), a.push(), a.load(), a.save())
	return cmd
}

// group is a command that has only subcommands.
func group(name, short string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  subcommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.Flags().SetInterspersed(false) // an unknown command is called that, whatever flags follow
	return cmd
}
