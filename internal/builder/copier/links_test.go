package copier

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// member is one of a tar, or of a state: its name, and what it is: "dir", "-> target" for a symbolic link, "= target"
// for a hard link, or else the contents of a file.
type member [2]string

func (m member) header() *tar.Header {
	h := &tar.Header{Name: m[0], Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(m[1])), Format: tar.FormatPAX}
	kind, link, _ := strings.Cut(m[1], " ")
	switch kind {
	case "dir":
		h.Typeflag, h.Mode, h.Size = tar.TypeDir, 0o755, 0
	case "->":
		h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, link, 0
	case "=":
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, link, 0
	}
	return h
}

// scanned makes a tar and reads its table of contents.
func scanned(t *testing.T, members []member) ([]byte, *layer.Assembled, error) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := m.header()
		must(t, w.WriteHeader(h))
		if h.Size > 0 {
			_, err := io.WriteString(w, m[1])
			must(t, err)
		}
	}
	must(t, w.Close())
	table, err := layer.Scan(t.Context(), bytes.NewReader(b.Bytes()), layer.Limits{})
	return b.Bytes(), table, err
}

// stateOf is a state with the members of a tar.
func stateOf(t *testing.T, members []member) layer.Tree {
	t.Helper()
	_, table, err := scanned(t, members)
	must(t, err)
	entries := entriesOf(table)
	all := make([]*layer.Entry, len(entries))
	for i := range entries {
		all[i] = &entries[i]
	}
	toc, err := layer.NewTOC(all)
	must(t, err)
	return layer.NewStack(listed{toc})
}

// added unpacks a tar on a state, with a bulk or without, and lists the layer; what it holds is sound.
func added(t *testing.T, below layer.Tree, members []member, dest string, loose bool) (list []string, hadBulk bool, err error) {
	t.Helper()
	b, table, err := scanned(t, members)
	must(t, err)
	f, err := os.CreateTemp(t.TempDir(), "tar")
	must(t, err)
	defer f.Close()
	_, err = f.Write(b)
	must(t, err)
	w := newDraft(below, nil)
	w.now = 1
	if loose {
		w.order = []string{"gone"}
	}
	if err := w.unpack(t.Context(), &archive{table: table, contents: tarContents{layer.TarSource(f.Name(), nil)}, byOffset: true}, dest); err != nil {
		return nil, false, err
	}
	hadBulk = w.bulk != nil
	changes, err := w.changes(t.Context())
	if err != nil {
		return nil, hadBulk, err
	}
	dirs := map[string]bool{"": true}
	for e := range changes.All() {
		if dirs[e.Path] = e.Type == layer.Dir; !dirs[layer.Parent(e.Path)] {
			t.Errorf("%s is not in a directory", e.Path)
		}
		what := fmt.Sprintf("%s %c %s", e.Path, e.Type, e.Link)
		if e.Type == layer.File {
			what += read(t.Context(), t, w, e)
		}
		list = append(list, what)
	}
	return list, hadBulk, nil
}

func read(ctx context.Context, t *testing.T, w *Draft, e *layer.Entry) string {
	t.Helper()
	f, err := w.open(ctx, e)
	must(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	must(t, err)
	if digest.FromBytes(b) != e.Digest {
		t.Errorf("%s has the contents %q, which are not %s", e.Path, b, e.Digest)
	}
	return string(b)
}

// TestArchiveThroughLinks: directories that an archive does not name are gone through where they are symbolic links in
// the image, also to what the same archive has put before.
func TestArchiveThroughLinks(t *testing.T) {
	for _, c := range []struct {
		name       string
		below, tar []member
		want       []string
	}{
		{
			"a link to a directory that comes with the archive",
			[]member{{"z", "-> n"}},
			[]member{{"n/f", "1"}, {"z/x", "2"}},
			[]string{"n d ", "n/f f 1", "n/x f 2"},
		},
		{
			"a link to a directory that the archive names",
			[]member{{"z", "-> n"}},
			[]member{{"n", "dir"}, {"n/f", "1"}, {"z/x", "2"}},
			[]string{"n d ", "n/f f 1", "n/x f 2"},
		},
		{
			"a link to a directory that the archive replaces by a file",
			[]member{{"a", "dir"}, {"l", "-> a"}},
			[]member{{"a", "1"}, {"l/x", "2"}},
			[]string{"a f 1", "l d ", "l/x f 2"},
		},
		{
			"a link below a directory that the archive replaces by a file",
			[]member{{"a/b", "dir"}, {"usr", "-> a/b"}},
			[]member{{"a", "1"}, {"usr/x", "2"}},
			[]string{"a f 1", "usr d ", "usr/x f 2"},
		},
		{
			"a directory in one that takes the place of a link",
			[]member{{"n/q", "dir"}, {"z", "-> n"}},
			[]member{{"z", "dir"}, {"z/q/x", "1"}},
			[]string{"z d ", "z/q d ", "z/q/x f 1"},
		},
		{
			"a link to the root",
			[]member{{"l", "-> /"}},
			[]member{{"l/d/x", "1"}},
			[]string{"d d ", "d/x f 1"},
		},
		{
			"a hard link that leads to a name before that of its target",
			[]member{{"a", "dir"}, {"usr", "-> a"}},
			[]member{{"new", "1"}, {"usr/x", "= new"}, {"usr/y", "= new"}},
			[]string{"a d ", "a/x f 1", "a/y h a/x", "new h a/x"},
		},
		{
			"a file and its hard link that are one",
			[]member{{"a", "dir"}, {"l", "-> a"}},
			[]member{{"a/x", "1"}, {"l/x", "= a/x"}},
			[]string{"a d ", "a/x f 1"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _, err := added(t, stateOf(t, c.below), c.tar, "", false)
			must(t, err)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// TestArchiveAtOddsWithItself: where a link leads a part of an archive to what another part has replaced, the error
// says so.
func TestArchiveAtOddsWithItself(t *testing.T) {
	for _, tarred := range [][]member{
		{{"d/l/d", "1"}, {"d/y", "2"}},
		{{"a", "1"}, {"d/l/a", "dir"}, {"x", "= a"}},
	} {
		_, _, err := added(t, stateOf(t, []member{{"d/l", "-> .."}}), tarred, "", false)
		if err == nil || !strings.HasSuffix(err.Error(), sameTwice) {
			t.Errorf("%v: %v", tarred, err)
		}
	}
}

// randomMembers are a few members of a tar, in which no file is below another, that can be scanned.
func randomMembers(t *testing.T, rnd *rand.Rand) []member {
	t.Helper()
	names := []string{
		"a", "a/a", "a/b", "a/b/c", "b", "b/a", "c", "d", "d/n", "d/n/o", "l", "l/a", "l/b/k", "new", "new/x", "s", "s/q", "usr", "usr/x", "z", "z/q", "z/q/r",
	}
	var members []member
	var files []string
	for i := range 1 + rnd.IntN(8) {
		name, what := names[rnd.IntN(len(names))], fmt.Sprint("contents ", i)
		switch k := rnd.IntN(9); {
		case k < 2:
			what = "dir"
		case k == 2:
			what = "-> " + []string{"a", "b", "a/b", "d", "nowhere", "/c", "..", "z", "new"}[rnd.IntN(9)]
		case k < 5 && len(files) > 0:
			what = "= " + files[rnd.IntN(len(files))]
		default:
			files = append(files, name)
		}
		if _, _, err := scanned(t, append(members, member{name, what})); err == nil {
			members = append(members, member{name, what})
		}
	}
	return members
}

// TestArchiveThroughLinksIsAsLoose: an archive on a state of links gives the layer that it gives otherwise where it is
// kept as a bulk, or the same error.
func TestArchiveThroughLinksIsAsLoose(t *testing.T) {
	kept, failed := 0, 0
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		below, members := randomMembers(t, rnd), randomMembers(t, rnd)
		state := stateOf(t, append(below, member{"app", "dir"}))
		dest := []string{"", "", "app"}[rnd.IntN(3)]
		got, hadBulk, gotErr := added(t, state, members, dest, false)
		want, _, wantErr := added(t, state, members, dest, true)
		if hadBulk {
			kept++
		}
		if wantErr != nil {
			failed++
			if !strings.HasSuffix(wantErr.Error(), sameTwice) {
				t.Errorf("seed %d: %v", seed, wantErr)
			}
		}
		if d := cmp.Diff(want, got); d != "" || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) || t.Failed() {
			t.Fatalf("seed %d: %q on %q in /%s: %v, want %v (-loose +bulk):\n%s", seed, members, below, dest, gotErr, wantErr, d)
		}
	}
	if kept < 150 || failed > 20 {
		t.Errorf("of 500 archives %d were kept as a bulk, and %d failed", kept, failed)
	}
}

// TestArchiveReplacesAgain: what an archive replaces of the image stays hidden when another one, or the same one,
// makes a directory there again.
func TestArchiveReplacesAgain(t *testing.T) {
	below := stateOf(t, []member{{"d/old", "1"}, {"d/l", "-> /e"}, {"e", "dir"}, {"f", "1"}})
	file, dir := []member{{"d", "file"}}, []member{{"d", "dir"}}
	for _, c := range []struct {
		name  string
		added [][]member
		want  []string
	}{
		{"with nothing in it", [][]member{file, dir}, []string{"d d opaque"}},
		{"through what was a link", [][]member{file, {{"d/l/x", "2"}}}, []string{"d d opaque", "d/l d", "d/l/x f"}},
		{"which merges with a third one", [][]member{file, {{"d/a", "2"}}, dir, {{"d/b", "3"}}}, []string{"d d opaque", "d/a f", "d/b f"}},
		{"twice", [][]member{file, dir, file, {{"d/old", "2"}}}, []string{"d d opaque", "d/old f"}},
		{"that was none", [][]member{{{"f", "dir"}}, {{"f", "x"}}, {{"f/a", "2"}}}, []string{"f d", "f/a f"}},
		{"of one archive", [][]member{{{"d", "file"}, {"d", "dir"}, {"d/a", "2"}, {"d", "dir"}}}, []string{"d d opaque", "d/a f"}},
		{"of one archive, where nothing is", [][]member{{{"n", "file"}, {"n", "dir"}, {"n/a", "2"}}}, []string{"n d", "n/a f"}},
		{"that was never replaced", [][]member{dir, {{"d/a", "2"}}}, []string{"d d", "d/a f"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newDraft(below, nil)
			for _, members := range c.added {
				_, table, err := scanned(t, members)
				must(t, err)
				must(t, w.loosen())
				must(t, w.unpack(t.Context(), &archive{table: table, contents: tarContents{}, byOffset: true}, ""))
			}
			changes, err := w.changes(t.Context())
			must(t, err)
			var got []string
			for e := range changes.All() {
				what := fmt.Sprintf("%s %c", e.Path, e.Type)
				if e.Opaque {
					what += " opaque"
				}
				if e.Path != "" {
					got = append(got, what)
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}
