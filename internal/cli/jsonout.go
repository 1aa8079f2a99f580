package cli

import (
	"context"
	"strconv"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
)

// The documents of --json that belong to no package of their own; docs/output.md describes them. Names that are there
// stay, with what they mean; others may come.

// pulledDocument is what `strata pull --json` prints of each name, on a line.
type pulledDocument struct {
	Name   string        `json:"name"`   // in full, with the tag or digest
	ID     digest.Digest `json:"id"`     // the image's
	Digest digest.Digest `json:"digest"` // of the manifest or index in the registry
	Fresh  bool          `json:"fresh"`  // false if all of it was here
}

// pullAsDocuments pulls an image, or with all those of all tags, and prints a pulledDocument of each, and nothing
// on the way.
func (a *app) pullAsDocuments(ctx context.Context, name, wanted string, all bool) error {
	ref, p, err := pullArguments(name, wanted, all)
	if err != nil {
		return err
	}
	m, err := a.mover()
	if err != nil {
		return err
	}
	refs := []reference.Named{reference.TagNameOnly(ref)}
	if all {
		if refs, err = allTags(ctx, m, ref); err != nil {
			return err
		}
	}
	for _, ref := range refs {
		pulled, err := m.Pull(ctx, ref, transfer.Wanted{Platform: p, Sole: !platformAsked(wanted)})
		if err != nil {
			return err
		}
		if err := a.printDocument(pulledDocument{Name: ref.String(), ID: pulled.ID, Digest: pulled.Digest, Fresh: pulled.Fresh}); err != nil {
			return err
		}
	}
	return nil
}

// pushedDocument is what `strata push --json` prints of each name, on a line.
type pushedDocument struct {
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"` // of the manifest or index
	Size   int           `json:"size"`   // of it, in bytes
}

// pushAsDocuments pushes images and prints a pushedDocument of each.
func (a *app) pushAsDocuments(ctx context.Context, m *transfer.Mover, refs []reference.Named, only *ocispec.Platform) error {
	for _, ref := range refs {
		p, err := m.Push(ctx, ref, only)
		if err != nil {
			return err
		}
		if err := a.printDocument(pushedDocument{Name: ref.String(), Digest: p.Digest, Size: p.Size}); err != nil {
			return err
		}
	}
	return nil
}

// prunedDocument is what the prunes print with --json.
type prunedDocument struct {
	Untagged  []string        `json:"untagged"` // names, as people type them
	Images    []digest.Digest `json:"images"`
	Records   int             `json:"records"`
	Mounts    int             `json:"cacheMounts"`
	Reclaimed int64           `json:"reclaimed"` // bytes
}

func newPrunedDocument(gone *store.Pruned) prunedDocument {
	d := prunedDocument{Untagged: []string{}, Images: []digest.Digest{}, Records: gone.Records, Mounts: gone.Mounts, Reclaimed: gone.Freed}
	for _, name := range gone.Untagged {
		d.Untagged = append(d.Untagged, familiar(name))
	}
	d.Images = append(d.Images, gone.Images...)
	return d
}

// familiar is a name as people type it: "debian:12".
func familiar(name string) string {
	if ref, err := reference.ParseNormalizedNamed(name); err == nil {
		return reference.FamiliarString(ref)
	}
	return name
}

// printDocument prints a document on a line.
func (a *app) printDocument(v any) error { return human.JSON(a.stdout, "", v) }

// jsonFlag adds --json.
func jsonFlag(fl *pflag.FlagSet, value *bool, usage string) { fl.BoolVar(value, "json", false, usage) }

// addJSON gives the commands that have docker's --format a --json that means --format json, as the others have it.
func addJSON(cmd *cobra.Command) {
	fl := cmd.Flags()
	if format := fl.Lookup("format"); format != nil && format.DefValue == "" && fl.Lookup("json") == nil && cmd.Name() != "inspect" {
		fl.BoolFunc("json", "print JSON, as --format json", func(value string) error {
			on, err := strconv.ParseBool(value)
			if on {
				err = format.Value.Set("json")
			}
			return err
		})
	}
	for _, c := range cmd.Commands() {
		addJSON(c)
	}
}
