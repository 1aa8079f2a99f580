package solver

import (
	"context"
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/local"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
)

// Where what a known selection selects cannot be read, it is an error each time that somebody asks.
func TestSelectionThatCannotBeRead(t *testing.T) {
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	key := &cache.Key{Kind: cache.KindSelection}
	if err := local.Save(s, key, &cache.Record{Selected: "file:" + digest.FromString("x").Encoded()}); err != nil {
		t.Fatal(err)
	}
	unreadable := errors.New("unreadable")
	scratch := newState(s, "", image.Grow(&image.Config{}))
	gone := newState(s, "", image.Grow(&image.Config{}))
	gone.Config.RootFS.DiffIDs = []digest.Digest{digest.FromString("gone")}
	for name, from := range map[string]*State{"its files": scratch, "its layers": gone} {
		sel := &sources{}
		err := New(s, Config{}).selectOnce(ctx, from, &dockerfile.Step{}, sel, key, func(context.Context) error { return unreadable })
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := sel.read(ctx); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	}
}
