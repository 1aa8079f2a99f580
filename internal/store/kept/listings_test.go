package kept

import (
	"errors"
	"os"
	"strconv"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/db"
)

// The listings used last are kept, and no more than so many.
func TestListings(t *testing.T) {
	s := open(t, t.TempDir())
	sum := func(i int) digest.Digest { return digest.FromString(strconv.Itoa(i)) }
	for i := range maxListings + 3 {
		toc, err := layer.NewTOC([]*layer.Entry{{Path: strconv.Itoa(i), Type: layer.Fifo}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.PutListing(sum(i), toc); err != nil {
			t.Fatal(err)
		}
		if err := s.PutListing(sum(0), toc); err != nil { // used again, as it was
			t.Fatal(err)
		}
	}
	if toc, err := s.Listing(sum(0)); err != nil || len(toc.Entries) != 1 || toc.Entries[0].Path != "0" {
		t.Errorf("the one that was used all the time: %v, %v", toc, err)
	}
	if _, err := s.Listing(sum(1)); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("the oldest: %v", err)
	}
	entries, err := os.ReadDir(s.path(listings))
	if err != nil || len(entries) != maxListings {
		t.Errorf("%d listings, %v", len(entries), err)
	}
}

// A listing that is damaged is forgotten, and then remembered anew.
func TestDamagedListing(t *testing.T) {
	s := open(t, t.TempDir())
	sum := digest.FromString("a")
	toc, err := layer.NewTOC([]*layer.Entry{{Path: "a", Type: layer.Fifo}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PutListing(sum, toc); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(s.path(listings, sum.Encoded()), 3); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Listing(sum); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("a damaged one: %v", err)
	}
	if err := s.PutListing(sum, toc); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Listing(sum); err != nil || len(got.Entries) != 1 {
		t.Errorf("remembered anew: %v, %v", got, err)
	}
}
