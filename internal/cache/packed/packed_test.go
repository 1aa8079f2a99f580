package packed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
)

// memory is a Keeper in memory.
type memory struct {
	mu    sync.Mutex
	doc   *Document
	blobs map[digest.Digest][]byte
	sent  int64 // bytes of blobs
}

func (m *memory) Mount(context.Context, Name) (*Document, string, error) {
	if m.doc == nil {
		return nil, "", ErrNone
	}
	return m.doc, "", nil
}

func (m *memory) HasBlob(_ context.Context, _ Name, b Blob) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.blobs[b.Digest] != nil, nil
}

func (m *memory) OpenBlob(_ context.Context, _ Name, b Blob) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.blobs[b.Digest]
	if !ok {
		return nil, errors.New("it is gone")
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (m *memory) PutMount(_ context.Context, d *Document, open map[digest.Digest]OpenFunc, _ *string) error {
	for _, b := range d.Blobs() {
		if open[b.Digest] == nil || m.blobs[b.Digest] != nil {
			continue
		}
		r, err := open[b.Digest]()
		if err != nil {
			return err
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		m.blobs[b.Digest] = data
		m.sent += int64(len(data))
	}
	m.doc = d
	return nil
}

var name = Name{ID: "/go-build", Arch: "amd64"}

// save makes a document of a directory and puts it, and says how many bytes went.
func save(t *testing.T, m *memory, dir string) (*Document, int64) {
	t.Helper()
	var before *Previous
	if m.doc != nil {
		var err error
		if before, err = ReadPrevious(t.Context(), m, m.doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Make(t.Context(), name, Source{Dir: dir}, t.TempDir(), before)
	if err == nil {
		err = s.Document.Check()
	}
	if err != nil {
		t.Fatal(err)
	}
	m.sent = 0
	if err := m.PutMount(t.Context(), &s.Document, s.New, nil); err != nil {
		t.Fatal(err)
	}
	return &s.Document, m.sent
}

// random are bytes that do not compress.
func random(seed uint64, n int) []byte {
	data := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := 0; i+8 <= n; i += 8 {
		v := r.Uint64()
		for j := range 8 {
			data[i+j] = byte(v >> (8 * j))
		}
	}
	return data
}

func write(t *testing.T, dir, path string, data []byte) {
	t.Helper()
	file := filepath.Join(dir, path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o640); err != nil {
		t.Fatal(err)
	}
}

// goBuild is a directory like a compiler's cache: small files under names that say nothing, and some large ones.
func goBuild(t *testing.T, files int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range files {
		name := digest.FromString(fmt.Sprint(i)).Encoded()
		write(t, dir, name[:2]+"/"+name+"-d", random(uint64(i), 1000+i%5000))
	}
	write(t, dir, "large", random(1<<20, 12<<20))
	return dir
}

func listed(t *testing.T, dir string) *layer.TOC {
	t.Helper()
	toc, err := layer.Diff(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return toc
}

func restore(t *testing.T, m *memory) string {
	t.Helper()
	dir := t.TempDir()
	if err := Restore(t.Context(), m, m.doc, t.TempDir(), dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What is restored is what was there: contents, modes, times to the nanosecond, links. Devices and pipes do not travel.
func TestRestore(t *testing.T) {
	dir := goBuild(t, 300)
	write(t, dir, "empty", nil)
	write(t, dir, "bin/tool", []byte("#!/bin/sh\n"))
	for _, err := range []error{
		os.Chmod(filepath.Join(dir, "bin/tool"), 0o755),
		os.Chtimes(filepath.Join(dir, "bin/tool"), time.Time{}, time.Unix(1e9, 123456789)),
		os.Symlink("/etc/passwd", filepath.Join(dir, "bin/link")),
		os.Link(filepath.Join(dir, "bin/tool"), filepath.Join(dir, "bin/tool2")),
		os.Mkdir(filepath.Join(dir, "nothing"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := listed(t, dir)
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &memory{blobs: map[digest.Digest][]byte{}}
	doc, _ := save(t, m, dir)
	if doc.Files != 303 || len(doc.Packs) < 3 || len(doc.Packs) > 30 {
		t.Errorf("%d files in %d packs", doc.Files, len(doc.Packs))
	}
	to := restore(t, m)
	got := listed(t, to)
	for _, toc := range []*layer.TOC{want, got} {
		toc.Entries[0].ModTime = 0 // the pipe changed it
	}
	if diff := cmp.Diff(want.Entries, got.Entries); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	st, err := os.Stat(filepath.Join(to, "bin/tool"))
	if err != nil || st.ModTime().Nanosecond() != 123456789 {
		t.Errorf("%v, %v", st.ModTime(), err)
	}
	again, sent := save(t, m, to)
	if sent > int64(m.doc.List.Size) || len(again.Packs) != len(doc.Packs) {
		t.Errorf("the same files again: %d bytes", sent)
	}
}

// A change moves what has changed: few new files among many, and the place in a large file around which it is another.
func TestChange(t *testing.T) {
	dir := goBuild(t, 2000)
	m := &memory{blobs: map[digest.Digest][]byte{}}
	_, first := save(t, m, dir)
	for i := range 20 {
		name := digest.FromString(fmt.Sprint("new", i)).Encoded()
		write(t, dir, name[:2]+"/"+name+"-d", random(uint64(1e6+i), 3000))
	}
	doc, sent := save(t, m, dir)
	if lists := doc.List.Size; sent > lists+20*3000+20_000 || first < 16<<20 {
		t.Errorf("20 files of 3 kB: %d of %d bytes, the list has %d", sent, first, lists)
	}
	large := random(1<<20, 12<<20)
	write(t, dir, "large", append(append(bytes.Clone(large[:5<<20]), "inserted"...), large[5<<20:]...))
	if doc, sent = save(t, m, dir); sent > doc.List.Size+2*maxPiece {
		t.Errorf("some bytes put into a file of 12 MB: %d bytes", sent)
	}
	if diff := cmp.Diff(listed(t, dir).Entries, listed(t, restore(t, m)).Entries); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Packs of which little is of use are made anew, so that what is kept does not grow without bound.
func TestWaste(t *testing.T) {
	dir := goBuild(t, 500)
	m := &memory{blobs: map[digest.Digest][]byte{}}
	save(t, m, dir)
	if err := os.Remove(filepath.Join(dir, "large")); err != nil {
		t.Fatal(err)
	}
	doc, _ := save(t, m, dir)
	if doc.Size() > 2*doc.Bytes+doc.List.Size {
		t.Errorf("%d bytes are kept for %d", doc.Size(), doc.Bytes)
	}
	if diff := cmp.Diff(listed(t, dir).Entries, listed(t, restore(t, m)).Entries); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Two machines that have the same files make the same packs.
func TestSame(t *testing.T) {
	a, b := &memory{blobs: map[digest.Digest][]byte{}}, &memory{blobs: map[digest.Digest][]byte{}}
	dir := goBuild(t, 300)
	x, _ := save(t, a, dir)
	y, _ := save(t, b, dir)
	if diff := cmp.Diff(x.Blobs(), y.Blobs()); diff != "" {
		t.Errorf("(-a +b):\n%s", diff)
	}
}

// A pack that a store has removed, by its age, is sent again.
func TestGone(t *testing.T) {
	dir := goBuild(t, 300)
	m := &memory{blobs: map[digest.Digest][]byte{}}
	doc, _ := save(t, m, dir)
	for _, b := range doc.Packs[1:3] {
		delete(m.blobs, b.Digest)
	}
	if err := Restore(t.Context(), m, doc, t.TempDir(), t.TempDir()); err == nil {
		t.Error("restored without a pack")
	}
	save(t, m, dir)
	if diff := cmp.Diff(listed(t, dir).Entries, listed(t, restore(t, m)).Entries); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Other bytes are an error, before any file is made.
func TestDamaged(t *testing.T) {
	m := &memory{blobs: map[digest.Digest][]byte{}}
	doc, _ := save(t, m, goBuild(t, 30))
	for _, b := range doc.Blobs() {
		data := m.blobs[b.Digest]
		m.blobs[b.Digest] = bytes.Clone(data)
		m.blobs[b.Digest][len(data)/2] ^= 1
		dir := t.TempDir()
		if err := Restore(t.Context(), m, doc, t.TempDir(), dir); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", b.Digest, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%d files were made, %v", len(left), err)
		}
		m.blobs[b.Digest] = data
	}
}

// What no layer can have does not travel, and neither does what is over the limit.
func TestUnfit(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, ".wh.name", []byte("12345"))
	if _, err := Make(t.Context(), name, Source{Dir: dir}, t.TempDir(), nil); !errors.Is(err, ErrUnfit) {
		t.Errorf("a name that means a deletion: %v", err)
	}
	dir = t.TempDir()
	write(t, dir, "name", []byte("12345"))
	if _, err := Make(t.Context(), name, Source{Dir: dir, Limit: 4}, t.TempDir(), nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("five bytes, where four may be: %v", err)
	}
}

// A list that names another place of a pack for a file is an error.
func TestOtherPlace(t *testing.T) {
	m := &memory{blobs: map[digest.Digest][]byte{}}
	doc, _ := save(t, m, goBuild(t, 30))
	l, err := readList(t.Context(), m, doc)
	if err != nil {
		t.Fatal(err)
	}
	for i, pieces := range l.pieces {
		if p := &pieces[0]; len(pieces) == 1 && p.Offset > 0 {
			p.Offset--
			t.Logf("file %d", i)
			break
		}
	}
	data, blob, err := l.encode()
	if err != nil {
		t.Fatal(err)
	}
	changed := *doc
	changed.List = blob
	m.blobs[blob.Digest] = data
	if err := Restore(t.Context(), m, &changed, t.TempDir(), t.TempDir()); err == nil {
		t.Error("a file of other bytes is restored")
	}
}

// FuzzRestore restores a list that anybody may have written: an error, or files in the directory, never outside it.
func FuzzRestore(f *testing.F) {
	pack := []byte("contents of a pack")
	for _, path := range []string{"a/b", "../up", "/etc/x", "link/x", ".wh.x"} {
		l := &list{toc: &layer.TOC{Entries: []*layer.Entry{
			{Type: layer.Dir, Mode: 0o755}, {Path: "link", Type: layer.Symlink, Mode: 0o777, Link: ".."},
			{Path: path, Type: layer.File, Mode: 0o644, Size: 8},
		}}, times: []int32{5}, pieces: [][]piece{{{Pack: 0, Offset: 2, Size: 8}}}}
		data, blob, err := l.encode()
		if err != nil {
			f.Fatal(err)
		}
		raw, err := decompress(data, blob)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		packData, packBlob, err := compress(pack)
		if err != nil {
			t.Fatal(err)
		}
		data, blob, err := compress(raw)
		if err != nil {
			t.Fatal(err)
		}
		doc := &Document{Mount: name, Bytes: 1 << 20, List: blob, Packs: []Blob{packBlob}}
		m := &memory{doc: doc, blobs: map[digest.Digest][]byte{blob.Digest: data, packBlob.Digest: packData}}
		above := t.TempDir()
		dir := filepath.Join(above, "dir")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		err = Restore(t.Context(), m, doc, t.TempDir(), dir)
		if left, lerr := os.ReadDir(above); lerr != nil || len(left) != 1 {
			t.Errorf("%d files beside the directory, %v, %v", len(left), lerr, err)
		}
		if err == nil && strings.Contains(string(raw), `"p":-1`) {
			t.Error("a piece of no pack is taken")
		}
	})
}

// A list of short elements is no large one in memory.
func TestListBounds(t *testing.T) {
	toc := &layer.TOC{Entries: []*layer.Entry{{Type: layer.Dir, Mode: 0o755}, {Path: "a", Type: layer.File, Mode: 0o644, Size: 8}}}
	d := &Document{Mount: name, Bytes: 100, Packs: []Blob{{Raw: 100}}}
	good := []string{`[5]`, `[[{"p":0,"o":2,"n":8}]]`}
	many := "," + strings.Repeat("{},", 1e6) + "{}"
	for _, test := range []struct {
		times, pieces string
		bytes         int64
		ok            bool
	}{
		{good[0], good[1], 100, true},
		{good[0], good[1], 7, false},
		{`[5` + strings.Repeat(",5", 1e6) + `]`, good[1], 100, false},
		{good[0], `[[{"p":0,"o":2,"n":8}` + many + `]]`, 100, false},
		{good[0], `[[{"p":0,"o":2,"n":8}]` + strings.Repeat(",[]", 1e6) + `]`, 100, false},
		{good[0], `[null]`, 100, false},
		{`null`, good[1], 100, false},
		{`[]`, good[1], 100, false},
	} {
		var encoded bytes.Buffer
		if err := toc.Encode(&encoded); err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(encodedList{encoded.Bytes(), json.RawMessage(test.times), json.RawMessage(test.pieces)})
		if err != nil {
			t.Fatal(err)
		}
		d.Bytes = test.bytes
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = decodeList(raw, d)
		runtime.ReadMemStats(&after)
		if (err == nil) != test.ok {
			t.Errorf("%.40s %.40s: %v", test.times, test.pieces, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 24<<20 {
			t.Errorf("%.40s %.40s: %d MB are allocated for %d", test.times, test.pieces, n>>20, len(raw)>>20)
		}
	}
}

// What a document may say is bounded.
func TestCheck(t *testing.T) {
	blob := func(text string) Blob { return Blob{digest.FromString(text), 10, 10} }
	good := Document{Bytes: 10, List: blob("list"), Packs: []Blob{blob("a"), blob("b")}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	large, twice := good, good
	large.Bytes = 1<<63 - 1
	twice.Packs = []Blob{blob("a"), blob("b"), blob("a")}
	for _, d := range []Document{large, twice} {
		if d.Check() == nil {
			t.Errorf("%+v is taken", d)
		}
	}
	full := good
	full.Bytes = maxBytes
	full.Packs = slices.Repeat([]Blob{{Raw: MaxPack}}, maxPacks)
	if err := checkRoom(t.TempDir(), &full); err == nil {
		t.Error("this disk has room for 2 TB")
	}
	if err := (Carrier{Limit: 9}).Bring(t.Context(), &good, t.TempDir()); !errors.Is(err, ErrTooLarge) {
		t.Errorf("ten bytes, where nine may be restored: %v", err)
	}
}
