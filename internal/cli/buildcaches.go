package cli

import (
	"github.com/strata-build/strata/internal/builder"
)

// caches adds the places that the cache comes from and goes to: those of the flags, or without one those of the
// configuration.
func (f *buildFlags) caches(r *builder.Request) error {
	from, fromFlag, to, toFlag := f.cacheFrom, "--cache-from", f.cacheTo, "--cache-to"
	if r.Target.Dialect.Output.BuildKitOptions && (len(from) == 0 || len(to) == 0) {
		c, err := loadConfig()
		if err != nil {
			return err
		}
		if len(from) == 0 {
			from, fromFlag = c.CacheFrom, "reading the configuration: cache-from"
		}
		if len(to) == 0 {
			to, toFlag = c.CacheTo, "reading the configuration: cache-to"
		}
	}
	for _, text := range from {
		spec, err := builder.CachePlaces.ParseFrom(text)
		if err != nil {
			return usageError("%s %w", fromFlag, err)
		}
		r.Cache.From = append(r.Cache.From, spec)
	}
	for _, text := range to {
		spec, err := builder.CachePlaces.ParseTo(text)
		if err != nil {
			return usageError("%s %w", toFlag, err)
		}
		if spec.Type == "none" || spec.Type == "inline" {
			r.Cache.NoInline = spec.Type == "none"
		}
		r.Cache.To = append(r.Cache.To, spec)
	}
	return nil
}
