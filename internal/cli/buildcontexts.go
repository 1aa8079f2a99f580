package cli

import (
	"github.com/strata-build/strata/internal/builder"
)

// namedContexts reads the --build-contexts.
func (f *buildFlags) namedContexts(r *builder.Request) error {
	if len(f.contexts) > 0 && !r.Target.Dialect.Output.BuildKitOptions {
		return usageError("--build-context requires BuildKit: build without DOCKER_BUILDKIT=0 and --engine classic")
	}
	for _, text := range f.contexts {
		spec, err := builder.ParseContextSpec(text)
		if err != nil {
			return usageError("--build-context %w", err)
		}
		r.Source.Contexts = append(r.Source.Contexts, spec)
	}
	return nil
}
