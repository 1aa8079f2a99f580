package equal

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/strata-build/strata/test/testbed"
)

// checkExpected builds a case that Docker cannot and compares the image with what the case expects.
func (b *builders) checkExpected(t *testing.T, name string, c buildCase) {
	got := b.byStrata(t, name, c)
	base := b.baseOf(t, got, c)
	if c.hasExpected {
		if diff := compareListing(c.expected, list(got.tree, base.tree)); diff != "" {
			t.Errorf("what the image adds (-expected +strata):\n%s", diff)
		}
	}
	if diff := compareConfig(c.expectedConfig, got, base); diff != "" {
		t.Errorf("config:\n%s", diff)
	}
}

// baseOf finds the image whose layers are the most that the image begins with; an empty one for FROM scratch.
func (b *builders) baseOf(t *testing.T, built *image, c buildCase) *image {
	t.Helper()
	names := []string{testbed.BusyboxImage, testbed.DebianImage}
	if c.base != "" {
		names = append(names, c.base)
	}
	base := &image{tree: tree{}}
	for _, name := range names {
		other := b.standing[name]
		if other == nil {
			other = b.saved(t, name)
		}
		if name != c.base { // which is another one in the next case
			b.standing[name] = other
		}
		have, all := other.config.RootFS.DiffIDs, built.config.RootFS.DiffIDs
		if len(have) > len(base.config.RootFS.DiffIDs) && len(have) <= len(all) && slices.Equal(have, all[:len(have)]) {
			base = other
		}
	}
	return base
}

// saved reads an image of strata's store.
func (b *builders) saved(t *testing.T, name string) *image {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "base.tar")
	if b.user != nil {
		if err := b.user.Give(filepath.Dir(archive)); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := b.command(t.Context(), "save", "-o", archive, name).CombinedOutput(); err != nil {
		t.Fatalf("strata save %s: %v\n%s", name, err, out)
	}
	image, err := readImage(archive)
	if err != nil {
		t.Fatal(err)
	}
	return image
}
