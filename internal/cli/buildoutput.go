package cli

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/build"
	"github.com/strata-build/strata/internal/dockerfile"
	"github.com/strata-build/strata/internal/export"
)

// outputFlags are the options of build that say what becomes of the result.
type outputFlags struct {
	outputs    []string
	push, load bool
}

func (f *outputFlags) register(fl *pflag.FlagSet) {
	fl.StringArrayVarP(&f.outputs, "output", "o", nil, "what becomes of the result, instead of an image in the store: a `DIRECTORY`, - for a tar, or type=image, registry, docker, oci, local, tar or cacheonly with attributes; may be given several times")
	fl.BoolVar(&f.push, "push", false, "send the image to its registry: --output type=registry")
	fl.BoolVar(&f.load, "load", false, "keep the image in the store, beside other outputs too: --output type=docker")
}

// options adds the outputs to o.
func (f *outputFlags) options(o *build.Options) error {
	for _, text := range f.outputs {
		spec, err := export.ParseSpec(text)
		if err != nil {
			return usageError("--output %w", err)
		}
		o.Outputs = append(o.Outputs, spec)
	}
	o.Outputs = export.Add(o.Outputs, f.push, f.load)
	if o.Engine == dockerfile.Classic && len(o.Outputs) > 0 {
		return &exit{exitUsage, errors.New("--output, --push and --load require BuildKit: leave out DOCKER_BUILDKIT=0 or --engine=classic")}
	}
	if err := export.Check(o.Outputs, o.Tags); err != nil {
		return &exit{exitUsage, err}
	}
	return nil
}
