package builder_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

const twoStages = `FROM base AS one
COPY f /f
RUN cat /f /etc/version > /g
FROM base AS two
WORKDIR /w
COPY --from=one /g h
RUN cat h > i
`

// elsewhere is a bed whose cache is a directory that another store exported, and that has seen
// nothing else but the base.
func elsewhere(t *testing.T, dir string) *bed {
	b := newBed(t)
	b.store = transfer.New(b.store, &registry.Client{}, platform).Store
	b.write("f", "contents")
	b.write("Dockerfile", twoStages)
	return b
}

func from(dir string) func(*builder.Request) {
	return func(o *builder.Request) { o.Cache.From = []places.Spec{{Type: "local", Ref: dir}} }
}

func to(dir, mode string) func(*builder.Request) {
	return func(o *builder.Request) {
		o.Cache.To = []places.Spec{{Type: "local", Ref: dir, Attr: map[string]string{"mode": mode}}}
	}
}

// layerBlobs are the blobs of a cache's layers: what is no JSON.
func layerBlobs(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	check(t, err)
	var blobs []string
	for _, name := range files {
		data, err := os.ReadFile(name)
		check(t, err)
		if len(data) > 2 && data[0] == 0x1f && data[1] == 0x8b {
			blobs = append(blobs, name)
		}
	}
	return blobs
}

// Each layer of a cache can be missing or damaged. What is built is the same, though a layer's lack
// is noticed only when a later step, or another stage, needs it.
func TestLostLayers(t *testing.T) {
	if testing.Short() {
		t.Skip("needs ten seconds: run without -short")
	}
	const more = twoStages + "COPY --from=one /f f\nRUN cat h i f > j\n"
	first := elsewhere(t, "")
	whole := t.TempDir()
	check(t, first.build(to(whole, "max")).err)
	first.write("Dockerfile", more)
	r := first.build(noCache)
	check(t, r.err)
	want := first.tree(r.id)

	n := len(layerBlobs(t, whole))
	if n < 4 {
		t.Fatalf("the cache has %d layers", n)
	}
	for _, engine := range []dialect.Dialect{dialect.Graph(), dialect.Classic()} {
		for i := range n + 1 { // the last round loses all
			for _, damage := range []string{"missing", "damaged"} {
				dir := t.TempDir()
				check(t, os.CopyFS(dir, os.DirFS(whole)))
				for k, name := range layerBlobs(t, dir) {
					if k != i && i < n {
						continue
					}
					data, err := os.ReadFile(name)
					check(t, err)
					check(t, os.Remove(name))
					if damage == "damaged" {
						data[len(data)/2] ^= 1
						check(t, os.WriteFile(name, data, 0o644))
					}
				}
				b := elsewhere(t, dir)
				b.write("Dockerfile", more)
				r := b.build(from(dir), func(o *builder.Request) { o.Target.Dialect = engine })
				if r.err != nil {
					t.Errorf("%s, blob %d %s: %v", engine, i, damage, r.err)
					continue
				}
				if diff := cmp.Diff(want, b.tree(r.id)); diff != "" {
					t.Errorf("%s, blob %d %s (-want +got):\n%s", engine, i, damage, diff)
				}
				if i == n && !strings.Contains(strings.Join(r.warnings, "\n"), "cannot be fetched, so the step runs again") {
					t.Errorf("%s, all %s: the warnings are %q", engine, damage, r.warnings)
				}
			}
		}
	}
}

// What a cache of each mode has for a machine that has nothing.
func TestCacheModes(t *testing.T) {
	first := elsewhere(t, "")
	blobs := map[string]int{}
	for _, mode := range []string{"min", "max"} {
		dir := t.TempDir()
		made := first.build(to(dir, mode))
		check(t, made.err)
		b := elsewhere(t, dir)
		r := b.build(from(dir))
		check(t, r.err)
		if r.ran() != 0 || len(r.warnings) > 0 {
			t.Errorf("mode=%s: %q, warnings %q", mode, r.steps, r.warnings)
		}
		blobs[mode] = len(layerBlobs(t, dir))
		files, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
		check(t, err)
		// The same cache is the same bytes: nothing is added by writing it again.
		check(t, first.build(to(dir, mode)).err)
		again, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
		check(t, err)
		if diff := cmp.Diff(files, again); diff != "" {
			t.Errorf("mode=%s, written twice (-first +second):\n%s", mode, diff)
		}
		// What needs the other stage's files has them: from the cache, or of steps that run again, without a word.
		b.write("Dockerfile", twoStages+"COPY --from=one /f f\nRUN cat h i f > j\n")
		r = b.build(from(dir))
		check(t, r.err)
		if files := b.tree(r.id); files["w/j"] == "" || len(r.warnings) > 0 {
			t.Errorf("mode=%s: /w/j is %q; warnings %q", mode, files["w/j"], r.warnings)
		}
	}
	if blobs["min"] == 0 || blobs["min"] >= blobs["max"] {
		t.Errorf("layers: %v", blobs)
	}
}
