package layer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// contents are the files of a made-up layer, by path.
type contents map[string]string

func (c contents) open(_ context.Context, e *layer.Entry) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(c[e.Path])), nil
}

// madeUp is a layer that is edited at random.
type madeUp struct {
	rnd     *rand.Rand
	files   contents
	entries map[string]*layer.Entry
}

func newMadeUp(seed uint64, files int) *madeUp {
	m := &madeUp{rand.New(rand.NewPCG(seed, 1)), contents{}, map[string]*layer.Entry{}}
	for i := range files {
		m.put(m.path(i))
	}
	return m
}

// path is one of many, some of them too long for a plain header.
func (m *madeUp) path(i int) string {
	dir := fmt.Sprintf("dir%02d", i/20)
	if i%50 == 7 {
		dir += "/" + strings.Repeat("long", 40)
	}
	return fmt.Sprintf("%s/file%04d", dir, i)
}

// put makes or changes a file, or something else of this path.
func (m *madeUp) put(path string) {
	for dir := layer.Parent(path); m.entries[dir] == nil; dir = layer.Parent(dir) {
		m.entries[dir] = &layer.Entry{Path: dir, Type: layer.Dir, Mode: 0o755, ModTime: m.rnd.Int64N(1 << 31)}
	}
	e := &layer.Entry{Path: path, Type: layer.File, Mode: 0o644, ModTime: m.rnd.Int64N(1 << 31)}
	switch m.rnd.IntN(12) {
	case 0:
		e.Type, e.Link, e.Mode = layer.Symlink, "../"+strings.Repeat("x", 1+m.rnd.IntN(200)), 0o777
	case 1:
		e.Xattrs = []layer.Xattr{{Name: "user.note", Value: fmt.Sprint(m.rnd.Uint64())}}
	}
	if e.Type == layer.File {
		n := m.rnd.IntN(40_000)
		switch m.rnd.IntN(40) {
		case 0:
			n = 0
		case 1:
			n = m.rnd.IntN(3 << 20)
		}
		text := make([]byte, n)
		for i := range text {
			text[i] = byte(m.rnd.Uint32())
		}
		m.files[path] = string(text)
		e.Size, e.Digest = int64(n), digest.FromBytes(text)
	}
	m.entries[path] = e
}

// some is a path of the layer that is no directory.
func (m *madeUp) some() string {
	paths := []string{}
	for path, e := range m.entries {
		if e.Type != layer.Dir {
			paths = append(paths, path)
		}
	}
	slices.SortFunc(paths, layer.Compare)
	switch m.rnd.IntN(10) {
	case 0:
		return paths[0]
	case 1:
		return paths[len(paths)-1]
	}
	return paths[m.rnd.IntN(len(paths))]
}

func (m *madeUp) remove(path string) {
	delete(m.entries, path)
	delete(m.files, path)
}

// edit does what people do to a context.
func (m *madeUp) edit() {
	path := m.some()
	e := *m.entries[path]
	switch m.rnd.IntN(8) {
	case 0:
		m.put(m.path(m.rnd.IntN(2000)))
	case 1:
		m.remove(path)
	case 2:
		e.Path = m.path(m.rnd.IntN(2000)) + ".renamed"
		if m.entries[layer.Parent(e.Path)] == nil {
			return
		}
		m.files[e.Path] = m.files[path]
		m.entries[e.Path] = &e
		m.remove(path)
	case 3:
		e.Mode ^= 0o111
		m.entries[path] = &e
	case 4:
		e.ModTime++
		m.entries[path] = &e
	case 5:
		d := *m.entries[layer.Parent(path)]
		d.ModTime++
		m.entries[d.Path] = &d
	default:
		m.put(path)
	}
}

func (m *madeUp) toc(t *testing.T) *layer.TOC {
	t.Helper()
	var entries []*layer.Entry
	for _, e := range m.entries {
		c := *e
		entries = append(entries, &c)
	}
	toc, err := layer.NewTOC(entries)
	must(t, err)
	return toc
}

// writeMade writes a tar into a new file, with write.
func writeMade(t *testing.T, write func(*os.File) (*layer.Tar, error)) (*layer.Tar, []byte, error) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "tar"))
	must(t, err)
	defer f.Close()
	made, err := write(f)
	if err != nil {
		return nil, nil, err
	}
	data, err := os.ReadFile(f.Name())
	must(t, err)
	return made, data, nil
}

func anew(t *testing.T, m *madeUp) (*layer.Tar, []byte) {
	t.Helper()
	toc := m.toc(t)
	made, data, err := writeMade(t, func(f *os.File) (*layer.Tar, error) {
		return layer.WriteEncodedTarFile(t.Context(), f, encoded(t, toc), m.files.open)
	})
	must(t, err)
	return made, data
}

// encoded is a table in its encoded form.
func encoded(t *testing.T, toc *layer.TOC) *layer.Encoded {
	t.Helper()
	e, err := toc.Encoded()
	must(t, err)
	return e
}

func decoded(t *testing.T, table layer.Table) *layer.TOC {
	t.Helper()
	var b bytes.Buffer
	must(t, table.Encode(&b))
	toc := &layer.TOC{}
	must(t, toc.Decode(&b))
	return toc
}

func entriesOf(t layer.Table) (all []layer.Entry) {
	for e := range t.All() {
		all = append(all, *e)
	}
	return all
}

// eachOf gives the entries of a table as an Earlier does.
func eachOf(t layer.Table) func() (*layer.Entry, error) {
	var b bytes.Buffer
	if err := t.Encode(&b); err != nil {
		panic(err)
	}
	return layer.NewEntryReader(&b).Next
}

func TestAssembledIsAsWrittenAnew(t *testing.T) {
	used := 0
	for seed := range uint64(4) {
		m := newMadeUp(seed, 400)
		before, tar := anew(t, m)
		for round := range 6 {
			for range []int{0, 1, 1, 3, 20, 100}[round] {
				m.edit()
			}
			want, wantTar := anew(t, m)
			stored, err := layer.DecodeMidstates(before.Midstates.Encode(), before.DiffID)
			must(t, err)
			toc := m.toc(t)
			a := layer.Assemble(encoded(t, toc), &layer.Earlier{Tar: bytes.NewReader(tar), Next: eachOf(before.Encoded), Midstates: stored})
			if a == nil {
				before, tar = want, wantTar
				continue
			}
			used++
			got, gotTar, err := writeMade(t, func(f *os.File) (*layer.Tar, error) { return a.WriteTarFile(t.Context(), f, m.files.open) })
			must(t, err)
			if got.DiffID != want.DiffID || got.Size != want.Size || !bytes.Equal(gotTar, wantTar) {
				t.Fatalf("seed %d, round %d: %s of %d bytes, want %s of %d", seed, round, got.DiffID, got.Size, want.DiffID, want.Size)
			}
			if d := cmp.Diff(entriesOf(want.Encoded), entriesOf(got.Encoded)); d != "" {
				t.Fatalf("seed %d, round %d (-anew +assembled):\n%s", seed, round, d)
			}
			if !bytes.Equal(got.Midstates.Encode(), want.Midstates.Encode()) {
				t.Fatalf("seed %d, round %d: other midstates", seed, round)
			}
			before, tar = got, gotTar // the next one is assembled of an assembled one
		}
	}
	if used < 15 {
		t.Errorf("only %d of 24 tars were assembled", used)
	}
}

func TestAssembledOfDamagedTar(t *testing.T) {
	m := newMadeUp(9, 400)
	before, tar := anew(t, m)
	m.edit()
	want, wantTar := anew(t, m)
	toc := m.toc(t)
	found := 0
	for range 40 {
		bad := slices.Clone(tar)
		if m.rnd.IntN(4) == 0 {
			bad = bad[:m.rnd.IntN(len(bad))]
		} else {
			bad[m.rnd.IntN(len(bad))] ^= 1 << m.rnd.IntN(8)
		}
		a := layer.Assemble(encoded(t, toc), &layer.Earlier{Tar: bytes.NewReader(bad), Next: eachOf(before.Encoded), Midstates: before.Midstates})
		got, gotTar, err := writeMade(t, func(f *os.File) (*layer.Tar, error) { return a.WriteTarFile(t.Context(), f, m.files.open) })
		if errors.Is(err, layer.ErrEarlier) {
			found++
			continue
		}
		must(t, err)
		if got.DiffID != want.DiffID || !bytes.Equal(gotTar, wantTar) { // what is damaged may not be needed
			t.Fatal("a damaged tar gave another layer")
		}
	}
	if found < 30 {
		t.Errorf("%d of 40 damaged tars were found", found)
	}
}

func TestMidstatesDamaged(t *testing.T) {
	m := newMadeUp(3, 100)
	made, _ := anew(t, m)
	good := made.Midstates.Encode()
	for at := range good {
		bad := slices.Clone(good)
		bad[at] ^= 1
		if _, err := layer.DecodeMidstates(bad, made.DiffID); err == nil {
			t.Fatalf("byte %d flipped is not seen", at)
		}
		if _, err := layer.DecodeMidstates(good[:at], made.DiffID); err == nil {
			t.Fatalf("the first %d bytes are taken for all", at)
		}
	}
	if _, err := layer.DecodeMidstates(good, digest.FromString("other")); err == nil {
		t.Error("another tar's midstates are taken")
	}
}

func FuzzDecodeMidstates(f *testing.F) {
	empty := (&layer.Midstates{DiffID: "x"}).Encode()
	f.Add(empty)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := layer.DecodeMidstates(data, "x")
		if err == nil && !bytes.Equal(m.Encode(), data) {
			t.Error("it is encoded differently")
		}
	})
}
