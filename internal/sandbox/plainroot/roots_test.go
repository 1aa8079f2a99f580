package plainroot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer/identity"
)

func chainOf(names string) (chain []digest.Digest) {
	for name := range strings.FieldsSeq(names) {
		chain = append(chain, digest.FromString(name))
	}
	return chain
}

// A root serves a chain that has all of its layers, or the last one with other times.
func TestNearest(t *testing.T) {
	same := func(a, b digest.Digest) bool { return a == digest.FromString("b") && b == digest.FromString("b2") }
	for _, test := range []struct {
		want string
		have []string
		best string // the root that is taken, without what has to be put on it again
	}{
		{"a b c", []string{"a", "a b", "a b c d", "x"}, "a b"},
		{"a b c", []string{"a b c d", "b"}, ""},
		{"a b2 c", []string{"a b"}, "a"},
		{"a b2 c", []string{"a b c"}, ""},
		{"a", []string{"a b"}, ""},
		{"a b", nil, ""},
	} {
		rs := &Roots{}
		for _, have := range test.have {
			rs.free = append(rs.free, &Root{chain: chainOf(have)})
		}
		got := rs.nearest(chainOf(test.want), same)
		if test.best == "" {
			if got != nil {
				t.Errorf("%q of %q: %v", test.want, test.have, got.chain)
			}
			continue
		}
		if got == nil || len(got.chain) != len(chainOf(test.best)) || len(rs.free) != len(test.have)-1 {
			t.Errorf("%q of %q: %v", test.want, test.have, got)
		}
	}
}

// What is put into a root is taken out again, with the directories that were made for it; what it hid comes back, and
// the times of directories stay.
func TestPlace(t *testing.T) {
	r := &Root{folder: t.TempDir()}
	at := func(name string) string { return filepath.Join(r.Dir(), name) }
	for _, dir := range []string{"", "etc", "real"} {
		if err := os.MkdirAll(at(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(at("etc/hosts"), []byte("image"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/real", at("link")); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(at("etc"))
	if err != nil {
		t.Fatal(err)
	}
	lent := filepath.Join(r.folder, "cache")
	if err := os.Mkdir(lent, 0o755); err != nil {
		t.Fatal(err)
	}
	for target, thing := range map[string]Thing{"/etc/hosts": Folder(0o755), "/new/deep/dir": Folder(0o755), "/link/cache": Lent(lent)} {
		if err := r.Place(target, thing); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(at("real/cache/kept"), nil, 0o644); err != nil {
		t.Error("a link led elsewhere:", err)
	}
	if err := r.Clear(); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(at("etc/hosts")); string(data) != "image" {
		t.Errorf("what was hidden is %q, %v", data, err)
	}
	if after, err := os.Stat(at("etc")); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Error("the directory's time is another one", err)
	}
	if _, err := os.Stat(at("new")); !os.IsNotExist(err) {
		t.Error("a directory stayed:", err)
	}
	if _, err := os.Stat(filepath.Join(lent, "kept")); err != nil {
		t.Error("a cache did not come back:", err)
	}
	if err := r.Place("/", Folder(0o755)); err == nil {
		t.Error("the root itself was hidden")
	}
}

// What a step puts in the place of what was made for it leads nowhere out of the root, and does not become the store's.
func TestClearBehindLinks(t *testing.T) {
	r := &Root{folder: t.TempDir()}
	at := func(name string) string { return filepath.Join(r.Dir(), name) }
	victim, lent := t.TempDir(), filepath.Join(r.folder, "cache")
	for _, dir := range []string{r.Dir(), lent, filepath.Join(victim, "deep"), filepath.Join(victim, "moved")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, place := range []struct {
		target string
		thing  Thing
	}{{"/made/deep/c", Lent(lent)}, {"/made/deep/f", File(nil, 0o600, identity.Owner{})}, {"/made/deep/d", Folder(0o755)}} {
		if err := r.Place(place.target, place.thing); err != nil {
			t.Fatal(err)
		}
	}
	for _, move := range [][2]string{{"made/deep/c", "c"}, {"made", "moved"}} {
		if err := os.Rename(at(move[0]), at(move[1])); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"made": victim, "moved/deep/c": victim} {
		if err := os.Symlink(to, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Clear(); err != nil {
		t.Error(err)
	}
	if st, err := os.Lstat(lent); err != nil || !st.IsDir() {
		t.Errorf("the cache is %v, %v", st, err)
	}
	for _, name := range []string{"deep", "moved"} {
		if _, err := os.Stat(filepath.Join(victim, name)); err != nil {
			t.Error(err)
		}
	}
	if left, _ := os.ReadDir(at("moved/deep")); len(left) > 0 {
		t.Errorf("%v stayed", left)
	}
}
