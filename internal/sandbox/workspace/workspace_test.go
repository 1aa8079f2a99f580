package workspace

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/test/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// The root is what the layers say, and 0755 where they say nothing, whatever the umask is; what is
// written is in the upper directory after Unmount.
func TestMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	defer unix.Umask(unix.Umask(0o077))
	for _, test := range []struct {
		name string
		root *layer.Entry
		want Attributes
	}{
		{"no entry", nil, Attributes{Mode: 0o755}},
		{"an entry", &layer.Entry{Type: layer.Dir, Mode: 0o1777, UID: 3, GID: 4}, Attributes{Mode: 0o1777, UID: 3, GID: 4}},
	} {
		t.Run(test.name, func(t *testing.T) {
			lower, dir := t.TempDir(), t.TempDir()
			w, err := Mount(dir, Directories(lower), OfRoot(test.root))
			if err != nil {
				t.Fatal(err)
			}
			defer w.Unmount()
			got, err := OfDir(w.Root())
			if err != nil || got.Mode != test.want.Mode || got.UID != test.want.UID || got.GID != test.want.GID {
				t.Errorf("the root is %+v, error %v", got, err)
			}
			if err := os.WriteFile(filepath.Join(w.Root(), "new"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := w.Unmount(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(w.Upper(), "new")); err != nil {
				t.Error(err)
			}
			if err := w.Unmount(); err != nil {
				t.Errorf("a second call: %v", err)
			}
		})
	}
}
