package cache

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store"
)

// Keys differ whenever their parts do, however the strings are cut.
func TestKeysDiffer(t *testing.T) {
	key := func(kind Kind, parts ...string) *Key {
		k := &Key{Kind: kind}
		for i := 0; i < len(parts); i += 2 {
			k.Parts = append(k.Parts, Part{parts[i], parts[i+1]})
		}
		return k
	}
	seen := map[digest.Digest]int{}
	for i, k := range []*Key{
		key("RUN"), key("COPY"), key("RUN", "", ""), key("RUN", "arg", ""), key("RUN", "arg", "a"), key("RUN", "arg", "a", "arg", ""),
		key("RUN", "arg", "a", "arg", "b"), key("RUN", "arg", "b", "arg", "a"), key("RUN", "arg", "ab"), key("RUN", "arg", "a b"),
		key("RUN", "arga", ""), key("RUN", "arg", "a", "env", "b"), key("RUN", "env", "a", "arg", "b"), key("RUN", "arg", `a","n":"b`),
		key("RUN", "arg", "\x00"), key("RUN", "arg", "<"), key("RUN", "arg", `\u003c`), key("RUN", "arg", `\`),
	} {
		if before, ok := seen[k.Digest()]; ok {
			t.Errorf("keys %d and %d are the same", before, i)
		}
		seen[k.Digest()] = i
	}
	// Bytes that are not UTF-8 must not meet either: JSON would write all of them as U+FFFD.
	if key("RUN", "arg", "\xff").Digest() == key("RUN", "arg", "\xfe").Digest() {
		t.Error("two arguments that are not UTF-8 have one key")
	}
}

func TestRecords(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	k := &Key{Kind: "RUN"}
	k.Add(PartArg, "a", "b")
	if r, err := Lookup(s, k); r != nil || err != nil {
		t.Errorf("in an empty store: %v, %v", r, err)
	}
	want := &Record{Created: time.Date(2026, 1, 2, 3, 4, 5, 678912345, time.UTC), Took: time.Second, Instruction: "RUN a b"}
	if err := Save(s, k, want); err != nil {
		t.Fatal(err)
	}
	got, err := Lookup(s, k)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// A record whose layer is gone is none.
	k.Add(PartArg, "c")
	if err := Save(s, k, &Record{Layer: digest.FromString("nowhere"), Created: want.Created}); err != nil {
		t.Fatal(err)
	}
	if r, err := Lookup(s, k); r != nil || err != nil {
		t.Errorf("without its layer: %v, %v", r, err)
	}
}
