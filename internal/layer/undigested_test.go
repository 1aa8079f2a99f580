package layer_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// A file below whose digest nobody knows is read where all else is the same, and only there.
func TestUndigestedBelow(t *testing.T) {
	tar := filepath.Join(t.TempDir(), "tar")
	must(t, os.WriteFile(tar, []byte("abcdefghi"), 0o600))
	file := func(path string, offset int64, contents string) *layer.Entry {
		return &layer.Entry{Path: path, Type: layer.File, Mode: 0o644, Size: 3, Offset: offset, Digest: digest.FromString(contents)}
	}
	below := func(path string, offset int64) *layer.Entry {
		e := file(path, offset, "")
		e.Digest = ""
		return e
	}
	low, err := layer.NewTOC([]*layer.Entry{below("changed", 0), below("other mode", 1<<40), below("same", 3), below("same, not summed", 6)})
	must(t, err)
	stack := layer.NewStack(layer.TarSource(tar, low))
	otherMode, unsummed := file("other mode", 0, "abc"), file("same, not summed", 0, "ghi")
	otherMode.Mode, unsummed.Digest = 0o600, ""
	now, err := layer.NewTOC([]*layer.Entry{file("changed", 0, "xyz"), otherMode, file("same", 0, "def"), unsummed})
	must(t, err)
	kept, err := layer.WithoutUnchanged(t.Context(), now, stack, func(_ context.Context, e *layer.Entry) (digest.Digest, error) {
		if e != unsummed {
			return "", errors.New("a digest is asked for that is known")
		}
		return digest.FromString("ghi"), nil
	})
	must(t, err)
	var paths []string
	for _, e := range kept.Entries {
		paths = append(paths, e.Path)
	}
	if diff := cmp.Diff([]string{"changed", "other mode"}, paths); diff != "" {
		t.Error(diff)
	}
	for _, e := range low.Entries {
		if e.Digest != "" {
			t.Errorf("the table of contents was changed: %q has a digest", e.Path)
		}
	}
}
