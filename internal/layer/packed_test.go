package layer

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// packedSource is a layer whose table of contents stays encoded.
type packedSource struct {
	listed
	packed *Packed
}

func (s packedSource) Table(context.Context) (Table, error) { return s.packed, nil }

func pack(t testing.TB, toc *TOC) *Packed {
	t.Helper()
	var buf bytes.Buffer
	if err := toc.Encode(&buf); err != nil {
		t.Fatal(err)
	}
	p, err := NewPacked(buf.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// randomLayer makes a layer with whiteouts, opaque directories, hard links and entries without parents.
func randomLayer(t *testing.T, r *rand.Rand) *TOC {
	t.Helper()
	var entries []*Entry
	var files []string
	var fill func(dir string, depth int)
	fill = func(dir string, depth int) {
		for _, name := range []string{"a", "a-b", "a.b", "b", "c", "longer name", "d", "e"}[:3+r.IntN(6)] {
			e := &Entry{Path: dir + name, Type: File, Mode: 0o644, UID: r.IntN(3), ModTime: r.Int64N(9), Offset: 512 * r.Int64N(9), Size: r.Int64N(3)}
			if r.IntN(3) > 0 {
				e.Digest = digest.FromString(fmt.Sprint(r.IntN(5)))
			}
			switch n := r.IntN(12); {
			case n < 2:
				continue
			case n < 6 && depth < 4:
				*e = Entry{Path: e.Path, Type: Dir, Mode: 0o755, Opaque: r.IntN(5) == 0}
				if r.IntN(4) == 0 {
					e.Xattrs = []Xattr{{"user.x", "y"}}
				}
				if r.IntN(8) > 0 {
					entries = append(entries, e)
				}
				fill(e.Path+"/", depth+1)
				continue
			case n == 6:
				*e = Entry{Path: e.Path, Type: Symlink, Mode: 0o777, Link: "a"}
			case n == 7 && len(files) > 0:
				*e = Entry{Path: e.Path, Type: Hardlink, Link: files[r.IntN(len(files))]}
			case n == 8:
				*e = Entry{Path: e.Path, Type: Whiteout}
			default:
				files = append(files, e.Path)
			}
			entries = append(entries, e)
		}
	}
	if r.IntN(2) == 0 {
		entries = append(entries, &Entry{Type: Dir, Mode: 0o711})
	}
	fill("", 0)
	toc, err := NewTOC(entries)
	if err != nil {
		t.Fatal(err)
	}
	return toc
}

// Tables that stay encoded say what decoded ones say: alone, and as a merged view of which some are and others are
// not.
func TestPackedIsDecoded(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 7))
		decoded, mixed := NewStack(), NewStack()
		for range 1 + r.IntN(4) {
			toc := randomLayer(t, r)
			p := pack(t, toc)
			samePacked(t, r, toc, p)
			var s Source = listed{treeSource{toc: toc}}
			decoded = decoded.With(s)
			if r.IntN(4) > 0 {
				s = packedSource{packed: p}
			}
			if r.IntN(2) == 0 { // the next is made of this one
				if err := mixed.load(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			mixed = mixed.With(s)
		}
		want, got := stackLines(t, decoded), stackLines(t, mixed)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("seed %d: the merged view (-decoded +packed):\n%s", seed, d)
		}
		paths := []string{"no", "a/no", "zzz", "!"}
		for i := range decoded.index {
			paths = append(paths, decoded.peek(&cursors{}, i).Path)
		}
		if r.IntN(2) == 0 {
			r.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
		}
		for _, path := range paths {
			sameAt(t, decoded, mixed, path)
		}
	}
}

func samePacked(t *testing.T, r *rand.Rand, toc *TOC, p *Packed) {
	t.Helper()
	if d := cmp.Diff(lines(toc), lines(collect(p))); d != "" || p.Len() != len(toc.Entries) || p.Size() != toc.Size() || p.ContentID() != toc.ContentID() {
		t.Fatalf("the table (-decoded +packed):\n%s", d)
	}
	c := p.cursor()
	for range 2 * len(toc.Entries) {
		i := r.IntN(len(toc.Entries))
		if r.IntN(2) == 0 {
			bare := *toc.Entries[i]
			bare.Digest = ""
			if d := cmp.Diff(&bare, c.peek(i)); d != "" {
				t.Fatalf("peek at %d (-want +got):\n%s", i, d)
			}
		}
		if d := cmp.Diff(toc.Entries[i], c.entry(i)); d != "" {
			t.Fatalf("entry %d (-want +got):\n%s", i, d)
		}
		if d := cmp.Diff(toc.Entries[i], c.entry(i)); d != "" {
			t.Fatalf("entry %d again (-want +got):\n%s", i, d)
		}
		if path := c.peek(i).Path; path != toc.Entries[i].Path {
			t.Fatalf("peek at %d after the entry has the path %q", i, path)
		}
		if d := cmp.Diff(toc.Entries[i], p.Lookup(toc.Entries[i].Path)); d != "" {
			t.Fatalf("lookup (-want +got):\n%s", d)
		}
	}
	if e := p.Lookup("no such path"); e != nil {
		t.Fatalf("found %v", e)
	}
}

func collect(table Table) *TOC {
	var entries []*Entry
	for e := range table.All() {
		copied := *e
		entries = append(entries, &copied)
	}
	return &TOC{Entries: entries}
}

// stackLines are all that comes out of a stack, with layers.
func stackLines(t *testing.T, s *Stack) []string {
	t.Helper()
	var all []string
	placed, err := s.Placed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for p := range placed {
		all = append(all, fmt.Sprintf("%d %+v", p.Layer, *p.Entry))
	}
	err = s.Walk(t.Context(), "", func(e *Entry) error {
		all = append(all, fmt.Sprintf("%+v", *e))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// sameAt compares what two stacks say of a path.
func sameAt(t *testing.T, a, b *Stack, path string) {
	t.Helper()
	at := func(s *Stack) (out []string) {
		e, err := s.Lookup(t.Context(), path)
		if err != nil {
			return []string{err.Error()}
		}
		layer, err := s.Layer(t.Context(), path)
		out = append(out, fmt.Sprint(*e, layer, err))
		list, err := s.ReadDir(t.Context(), path)
		for _, e := range list {
			out = append(out, fmt.Sprint(*e))
		}
		ids, err2 := s.identities(t.Context(), path, list)
		for i, id := range ids { // by the first that is equal
			out = append(out, fmt.Sprint(id == nil, slices.Index(ids, id) == i))
		}
		return append(out, fmt.Sprint(err, err2))
	}
	if d := cmp.Diff(at(a), at(b)); d != "" {
		t.Fatalf("%q (-decoded +packed):\n%s", path, d)
	}
}

// resealed gives an encoded table the right checksum.
func resealed(data []byte) []byte {
	body := data[:len(data)-4]
	return binary.LittleEndian.AppendUint32(slices.Clone(body), crc32.Checksum(body, castagnoli()))
}

// A damaged table is an error when it is packed where it is one when it is decoded.
func FuzzPacked(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	var buf bytes.Buffer
	if err := (&TOC{Entries: []*Entry{{Path: "a", Type: File}, {Path: "b", Type: Hardlink, Link: "a"}}}).Encode(&buf); err != nil {
		f.Fatal(err)
	}
	f.Add(slices.Clone(buf.Bytes()))
	for range 20 {
		damaged := slices.Clone(buf.Bytes())
		damaged[r.IntN(len(damaged)-4)] ^= 1 << r.IntN(8)
		f.Add(resealed(damaged))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 4 {
			return
		}
		data = resealed(data)
		toc := &TOC{}
		err := toc.Decode(bytes.NewReader(data))
		p, packedErr := NewPacked(data)
		if (err == nil) != (packedErr == nil) {
			t.Fatalf("Decode: %v; NewPacked: %v", err, packedErr)
		}
		if err == nil && p.ContentID() != toc.ContentID() {
			t.Fatal("another table")
		}
	})
}
