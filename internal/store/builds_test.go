package store

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

func aBuild(id, context string, image digest.Digest) *Build {
	return &Build{
		ID: id, Started: time.UnixMilli(1700000000123), Took: 1500 * time.Millisecond, Context: context, Dockerfile: "Dockerfile",
		Target: "t", Engine: "graph", Image: image, Error: "e", Saved: 250 * time.Millisecond, Hits: 2, Total: 3, Data: []byte("{}"),
	}
}

func TestBuilds(t *testing.T) {
	s := open(t, t.TempDir())
	image := digest.FromString("image")
	for _, b := range []*Build{aBuild("aa11", "/a", image), aBuild("aa22", "/b", ""), aBuild("bb33", "/a", image)} {
		if err := s.PutBuild(b); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.Builds(-1)
	if err != nil {
		t.Fatal(err)
	}
	want := []*Build{aBuild("bb33", "/a", image), aBuild("aa22", "/b", ""), aBuild("aa11", "/a", image)}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Error(diff)
	}
	if some, err := s.Builds(2); err != nil || len(some) != 2 || some[0].ID != "bb33" {
		t.Errorf("%v, %v", some, err)
	}
	of, err := s.BuildsOf("/a", "Dockerfile", "t", "graph", 1)
	if err != nil || len(of) != 1 || of[0].ID != "bb33" {
		t.Errorf("%v, %v", of, err)
	}
	for _, other := range [][4]string{{"/c", "Dockerfile", "t", "graph"}, {"/a", "D", "t", "graph"}, {"/a", "Dockerfile", "", "graph"}, {"/a", "Dockerfile", "t", "classic"}} {
		if of, err := s.BuildsOf(other[0], other[1], other[2], other[3], 1); err != nil || len(of) != 0 {
			t.Errorf("%v: %v, %v", other, of, err)
		}
	}
	if b, err := s.BuildByImage(image); err != nil || b.ID != "bb33" {
		t.Errorf("%v, %v", b, err)
	}
	if b, err := s.BuildByID("aa2"); err != nil || b.ID != "aa22" {
		t.Errorf("%v, %v", b, err)
	}
	if _, err := s.BuildByID("aa"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("an ambiguous ID: %v", err)
	}
	for _, none := range []string{"", "c", "aa%", "xyz"} {
		if _, err := s.BuildByID(none); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", none, err)
		}
	}
}

func TestBuildsAreForgotten(t *testing.T) {
	s := open(t, t.TempDir())
	put := func(id string) {
		t.Helper()
		if err := s.PutBuild(aBuild(id, "/", "")); err != nil {
			t.Fatal(err)
		}
	}
	put("first")
	put("second")
	if _, err := s.db.Exec("UPDATE builds SET seq = ? WHERE id = 'second'", maxBuilds); err != nil {
		t.Fatal(err)
	}
	put("third")
	all, err := s.Builds(-1)
	if err != nil || len(all) != 2 || all[0].ID != "third" || all[1].ID != "second" {
		t.Errorf("%v, %v", all, err)
	}
}

func TestRecordsLike(t *testing.T) {
	s := open(t, t.TempDir())
	put := func(key, text string, made int64) digest.Digest {
		t.Helper()
		d := digest.FromString(key)
		if err := s.PutRecord(Record{Key: d, Data: []byte(key), Made: time.UnixMilli(made), Text: text}); err != nil {
			t.Fatal(err)
		}
		return d
	}
	put("old", "x", 1)
	newest := put("new", "x", 3)
	put("other", "y", 4)
	put("none", "", 5)
	like, err := s.RecordsLike("x", 2)
	if err != nil || len(like) != 2 || like[0].Key != newest || string(like[1].Data) != "old" {
		t.Fatalf("%v, %v", like, err)
	}
	if like, err := s.RecordsLike("", 9); err != nil || len(like) != 0 {
		t.Errorf("records without a text are alike: %v, %v", like, err)
	}
	if r, err := s.PeekRecord(newest); err != nil || string(r.Data) != "new" {
		t.Errorf("%v, %v", r, err)
	}
	if at, err := s.PrunedAt(newest); err != nil || !at.IsZero() {
		t.Errorf("%v, %v", at, err)
	}

	time.Sleep(2 * time.Millisecond) // a prune spares what was used in the millisecond in which it begins
	before := time.Now().Truncate(time.Millisecond)
	if _, err := s.Prune(PruneOptions{All: true, Records: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PeekRecord(newest); !errors.Is(err, ErrNotFound) {
		t.Errorf("pruned: %v", err)
	}
	if like, err := s.RecordsLike("x", 2); err != nil || len(like) != 0 {
		t.Errorf("pruned: %v, %v", like, err)
	}
	if at, err := s.PrunedAt(newest); err != nil || at.Before(before) {
		t.Errorf("pruned at %v, %v", at, err)
	}
	put("new", "x", 9)
	if at, err := s.PrunedAt(newest); err != nil || !at.IsZero() {
		t.Errorf("made again: %v, %v", at, err)
	}
}

func TestPrunedAreForgotten(t *testing.T) {
	s := open(t, t.TempDir())
	// As many as are remembered, and two that are older.
	_, err := s.db.Exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO seen (key, text, made, pruned) SELECT 'key ' || i, '', 0, i FROM n`, maxPruned+2)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.inTx(forgetPruned); err != nil {
		t.Fatal(err)
	}
	var n, oldest int
	if err := s.db.QueryRow("SELECT count(*), min(pruned) FROM seen").Scan(&n, &oldest); err != nil {
		t.Fatal(err)
	}
	if n != maxPruned || oldest != 3 {
		t.Errorf("%d are left, the oldest of %d", n, oldest)
	}
}

// TestOlderStore opens a store that was made before builds were remembered.
func TestOlderStore(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	key := digest.FromString("key")
	if err := s.PutRecord(Record{Key: key, Data: []byte("x"), Text: "t"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Exec("DROP TABLE builds; DROP TABLE seen"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(filepath.Clean(root))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if r, err := s.Record(key); err != nil || string(r.Data) != "x" {
		t.Errorf("%v, %v", r, err)
	}
	if err := s.PutBuild(aBuild("aa", "/", "")); err != nil {
		t.Error(err)
	}
	if like, err := s.RecordsLike("t", 1); err != nil || len(like) != 0 {
		t.Errorf("%v, %v", like, err)
	}
}
