package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/builder/attest"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/export"
	"github.com/strata-build/strata/internal/event/progress"
	"github.com/strata-build/strata/internal/image/platform"
)

// outputFlags are the flags of build that say where the result goes.
type outputFlags struct {
	outputs, annotations []string
	attests              []string
	provenance, sbom     string
	push, load           bool
	metadata             string
}

func (f *outputFlags) register(fl *pflag.FlagSet) {
	fl.VarP((*listFlag)(&f.outputs), "output", "o", "where the result goes (default an image in the store): a `DIRECTORY`, - for a tar on standard output, or type=image, registry, docker, oci, local, tar or cacheonly with attributes; may be given several times")
	fl.BoolVar(&f.push, "push", false, "push the image to its registry, as --output type=registry")
	fl.BoolVar(&f.load, "load", false, "store the image, also if there are other outputs, as --output type=docker")
	fl.Var((*listFlag)(&f.annotations), "annotation", "annotation of the exported image, as `KEY=VALUE` or TYPE[PLATFORM]:KEY=VALUE; types are manifest, manifest-descriptor, index, index-descriptor")
	fl.StringVar(&f.metadata, "metadata-file", "", "write digests and names of the result to this `FILE`, as JSON")
	fl.Var((*listFlag)(&f.attests), "attest", "attestation of the image, as `type=TYPE` with attributes: type=provenance,mode=max; may be given several times")
	fl.StringVar(&f.provenance, "provenance", "", "`VALUE` of --attest type=provenance, such as false")
	fl.StringVar(&f.sbom, "sbom", "", "`VALUE` of --attest type=sbom, such as false")
}

// options adds the outputs to r.
func (f *outputFlags) options(r *builder.Request) error {
	for _, text := range f.outputs {
		if text == "" {
			continue // as buildx does, for -o "$VARIABLE"
		}
		spec, err := export.ParseSpec(text)
		if err != nil {
			return usageError("--output %w", err)
		}
		r.Output.Specs = append(r.Output.Specs, spec)
	}
	for _, text := range f.annotations {
		notes, err := export.ParseAnnotation(text)
		if err != nil {
			return usageError("--annotation %w", err)
		}
		r.Output.Annotations = append(r.Output.Annotations, notes...)
	}
	r.Output.Specs = export.Add(r.Output.Specs, f.push, f.load)
	var err error
	if r.Output.Attest, err = f.attestations(); err != nil {
		return err
	}
	if !r.Target.Dialect.Output.BuildKitOptions && (len(r.Output.Specs) > 0 || len(r.Output.Annotations) > 0 || f.metadata != "") {
		return &exit{exitUsage, errors.New("--output, --push, --load, --annotation and --metadata-file require BuildKit: leave out DOCKER_BUILDKIT=0 or --engine=classic")}
	}
	if !r.Target.Dialect.Output.BuildKitOptions {
		r.Output.Attest = attest.Options{} // Docker's classic builder knows none
	}
	if err := export.Check(r.Output.Specs, r.Output.Tags); err != nil {
		return &exit{exitUsage, err}
	}
	if !slices.Contains(r.Target.Allow, dockerfile.AllowLocalDelete) {
		if err := export.CheckDelete(r.Output.Specs); err != nil {
			return &exit{exitUsage, fmt.Errorf("--output %w", err)}
		}
	}
	takeEpoch(r)
	return nil
}

// prepare finds out before the build what would fail after it: a directory that cannot be made, or is not there for a
// small file.
func (f *buildFlags) prepare(r *builder.Request) error {
	if err := export.Prepare(r.Output.Specs); err != nil {
		return err
	}
	for _, file := range []struct{ flag, path string }{{"--metadata-file", f.output.metadata}, {"--iidfile", f.iidfile}} {
		if file.path == "" {
			continue
		}
		if st, err := os.Stat(file.path); err == nil && st.IsDir() {
			return fmt.Errorf("%s %s: it is a directory; name a file in it", file.flag, file.path)
		}
		if _, err := os.Stat(filepath.Dir(file.path)); err != nil {
			return fmt.Errorf("%s: %w; make the directory first", file.flag, err)
		}
	}
	return nil
}

const sourceDateEpoch = "SOURCE_DATE_EPOCH"

// takeEpoch adds SOURCE_DATE_EPOCH from the environment to the build arguments, as buildx does.
// Docker's classic builder does not know it.
func takeEpoch(r *builder.Request) {
	value := os.Getenv(sourceDateEpoch)
	if _, ok := r.Target.Args[sourceDateEpoch]; !ok && value != "" && r.Target.Dialect.File.BuildKitArgs {
		r.Target.Args[sourceDateEpoch] = value
	}
}

// epochWarning warns that the classic engine ignores SOURCE_DATE_EPOCH.
func epochWarning(r builder.Request) []string {
	_, given := r.Target.Args[sourceDateEpoch]
	if r.Target.Dialect.File.BuildKitArgs || !given && os.Getenv(sourceDateEpoch) == "" {
		return nil
	}
	return []string{sourceDateEpoch + " is left out: the image will have the times of this build; leave out DOCKER_BUILDKIT=0 or --engine=classic for one that can be built again"}
}

// metadataWarnings is buildx's variable that adds the findings of the build checks to --metadata-file.
const metadataWarnings = "BUILDX_METADATA_WARNINGS"

// writeMetadata writes the file of --metadata-file.
func writeMetadata(path string, result *builder.Result) error {
	return writeJSON(path, metadata(result))
}

// metadata is what --metadata-file says of a build.
func metadata(result *builder.Result) map[string]any {
	m := result.Exported.Metadata()
	for i, provenance := range result.Provenance {
		key := "buildx.build.provenance"
		if len(result.Provenance) > 1 {
			key += "/" + platform.Format(result.Images[i].Platform)
		}
		m[key] = provenance
	}
	m["buildx.build.ref"] = builderName + "/" + builderName + "/" + result.Build.ID // builder, node and build, as buildx names them
	if on, err := strconv.ParseBool(os.Getenv(metadataWarnings)); err == nil && on && len(result.Findings.Found) > 0 {
		m["buildx.build.warnings"] = progress.Warnings(result.Findings.Events(), filepath.Base(result.Findings.Name), result.Findings.Source)
	}
	return m
}

// writeJSON writes the file of --metadata-file.
func writeJSON(path string, m any) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err == nil {
		err = writeSmall(path, append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("writing the metadata: %w; name another file with --metadata-file", err)
	}
	return nil
}
