package layer_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/layer"
)

// A directory that overlayfs copied up is left out where nothing came of it, and only then.
func TestDiffCopiedUp(t *testing.T) {
	lower, upper := t.TempDir(), t.TempDir()
	for _, name := range []string{"same", "parent", "mode", "time"} {
		for _, dir := range []string{lower, upper} {
			if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(upper, "parent", "child"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(upper, "mode"), 0o700); err != nil {
		t.Fatal(err)
	}
	below, err := layer.Diff(t.Context(), lower, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range below.Entries {
		st, err := os.Stat(filepath.Join(upper, e.Path))
		if err != nil {
			t.Fatal(err)
		}
		e.ModTime = st.ModTime().Unix()
		if e.Path == "time" {
			e.ModTime--
		}
	}
	got, err := layer.Diff(t.Context(), upper, layer.NewStack(layer.TreeSource(lower, below)))
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, e := range got.Entries {
		paths = append(paths, e.Path)
	}
	if diff := cmp.Diff([]string{"mode", "parent", "parent/child", "time"}, paths); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}
