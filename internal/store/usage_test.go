package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/db/dbtest"
	"github.com/strata-build/strata/internal/store/disk"
)

func hasConfig(s *Store, id digest.Digest) bool {
	_, err := s.Config(id)
	return err == nil
}

// An untagged image that a named one was built on is on the way to it: its ID is in that one's history.
func TestPruneKeepsImagesOnTheWay(t *testing.T) {
	s := open(t, t.TempDir())
	l := addLayer(t, s, "1", "1")
	first := addImage(t, s, "", Image, l)
	step := addImage(t, s, first, Step, l)
	second := addImage(t, s, step, Image, l)
	if _, err := s.SetName(named(t, "second"), second, ""); err != nil {
		t.Fatal(err)
	}
	dbtest.Tick()
	p, err := s.Prune(PruneOptions{})
	if err != nil || len(p.Images) != 0 {
		t.Fatalf("%v: %+v", err, p)
	}
	for _, id := range []digest.Digest{first, step, second} {
		if !hasConfig(s, id) {
			t.Errorf("%s went", id)
		}
	}
	p, err = s.RemoveImage(second, []string{named(t, "second").String()})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]digest.Digest{second}, p.Images); diff != "" || len(p.Steps) != 2 || len(p.Layers) != 1 {
		t.Errorf("%s%+v", diff, p)
	}
}

func TestPruneUntil(t *testing.T) {
	s := open(t, t.TempDir())
	old := addImage(t, s, "", Image, addLayer(t, s, "1", "1"))
	dbtest.Tick()
	until := time.Now()
	dbtest.Tick()
	fresh := addImage(t, s, "", Image, addLayer(t, s, "2", "2"))
	dbtest.Tick()
	if _, err := s.Prune(PruneOptions{All: true, Until: until}); err != nil {
		t.Fatal(err)
	}
	if hasConfig(s, old) || !hasConfig(s, fresh) {
		t.Errorf("old stays: %t, fresh stays: %t", hasConfig(s, old), hasConfig(s, fresh))
	}
}

// A living session keeps what it touched, from a prune with a time limit and from a removal too.
func TestSessionKeepsWhatItUses(t *testing.T) {
	root := t.TempDir()
	s, other := open(t, root), open(t, root)
	l := addLayer(t, s, "1", "1")
	id := addImage(t, s, "", Image, l)
	dbtest.Tick()
	if err := other.Begin(); err != nil {
		t.Fatal(err)
	}
	if err := other.Touch(id); err != nil {
		t.Fatal(err)
	}
	dbtest.Tick()
	if _, err := s.Prune(PruneOptions{All: true, Until: time.Now().Add(time.Hour)}); err != nil || !hasConfig(s, id) {
		t.Fatalf("the prune: %v, still there: %t", err, hasConfig(s, id))
	}
	if p, err := s.RemoveImage(id, nil); err != nil || len(p.Images) != 0 || !hasConfig(s, id) {
		t.Fatalf("the removal: %v, %+v", err, p)
	}
	if _, err := s.Layer(l); err != nil {
		t.Errorf("the layer under a running process went: %v", err)
	}
	other.Close()
	dbtest.Tick()
	if _, err := s.Prune(PruneOptions{}); err != nil || hasConfig(s, id) {
		t.Errorf("after the session's end: %v, still there: %t", err, hasConfig(s, id))
	}
}

func TestPruneRecordsOnly(t *testing.T) {
	s := open(t, t.TempDir())
	inImage, inRecord := addLayer(t, s, "1", "1"), addLayer(t, s, "2", "2")
	id := addImage(t, s, "", Image, inImage)
	for i, l := range []digest.Digest{inImage, inRecord} {
		r := Record{Key: digest.FromString(strings.Repeat("k", i+1)), Layer: l, Data: []byte("{}"), Made: time.Now()}
		if err := s.PutRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	dbtest.Tick()
	p, err := s.Prune(PruneOptions{Records: true})
	if err != nil || p.Records != 1 || len(p.Layers) != 1 || p.Layers[0] != inRecord {
		t.Errorf("%v: %+v", err, p)
	}
	p, err = s.Prune(PruneOptions{Records: true, All: true})
	if err != nil || p.Records != 1 || len(p.Layers) != 0 || !hasConfig(s, id) {
		t.Errorf("%v: %+v", err, p)
	}
}

// What pruning says it freed is what the disk has more.
func TestFreedIsTrue(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	for i := range 3 {
		name := string(rune('a' + i))
		addImage(t, s, "", Image, addLayer(t, s, name, strings.Repeat(name, 200_000)))
	}
	if err := os.WriteFile(filepath.Join(root, "contexts", "x"), make([]byte, 50_000), 0o600); err != nil {
		t.Fatal(err)
	}
	dbtest.Tick()
	before, err := disk.Usage(root)
	if err != nil {
		t.Fatal(err)
	}
	use, err := s.Disk()
	if err != nil {
		t.Fatal(err)
	}
	if use.Images.Count != 3 || use.Images.Active != 0 || use.Images.Size != use.Images.Reclaimable || use.Images.Size < 600_000 || use.Cache.Size < 50_000 {
		t.Errorf("%+v", use)
	}
	if sum := use.Images.Size + use.Cache.Size + use.Other; sum < before*9/10 || sum > before*11/10 {
		t.Errorf("the parts make %d bytes, the store takes %d", sum, before)
	}
	p, err := s.Prune(PruneOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	after, err := disk.Usage(root)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.Freed, before-after; got < want*9/10 || got > want*11/10 {
		t.Errorf("freed %d bytes, the disk has %d more", got, want)
	}
	if use, err = s.Disk(); err != nil || use.Images.Size+use.Cache.Size > 64<<10 || len(use.Layers) != 0 {
		t.Errorf("what is left: %v, %+v", err, use)
	}
	if _, err := s.Config(digest.FromString("")); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}
