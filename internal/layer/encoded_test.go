package layer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
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

// appendMany appends n entries, in order.
func appendMany(t *testing.T, table *Encoded, n int) {
	t.Helper()
	for i := range n {
		path := fmt.Sprintf("dir%03d/file%06d", i/1000, i)
		if err := table.Append(&Entry{Path: path, Type: File, Mode: 0o644, Size: int64(i), Digest: digest.FromString(path), Offset: int64(i) << 9}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEncodedInAFile: a table of which most is in a file gives what one in memory does, whole, in part and drained, and
// takes no more memory the more entries it has.
func TestEncodedInAFile(t *testing.T) {
	const n = 120_000
	held, kept := NewEncoded(TempFile(t.TempDir())), &Encoded{}
	appendMany(t, held, n)
	appendMany(t, kept, n)
	if held.spilled.file == nil || len(held.pieces)+len(held.spilled.free) > maxHeld {
		t.Fatalf("%d pieces are in memory", len(held.pieces)+len(held.spilled.free))
	}
	for e := range held.All() { // the file has to be readable again
		if e.Path == "dir050/file050000" {
			break
		}
	}
	var a, b bytes.Buffer
	if err := errors.Join(held.Encode(&a), kept.Encode(&b)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) || held.ContentID() != kept.ContentID() || held.Len() != n {
		t.Error("the two write other files")
	}
	next, stop := iter.Pull(kept.All())
	defer stop()
	drained := 0
	for e := range held.Drain() {
		if want, _ := next(); !cmp.Equal(want, e) {
			t.Fatal(cmp.Diff(want, e))
		}
		drained++
	}
	if drained != n || held.Len() != 0 || held.Err() != nil {
		t.Errorf("%d entries, then %d, %v", drained, held.Len(), held.Err())
	}
}

// TestEncodedInABadFile: what cannot be written or read back is an error, not a shorter table.
func TestEncodedInABadFile(t *testing.T) {
	table := NewEncoded(TempFile(filepath.Join(t.TempDir(), "missing")))
	err := error(nil)
	for i := 0; i < 120_000 && err == nil; i++ {
		err = table.Append(&Entry{Path: fmt.Sprintf("%06d", i), Type: Symlink, Link: strings.Repeat("x", 100)})
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("appending without a file: %v", err)
	}
	for name, read := range map[string]func(*Encoded) error{
		"All": func(t *Encoded) error {
			for range t.All() {
			}
			return t.Err()
		},
		"Drain": func(t *Encoded) error {
			for range t.Drain() {
			}
			return t.Err()
		},
		"ContentID": func(t *Encoded) error {
			t.ContentID()
			return t.Err()
		},
		"Encode": func(t *Encoded) error { return t.Encode(io.Discard) },
		"tableRuns": func(t *Encoded) error {
			return tableRuns(t, func(*run) error { return nil })
		},
	} {
		table := NewEncoded(TempFile(t.TempDir()))
		appendMany(t, table, 120_000)
		if err := table.spilled.file.Truncate(1 << 20); err != nil {
			t.Fatal(err)
		}
		if err := read(table); err == nil {
			t.Errorf("%s: a file that has got shorter is no error", name)
		}
	}
}

// TestEncodedReadAtOnce: several goroutines can go through a table in a file, a bad one too.
func TestEncodedReadAtOnce(t *testing.T) {
	for _, bad := range []bool{false, true} {
		table := NewEncoded(TempFile(t.TempDir()))
		appendMany(t, table, 120_000)
		want := table.ContentID()
		if bad {
			if err := table.spilled.file.Truncate(1 << 20); err != nil {
				t.Fatal(err)
			}
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if id := table.ContentID(); (id == want) == bad || (table.Err() != nil) != bad {
					t.Errorf("the content ID is %s, want %s: %v", id, want, table.Err())
				}
			})
		}
		all.Wait()
	}
}
