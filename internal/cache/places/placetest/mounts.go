package placetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/cache/packed"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/transfer"
)

// mountTests are those of places that keep the contents of cache mounts.
var mountTests = []placeTest{
	{"a mount", testMount},
	{"a mount that changes", testMountChanges},
	{"mounts of two writers", testMountWriters},
	{"a damaged mount", testMountDamaged},
	{"a mount, cancelled", testMountCancelled},
}

var mountName = packed.Name{ID: "/root/.cache/go-build", Arch: "amd64"}

// keeper gives the place as a machine sees it now.
func (s *Site) keeper(t *testing.T, m *transfer.Mover) packed.Keeper {
	t.Helper()
	if s.Fill != nil {
		t.Skip("the place takes nothing")
	}
	k, ok := s.open(t, m).(packed.Keeper)
	if !ok {
		t.Skip("the place keeps no cache mounts")
	}
	return k
}

// contents are a directory like a cache mount. Of two with one name all is the same.
func contents(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	for i := range 40 {
		path := filepath.Join(dir, fmt.Sprint(i%7), fmt.Sprintf("%s-%d", name, i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Repeat(fmt.Sprintln(name, i), 2000)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// send puts a directory as the contents of the mount.
func send(ctx context.Context, t *testing.T, k packed.Keeper, dir string) error {
	t.Helper()
	doc, version, err := k.Mount(ctx, mountName)
	var before *packed.Previous
	expect := &version
	if errors.Is(err, packed.ErrNone) {
		if version == "" {
			expect = nil
		}
	} else if err != nil {
		return err
	} else if before, err = packed.ReadPrevious(ctx, k, doc); err != nil {
		return err
	}
	s, err := packed.Make(ctx, mountName, packed.Source{Dir: dir}, t.TempDir(), before)
	if err != nil {
		return err
	}
	return k.PutMount(ctx, &s.Document, s.New, expect)
}

// expectMount sees to it that what a machine restores is what is in one of the directories; it says which.
func expectMount(t *testing.T, k packed.Keeper, want ...string) int {
	t.Helper()
	doc, _, err := k.Mount(t.Context(), mountName)
	dir := t.TempDir()
	if err == nil {
		err = packed.Restore(t.Context(), k, doc, t.TempDir(), dir)
	}
	if err != nil {
		t.Error(err)
		return -1
	}
	diff := ""
	for i, w := range want {
		if diff = cmp.Diff(files(t, w), files(t, dir)); diff == "" {
			return i
		}
	}
	t.Errorf("(-want +got):\n%s", diff)
	return -1
}

func files(t *testing.T, dir string) []*layer.Entry {
	t.Helper()
	toc, err := layer.Diff(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return toc.Entries
}

// testMount puts a mount beside records, and restores it on a machine that has nothing.
func testMount(t *testing.T, s *Site) {
	m := s.Machine(t)
	k := s.keeper(t, m)
	if _, _, err := k.Mount(t.Context(), mountName); !errors.Is(err, packed.ErrNone) {
		t.Errorf("nothing is there: %v", err)
	}
	dir := contents(t, "a")
	steps := Steps(t, m, "a")
	s.put(t, m, steps)
	if err := send(t.Context(), t, s.keeper(t, m), dir); err != nil {
		t.Fatal(err)
	}
	s.put(t, m, steps) // a place that is one document keeps the mounts that it has
	expectMount(t, s.keeper(t, s.Machine(t)), dir)
	for _, step := range steps {
		expect(t, s.open(t, s.Machine(t)), step)
	}
	other := mountName
	other.Arch = "arm64"
	if _, _, err := k.Mount(t.Context(), other); !errors.Is(err, packed.ErrNone) {
		t.Errorf("of another architecture: %v", err)
	}
}

// testMountChanges puts one state after the other.
func testMountChanges(t *testing.T, s *Site) {
	for _, name := range []string{"a", "b", "b", "a"} {
		dir := contents(t, name)
		if err := send(t.Context(), t, s.keeper(t, s.Machine(t)), dir); err != nil {
			t.Fatal(err)
		}
		expectMount(t, s.keeper(t, s.Machine(t)), dir)
	}
}

// testMountWriters has two machines put a mount at once. What is there afterwards is that of one of them, whole.
func testMountWriters(t *testing.T, s *Site) {
	dirs := []string{contents(t, "a"), contents(t, "b")}
	var keepers []packed.Keeper
	for range dirs {
		keepers = append(keepers, s.keeper(t, s.Machine(t)))
	}
	var wg sync.WaitGroup
	for i, k := range keepers {
		wg.Go(func() {
			for range 3 {
				if err := send(t.Context(), t, k, dirs[i]); err != nil && !errors.Is(err, packed.ErrChanged) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	expectMount(t, s.keeper(t, s.Machine(t)), dirs...)
	if !s.Merges {
		return
	}
	// A place that is written to on conditions refuses what was made of an old state.
	k := s.keeper(t, s.Machine(t))
	doc, version, err := k.Mount(t.Context(), mountName)
	if err != nil {
		t.Fatal(err)
	}
	if err := send(t.Context(), t, k, contents(t, "c")); err != nil {
		t.Fatal(err)
	}
	for _, before := range []*string{nil, &version} {
		if err := k.PutMount(t.Context(), doc, nil, before); !errors.Is(err, packed.ErrChanged) {
			t.Errorf("an old state is put: %v", err)
		}
	}
}

// testMountDamaged sees to it that other bytes are never a mount's.
func testMountDamaged(t *testing.T, s *Site) {
	if s.DamageLayers == nil || s.DamageRecords == nil {
		t.Skip("nobody else can get at it")
	}
	if err := send(t.Context(), t, s.keeper(t, s.Machine(t)), contents(t, "a")); err != nil {
		t.Fatal(err)
	}
	s.DamageLayers(t)
	s.DamageRecords(t)
	k := s.keeper(t, s.Machine(t))
	doc, _, err := k.Mount(t.Context(), mountName)
	dir := t.TempDir()
	if err == nil {
		err = packed.Restore(t.Context(), k, doc, t.TempDir(), dir)
	}
	if err == nil {
		t.Error("a damaged mount is restored")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("files are made of it: %d, %v", len(left), err)
	}
}

func testMountCancelled(t *testing.T, s *Site) {
	a := contents(t, "a")
	if err := send(t.Context(), t, s.keeper(t, s.Machine(t)), a); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := send(ctx, t, s.keeper(t, s.Machine(t)), contents(t, "b")); !errors.Is(err, context.Canceled) {
		t.Errorf("putting: %v", err)
	}
	expectMount(t, s.keeper(t, s.Machine(t)), a)
}
