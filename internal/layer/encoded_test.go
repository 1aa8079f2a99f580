package layer

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// TestEncodedIsAsDecoded: a table in its encoded form gives what the decoded one does, over several pieces.
func TestEncodedIsAsDecoded(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	var entries []*Entry
	for i := range 3000 {
		dir := string(rune('a'+i%26)) + "/" + string(rune('a'+i/26%26))
		e := &Entry{Path: dir + "/" + digest.FromString(string(rune(i))).Encoded()[:rnd.IntN(40)+10], Type: File, Mode: 0o644, UID: rnd.IntN(3), ModTime: int64(i)}
		switch rnd.IntN(5) {
		case 0:
			e.Type, e.Link = Symlink, "x"
		case 1:
			e.Type = Dir
		case 2:
			e.Xattrs = []Xattr{{"user.a", string(make([]byte, rnd.IntN(100)))}}
			fallthrough
		default:
			e.Size, e.Digest, e.Offset = int64(rnd.IntN(1<<20)), digest.FromString(e.Path), int64(rnd.IntN(1<<30))
		}
		entries = append(entries, e)
	}
	want, err := NewTOC(entries)
	if err != nil {
		t.Fatal(err)
	}
	got, err := want.Encoded()
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for e := range got.All() {
		if d := cmp.Diff(want.Entries[i], e); d != "" {
			t.Fatalf("entry %d: %s", i, d)
		}
		i++
	}
	if i != want.Len() || got.Len() != want.Len() || got.Size() != want.Size() || got.ContentID() != want.ContentID() {
		t.Errorf("%d entries, %d bytes, %s; want %d, %d, %s", got.Len(), got.Size(), got.ContentID(), want.Len(), want.Size(), want.ContentID())
	}
	var a, b bytes.Buffer
	if err := want.Encode(&a); err != nil {
		t.Fatal(err)
	}
	if err := got.Encode(&b); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the two write other files")
	}
	if err := got.Append(want.Entries[0]); err == nil {
		t.Error("an entry that is out of order was taken")
	}
}
