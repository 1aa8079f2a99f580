package copier

import (
	"archive/tar"
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/layer"
)

// randomArchive writes a tar of files, directories and links, in no order, and reads its table of contents.
func randomArchive(t *testing.T, rnd *rand.Rand, name string) *layer.Assembled {
	t.Helper()
	path := func() string {
		parts := make([]string, 1+rnd.IntN(3))
		for i := range parts {
			parts[i] = []string{"a", "b", "a.b", "app", "link"}[rnd.IntN(5)]
		}
		return strings.Join(parts, "/")
	}
	var good bytes.Buffer
	var headers []tar.Header
	for range 30 {
		h := tar.Header{Name: path(), Mode: 0o644, Uid: rnd.IntN(2), ModTime: time.Unix(1_700_000_000, 0)}
		switch rnd.IntN(6) {
		case 0, 1:
			h.Typeflag, h.Mode = tar.TypeDir, []int64{0o755, 0o700}[rnd.IntN(2)]
		case 2:
			h.Typeflag, h.Linkname = tar.TypeSymlink, path()
		case 3:
			if h.Typeflag, h.Linkname = tar.TypeLink, path(); rnd.IntN(3) > 0 {
				h.Typeflag, h.Linkname = tar.TypeReg, ""
			}
		}
		var data bytes.Buffer
		w := tar.NewWriter(&data)
		for _, h := range append(headers, h) {
			if h.Typeflag == tar.TypeReg || h.Typeflag == 0 {
				h.Size = int64(len(h.Name))
			}
			must(t, w.WriteHeader(&h))
			if h.Size > 0 {
				_, err := w.Write([]byte(h.Name))
				must(t, err)
			}
		}
		must(t, w.Close())
		if _, err := layer.Scan(t.Context(), bytes.NewReader(data.Bytes()), layer.Limits{}); err == nil { // else a link to nothing
			headers, good = append(headers, h), data
		}
	}
	must(t, os.WriteFile(name, good.Bytes(), 0o600))
	table, err := layer.Scan(t.Context(), &good, layer.Limits{})
	must(t, err)
	return table
}

// TestArchiveInBulkIsAsLoose: an archive that is unpacked gives the same layer, of the same contents, whether its
// entries stay encoded or not, on no state and on those that have some of it, a link in the place of a directory too.
func TestArchiveInBulkIsAsLoose(t *testing.T) {
	kept := 0
	for seed := range uint64(150) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		name := filepath.Join(t.TempDir(), "tar")
		table := randomArchive(t, rnd, name)
		dest := []string{"", "app", "new"}[seed%3]
		below := layer.NewStack()
		if seed%4 > 0 {
			some := []*layer.Entry{{Path: "app", Type: layer.Dir, Mode: 0o755, ModTime: 1}}
			if seed%8 < 4 {
				some = append(some, &layer.Entry{Path: "app/a", Type: layer.Symlink, Mode: 0o777, Link: "/app"})
			}
			for e := range table.All() {
				if e.Path != "" && layer.Parent(e.Path) == "" && e.Path != "app" && e.Type != layer.Hardlink && rnd.IntN(2) == 0 {
					copied := *e
					some = append(some, &copied)
				}
			}
			toc, err := layer.NewTOC(some)
			must(t, err)
			below = layer.NewStack(listed{toc})
		}
		unpack := func(bulk bool) (*Draft, error) {
			w := newDraft(below, nil)
			w.now = 1_600_000_000
			if !bulk {
				w.links["none"] = nil // startBulk leaves it
			}
			again := *table
			return w, w.unpack(t.Context(), &archive{table: &again, contents: tarContents{layer.TarSource(name, nil)}, byOffset: true}, dest)
		}
		bulk, berr := unpack(true)
		loose, lerr := unpack(false)
		if (berr == nil) != (lerr == nil) {
			t.Fatalf("seed %d: in bulk %v, and else %v", seed, berr, lerr)
		}
		if berr != nil {
			continue
		}
		if loose.bulk != nil {
			t.Fatal("it is a bulk")
		}
		if bulk.bulk != nil {
			kept++
		}
		write := func(w *Draft) ([]layer.Entry, []byte) {
			changes, err := w.changes(t.Context())
			if err != nil { // what a link of the state led to was replaced by what came later
				return nil, []byte(err.Error())
			}
			path := filepath.Join(t.TempDir(), "layer")
			f, err := os.Create(path)
			must(t, err)
			defer f.Close()
			made, err := layer.WriteEncodedTarFile(t.Context(), f, changes, w.open)
			must(t, err)
			data, err := os.ReadFile(path)
			must(t, err)
			return entriesOf(made.Encoded), data
		}
		want, wantTar := write(loose)
		got, gotTar := write(bulk)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("seed %d (-loose +bulk):\n%s", seed, d)
		}
		if !slices.Equal(wantTar, gotTar) {
			t.Fatalf("seed %d: the tars differ", seed)
		}
	}
	if kept < 50 {
		t.Errorf("only %d archives were kept as a bulk", kept)
	}
}
