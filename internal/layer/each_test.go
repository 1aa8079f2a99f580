package layer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// manyEntries has every kind of entry, one with attributes that are larger than the window.
func manyEntries(t testing.TB, n int) *TOC {
	entries := []*Entry{
		{Path: "", Type: Dir, Mode: 0o755},
		{Path: "big", Type: File, Size: 3, Digest: digest.FromString("big"), Mode: 0o644, Xattrs: []Xattr{{"user.x", strings.Repeat("v", 5*window)}}},
		{Path: "gone", Type: Whiteout},
		{Path: "link", Type: Symlink, Link: "big", Mode: 0o777},
		{Path: "null", Type: Char, Major: 1, Minor: 3},
	}
	for i := range n {
		dir := fmt.Sprintf("d/%04d", i/100)
		if i%100 == 0 {
			entries = append(entries, &Entry{Path: dir, Type: Dir, Mode: 0o700, UID: i})
		}
		name := fmt.Sprintf("%s/file-%d", dir, i)
		entries = append(entries, &Entry{Path: name, Type: File, Mode: 0o644, Size: int64(i), ModTime: int64(i), Digest: digest.FromString(name), Offset: int64(i) * 512})
	}
	toc, err := NewTOC(entries)
	if err != nil {
		t.Fatal(err)
	}
	return toc
}

func TestEachEntryGivesWhatDecodeGives(t *testing.T) {
	want := manyEntries(t, 5000)
	var b bytes.Buffer
	if err := want.Encode(&b); err != nil {
		t.Fatal(err)
	}
	var got []*Entry
	err := EachEntry(&b, func(e *Entry) error {
		kept := *e
		got = append(got, &kept)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Entries, got); diff != "" {
		t.Error(diff)
	}
}

func TestEachEntryRefusesDamage(t *testing.T) {
	var b bytes.Buffer
	if err := manyEntries(t, 300).Encode(&b); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	nothing := func(*Entry) error { return nil }
	for _, n := range []int{0, 5, len(tocMagic), 200, len(whole) / 2, len(whole) - 1} {
		if err := EachEntry(bytes.NewReader(whole[:n]), nothing); !errors.Is(err, errTOC) {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-200] ^= 1
	if err := EachEntry(bytes.NewReader(flipped), nothing); !errors.Is(err, errTOC) {
		t.Errorf("one bit flipped: %v", err)
	}
	if err := EachEntry(io.MultiReader(bytes.NewReader(whole), strings.NewReader("x")), nothing); !errors.Is(err, errTOC) {
		t.Errorf("one byte more: %v", err)
	}
	stop := errors.New("stop")
	if err := EachEntry(bytes.NewReader(whole), func(*Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("fn's own error: %v", err)
	}
}

func FuzzEachEntry(f *testing.F) {
	var b bytes.Buffer
	if err := manyEntries(f, 10).Encode(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		err := EachEntry(bytes.NewReader(data), func(*Entry) error { n++; return nil })
		var toc TOC
		// What Decode takes, EachEntry takes, too, and sees the same entries.
		if decoded := toc.Decode(bytes.NewReader(data)); decoded == nil && (err != nil || n != len(toc.Entries)) {
			t.Errorf("Decode: %d entries, EachEntry: %d, %v", len(toc.Entries), n, err)
		}
	})
}

func BenchmarkEachEntry(b *testing.B) {
	var buf bytes.Buffer
	if err := manyEntries(b, 20_000).Encode(&buf); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := EachEntry(bytes.NewReader(buf.Bytes()), func(*Entry) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
