package anatomy

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/anatomy/anatomytest"
)

// Files are read once, with all names that they have in the layer, out of an archive as out of the store.
func TestRead(t *testing.T) {
	m := anatomytest.Mover(t)
	file := anatomytest.Save(t, anatomytest.Image(t, "me/app:1",
		anatomytest.Tar(t, "a/", "a/x.json=1", "a/y=2", "b.json->a/y", "c.json->a/x.json", "d=3", "e.json~>d", "f.json=4")))
	read := func(text string) []string {
		var got []string
		wanted := func(e *layer.Entry) bool { return strings.HasSuffix(e.Path, ".json") }
		err := open(t, m, text).Read(t.Context(), 0, wanted, func(paths []string, e *layer.Entry, r io.Reader) error {
			data, err := io.ReadAll(r)
			got = append(got, fmt.Sprintf("%v %s %s", paths, e.Path, data))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		return got
	}
	want := []string{"[a/x.json c.json] a/x.json 1", "[b.json] a/y 2", "[f.json] f.json 4"}
	if d := cmp.Diff(want, read("docker-archive:"+file)); d != "" {
		t.Errorf("an archive (-expected +read)\n%s", d)
	}
	anatomytest.Load(t, m, file)
	if d := cmp.Diff(want, read("me/app:1")); d != "" {
		t.Errorf("the store (-expected +read)\n%s", d)
	}
}
