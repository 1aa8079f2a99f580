package records

import (
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/db"
)

func open(t *testing.T) *Records {
	t.Helper()
	d, err := db.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return New(d)
}

func aBuild(id, context string, image digest.Digest) *Build {
	return &Build{
		ID: id, Started: time.UnixMilli(1700000000123), Took: 1500 * time.Millisecond, Context: context, Dockerfile: "Dockerfile",
		Target: "t", Engine: "graph", Image: image, Error: "e", Saved: 250 * time.Millisecond, Hits: 2, Total: 3, Data: []byte("{}"),
	}
}

func TestBuilds(t *testing.T) {
	s := open(t)
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
	if _, err := s.BuildByID("aa"); err == nil || errors.Is(err, db.ErrNotFound) {
		t.Errorf("an ambiguous ID: %v", err)
	}
	for _, none := range []string{"", "c", "aa%", "xyz"} {
		if _, err := s.BuildByID(none); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("%q: %v", none, err)
		}
	}
}

func TestBuildsAreForgotten(t *testing.T) {
	s := open(t)
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
	s := open(t)
	put := func(key, text string, made int64) digest.Digest {
		t.Helper()
		d := digest.FromString(key)
		if err := s.PutRecord(Record{Key: d, Data: []byte(`{"a":"` + key + `"}`), Made: time.UnixMilli(made), Text: text}); err != nil {
			t.Fatal(err)
		}
		return d
	}
	put("old", "x", 1)
	newest := put("new", "x", 3)
	put("other", "y", 4)
	put("none", "", 5)
	like, err := s.RecordsLike("x", 2)
	if err != nil || len(like) != 2 || like[0].Key != newest || like[1].Made.UnixMilli() >= like[0].Made.UnixMilli() {
		t.Fatalf("%v, %v", like, err)
	}
	if like, err := s.RecordsLike("", 9); err != nil || len(like) != 0 {
		t.Errorf("records without a text are alike: %v, %v", like, err)
	}
	if r, err := s.PeekRecord(newest); err != nil || r.Made.UnixMilli() != 3 {
		t.Errorf("%v, %v", r, err)
	}
	if at, err := s.PrunedAt(newest); err != nil || !at.IsZero() {
		t.Errorf("%v, %v", at, err)
	}

	before := time.Now().Truncate(time.Millisecond)
	err = s.db.Tx(func(tx *sql.Tx) error {
		deleted, err := Delete(tx, []digest.Digest{digest.FromString("old"), newest, digest.FromString("x")}, db.Now()+1)
		if deleted != 2 {
			t.Errorf("%d are deleted", deleted)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PeekRecord(newest); !errors.Is(err, db.ErrNotFound) {
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
	s := open(t)
	// As many as are remembered, and two that are older.
	_, err := s.db.Exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO seen (key, text, made, pruned) SELECT 'key ' || i, '', 0, i FROM n`, maxPruned+2)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.db.Tx(forgetPruned); err != nil {
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
