package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/builder/export"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/transfer/combine"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// imageTools is `strata buildx imagetools …`: images in registries, without pulling them.
func (a *app) imageTools() *cobra.Command {
	cmd := group("imagetools", "Inspect and combine images in registries")
	cmd.AddCommand(a.imageToolsInspect(), a.imageToolsCreate())
	return cmd
}

func (a *app) imageToolsInspect() *cobra.Command {
	var format string
	var raw bool
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] NAME",
		Short: "Show the manifest or index that a name means in its registry",
		Args:  args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if raw && format != "" {
				return usageError("--raw and --format exclude each other")
			}
			return a.runImageToolsInspect(cmd.Context(), args[0], format, raw)
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "`TEMPLATE` in Go's language; fields: .Name .Manifest .Image .Provenance .SBOM, such as '{{json .Manifest}}' or '{{.Manifest.Digest}}'")
	cmd.Flags().BoolVar(&raw, "raw", false, "print the manifest or index as the registry has it")
	return cmd
}

func (a *app) runImageToolsInspect(ctx context.Context, name, format string, raw bool) error {
	ref, err := registry.ParseName(name)
	if err != nil {
		return &exit{exitUsage, err}
	}
	ref = reference.TagNameOnly(ref)
	client, err := a.registry()
	if err != nil {
		return err
	}
	m, err := client.Manifest(ctx, ref)
	if err != nil {
		return err
	}
	switch {
	case raw:
		_, err := a.texts().Write(m.Data) // no line end, which would be part of the digest
		return err
	case format == "" || strings.Join(strings.Fields(format), "") == "{{.Manifest}}":
		return a.printManifest(ref, m)
	}
	d, err := describeImage(ctx, client, ref, m)
	if err != nil {
		return err
	}
	if err := d.attested(ctx, client, ref, m); err != nil {
		return err
	}
	d.Name = name
	return human.TemplateIndented(a.texts(), format, d)
}

// printManifest prints a manifest or index in buildx's form.
func (a *app) printManifest(ref reference.Named, m registry.Blob) error {
	w := tabwriter.NewWriter(a.texts(), 0, 0, 1, ' ', 0)
	fmt.Fprintf(w, "Name:\t%s\nMediaType:\t%s\nDigest:\t%s\n", ref, m.MediaType, m.Digest)
	if registry.IsManifest(m.MediaType) {
		return w.Flush()
	}
	var index ocispec.Index
	if err := json.Unmarshal(m.Data, &index); err != nil {
		return fmt.Errorf("%s: reading the index: %w", ref, err)
	}
	fmt.Fprint(w, "\t\nManifests:\t\n")
	if err := w.Flush(); err != nil {
		return err
	}
	for i, d := range index.Manifests {
		if i > 0 {
			fmt.Fprint(w, "\t\n")
		}
		fmt.Fprintf(w, "  Name:\t%s@%s\n  MediaType:\t%s\n", reference.TrimNamed(ref), d.Digest, human.Clean(d.MediaType))
		if d.Platform != nil {
			fmt.Fprintf(w, "  Platform:\t%s\n", human.Clean(platform.Format(*d.Platform)))
		}
		if len(d.Annotations) > 0 {
			fmt.Fprint(w, "  Annotations:\t\n")
		}
		for _, key := range slices.Sorted(maps.Keys(d.Annotations)) {
			fmt.Fprintf(w, "    %s:\t%s\n", human.Clean(key), human.Clean(d.Annotations[key]))
		}
	}
	return w.Flush()
}

// imageDescription is what templates for imagetools inspect can name.
type imageDescription struct {
	Name     string `json:"name"`
	Manifest any    `json:"manifest"`
	// Image is the config, or the configs by their platforms where there are several.
	Image any `json:"image,omitempty"`
	// Provenance and SBOM are what is attested, or that by platforms where there are several.
	Provenance map[string]any `json:"provenance,omitempty"`
	SBOM       map[string]any `json:"sbom,omitempty"`
}

// shownManifest is an index, or the descriptor of a manifest, as buildx shows them.
type shownManifest struct {
	SchemaVersion int                  `json:"schemaVersion,omitempty"`
	MediaType     string               `json:"mediaType"`
	Digest        digest.Digest        `json:"digest"`
	Size          int64                `json:"size"`
	Manifests     []ocispec.Descriptor `json:"manifests,omitempty"`
	Annotations   map[string]string    `json:"annotations,omitempty"`
}

// describeImage reads the configs of what a name means.
func describeImage(ctx context.Context, c *registry.Client, ref reference.Named, m registry.Blob) (*imageDescription, error) {
	shown := shownManifest{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Data))}
	d := &imageDescription{}
	configs := map[string]ocispec.Image{}
	if registry.IsManifest(m.MediaType) {
		config, err := readConfig(ctx, c, ref, m)
		if err != nil {
			return nil, err
		}
		d.Manifest, d.Image = shown, config
		return d, nil
	}
	var index ocispec.Index
	if err := json.Unmarshal(m.Data, &index); err != nil {
		return nil, fmt.Errorf("%s: reading the index: %w", reference.FamiliarString(ref), err)
	}
	shown.SchemaVersion, shown.Manifests, shown.Annotations = index.SchemaVersion, index.Manifests, index.Annotations
	for _, entry := range index.Manifests {
		if !registry.IsManifest(entry.MediaType) || entry.Platform == nil || entry.Platform.OS == "unknown" {
			continue
		}
		child, err := reference.WithDigest(reference.TrimNamed(ref), entry.Digest)
		if err != nil {
			return nil, err
		}
		manifest, err := c.Manifest(ctx, child)
		if err != nil {
			return nil, err
		}
		if configs[platform.Format(*entry.Platform)], err = readConfig(ctx, c, child, manifest); err != nil {
			return nil, err
		}
	}
	d.Manifest, d.Image = shown, configs
	if len(configs) == 1 {
		for _, config := range configs {
			d.Image = config
		}
	}
	return d, nil
}

func readConfig(ctx context.Context, c *registry.Client, ref reference.Named, m registry.Blob) (ocispec.Image, error) {
	var config ocispec.Image
	data, err := c.Config(ctx, ref, m)
	if err != nil {
		return config, err
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return config, fmt.Errorf("%s: reading its config: %w", reference.FamiliarString(ref), err)
	}
	return config, nil
}

type imageToolsCreateFlags struct {
	files, tags, annotations, platforms []string
	dryRun, add, preferIndex            bool
	metadata                            string
}

func (a *app) imageToolsCreate() *cobra.Command {
	f := &imageToolsCreateFlags{}
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] [SOURCE...]",
		Short: "Give images in registries another name, or combine them to one for several platforms",
		Long: "Give images in registries another name, or combine them to one for several platforms. A source is a name, a digest,\n" +
			"or a descriptor as JSON.",
		Args: args(0, -1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runImageToolsCreate(cmd.Context(), args, f) },
	}
	fl := cmd.Flags()
	fl.VarP((*listFlag)(&f.files), "file", "f", "`FILE` with the descriptor of a source")
	fl.VarP((*listFlag)(&f.tags), "tag", "t", "`NAME` of the new image; may be given several times")
	fl.Var((*listFlag)(&f.annotations), "annotation", "annotation, as `KEY=VALUE`, index:KEY=VALUE or manifest-descriptor[PLATFORM]:KEY=VALUE")
	fl.VarP((*listFlag)(&f.platforms), "platform", "p", "take only the images for this `PLATFORM`")
	fl.BoolVar(&f.dryRun, "dry-run", false, "print the new index instead of pushing it")
	fl.BoolVar(&f.add, "append", false, "add the sources to what the first name means now")
	fl.BoolVar(&f.preferIndex, "prefer-index", true, "make an index of a single manifest too; false copies it as it is")
	fl.StringVar(&f.metadata, "metadata-file", "", "write digest and names of the result to this `FILE`, as JSON")
	fl.String("progress", "auto", "ignored: there is one form (`TYPE`)")
	return cmd
}

func (a *app) runImageToolsCreate(ctx context.Context, texts []string, f *imageToolsCreateFlags) error {
	var tags []reference.Named
	for _, text := range f.tags {
		ref, err := newName(text)
		if err != nil {
			return err
		}
		tags = append(tags, ref)
	}
	sources, err := f.sources(texts)
	if err != nil {
		return err
	}
	if f.add && len(tags) > 0 {
		sources = append([]*combine.Source{{Ref: tags[0]}}, sources...)
	}
	if err := combine.Locate(sources, tags); err != nil {
		return &exit{exitUsage, err}
	}
	o, err := f.options()
	if err != nil {
		return err
	}
	client, err := a.registry()
	if err != nil {
		return err
	}
	index, err := combine.Index(ctx, client, sources, o)
	if err != nil {
		return err
	}
	if f.dryRun {
		_, err := fmt.Fprintf(a.texts(), "%s\n", index.Data)
		return err
	}
	if err := combine.Publish(ctx, client, index, sources, tags); err != nil {
		return err
	}
	for _, tag := range tags {
		fmt.Fprintf(a.stderr, "pushed %s to %s\n", index.Digest, tag)
	}
	return f.writeMetadata(index, tags)
}

// sources reads what the files and arguments name.
func (f *imageToolsCreateFlags) sources(texts []string) ([]*combine.Source, error) {
	switch {
	case len(texts)+len(f.files) == 0:
		return nil, usageError("it needs a source: a name, a digest, or -f with a descriptor")
	case len(f.tags) == 0 && !f.dryRun:
		return nil, usageError("it needs a name for the new image; give one with --tag, or look at the result with --dry-run")
	}
	var all []string
	for _, file := range f.files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a source: %w", err)
		}
		all = append(all, string(data))
	}
	var sources []*combine.Source
	for _, text := range append(all, texts...) {
		s, err := combine.ParseSource(text)
		if err != nil {
			return nil, usageError("%w; a source is a name, a digest or a descriptor", err)
		}
		sources = append(sources, s)
	}
	return sources, nil
}

func (f *imageToolsCreateFlags) options() (combine.Options, error) {
	o := combine.Options{CopySingle: !f.preferIndex, Index: map[string]string{}}
	var err error
	if len(f.platforms) > 0 {
		if o.Platforms, err = parsePlatforms(f.platforms); err != nil {
			return o, err
		}
	}
	var entries []export.Annotation
	for _, text := range f.annotations {
		notes, err := export.ParseAnnotation(text)
		if err != nil {
			return o, usageError("--annotation %w", err)
		}
		for _, n := range notes {
			switch n.Place {
			case export.OnIndex:
				o.Index[n.Key] = n.Value
			case export.OnManifestDescriptor:
				entries = append(entries, n)
			default:
				return o, &exit{exitUsage, errors.New("--annotation " + text + ": manifests stay as they are; write index: or manifest-descriptor: before the key")}
			}
		}
	}
	o.Descriptor = func(p *ocispec.Platform) map[string]string {
		found := map[string]string{}
		for _, n := range entries {
			if n.Platform == "" || p != nil && n.Platform == platform.Format(*p) {
				found[n.Key] = n.Value
			}
		}
		return found
	}
	return o, nil
}

func (f *imageToolsCreateFlags) writeMetadata(index registry.Blob, tags []reference.Named) error {
	if f.metadata == "" {
		return nil
	}
	var names []string
	for _, t := range tags {
		names = append(names, t.Name())
	}
	data, err := json.MarshalIndent(map[string]any{
		"containerimage.descriptor": index.Descriptor(), "image.name": strings.Join(names, ","),
	}, "", "  ")
	if err == nil {
		err = writeSmall(f.metadata, append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("writing the metadata: %w; name another file with --metadata-file", err)
	}
	return nil
}
