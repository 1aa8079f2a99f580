package build

import (
	"context"
	"encoding/csv"
	"fmt"
	"strings"
	"sync"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/transfer"
)

// CacheSpec is a --cache-from or --cache-to, in Docker's short form, an image's name, or in buildx's long one:
// type=registry,ref=…,mode=max.
type CacheSpec struct {
	Type string            // "image" for the short form, else what type= says
	Ref  string            // name, or directory
	Attr map[string]string // what else it says
}

// ParseCacheSpec reads a --cache-from or --cache-to.
func ParseCacheSpec(text string) (CacheSpec, error) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return CacheSpec{}, fmt.Errorf("%s: %w", text, err)
	}
	if len(fields) == 1 && !strings.Contains(text, "=") {
		return CacheSpec{Type: "image", Ref: text}, nil
	}
	s := CacheSpec{Attr: map[string]string{}}
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return s, fmt.Errorf("%s: %q is not NAME=VALUE", text, field)
		}
		switch name = strings.ToLower(name); name {
		case "type":
			s.Type = value
		case "ref", "src", "dest":
			s.Ref = value
		default:
			s.Attr[name] = value
		}
	}
	return s, nil
}

// CheckFrom says what is wrong with the spec as a --cache-from.
func (s CacheSpec) CheckFrom() error {
	switch s.Type {
	case "image", "registry":
		if s.Ref == "" {
			return fmt.Errorf("type=%s needs ref=NAME", s.Type)
		}
		return nil
	}
	return fmt.Errorf("type=%s is not supported; take type=registry,ref=NAME, or an image's name alone", s.Type)
}

// sources opens the caches from elsewhere, at once. One that cannot be had is a warning, not a failed build.
func sources(ctx context.Context, m *transfer.Mover, o Options) []*cache.Source {
	found := make([]*cache.Source, len(o.CacheFrom))
	var wg sync.WaitGroup
	for i, spec := range o.CacheFrom {
		wg.Go(func() {
			done := o.Display.Phase("load cache from " + spec.Ref)
			s, err := source(ctx, m, spec)
			done(nil)
			if err != nil && ctx.Err() == nil {
				o.Display.Warning(fmt.Sprintf("no cache from %s: %v", spec.Ref, err))
				return
			}
			found[i] = s
		})
	}
	wg.Wait()
	var all []*cache.Source
	for _, s := range found {
		if s != nil {
			all = append(all, s)
		}
	}
	return all
}

func source(ctx context.Context, m *transfer.Mover, spec CacheSpec) (*cache.Source, error) {
	return m.Cache(ctx, spec.Ref, spec.Type == "registry")
}
