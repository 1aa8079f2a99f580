package cli

import (
	"github.com/strata-build/strata/internal/builder"
)

// namedContexts reads the --build-contexts.
func (f *buildFlags) namedContexts(o *builder.Options) error {
	if len(f.contexts) > 0 && !o.Engine.Output.BuildKitOptions {
		return usageError("--build-context requires BuildKit: build without DOCKER_BUILDKIT=0 and --engine classic")
	}
	for _, text := range f.contexts {
		spec, err := builder.ParseContextSpec(text)
		if err != nil {
			return usageError("--build-context %w", err)
		}
		o.Contexts = append(o.Contexts, spec)
	}
	return nil
}
