package store

import (
	"errors"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// What was made of a layer is known as long as both are here.
func TestDerived(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, b, c := digest.FromString("a"), digest.FromString("b"), digest.FromString("c")
	for _, d := range []digest.Digest{a, b, c} {
		if err := s.AddRemote(d, Blob{Digest: digest.FromString("blob " + d.String()), Repository: "docker.io/me/app"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Derived(a, "times up to 1"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("before anything was made: %v", err)
	}
	if data, err := s.DerivedData(b); err != nil || data != nil {
		t.Fatalf("before anything was made: %q, %v", data, err)
	}
	if err := errors.Join(
		s.PutDerived(a, "times up to 1", Derived{Digest: b, Data: []byte("x")}), s.PutDerived(a, "estargz", Derived{Digest: c}),
	); err != nil {
		t.Fatal(err)
	}
	got, err := s.Derived(a, "times up to 1")
	if err != nil || got.Digest != b || string(got.Data) != "x" {
		t.Errorf("%+v, %v", got, err)
	}
	if data, err := s.DerivedData(b); err != nil || string(data) != "x" {
		t.Errorf("%q, %v", data, err)
	}

	// a is an image's. b is used, by looking it up; c is not, and goes.
	id := addImage(t, s, "", Image, a)
	hourAgo := time.Now().Add(-time.Hour).UnixMilli()
	if _, err := s.db.Exec("UPDATE layers SET used = ?1; UPDATE configs SET used = ?1", hourAgo); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Derived(a, "times up to 1"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(PruneOptions{Until: time.Now().Add(-time.Minute)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Layer(b); err != nil {
		t.Errorf("a layer that was just looked up is gone: %v", err)
	}
	if _, err := s.Derived(a, "estargz"); !errors.Is(err, ErrNotFound) {
		t.Errorf("what was made of it is gone: %v", err)
	}
	if _, err := s.RemoveImage(id, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Derived(a, "times up to 1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the layer itself is gone: %v", err)
	}
}
