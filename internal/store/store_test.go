package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/db/dbtest"
)

func open(t *testing.T, root string) *Store {
	t.Helper()
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// addLayer puts a layer with one file into the store, as a tar.
func addLayer(t *testing.T, s *Store, name, contents string) digest.Digest {
	t.Helper()
	return addFiles(t, s, map[string]string{name: contents})
}

// addFiles puts a layer of several files into the store.
func addFiles(t *testing.T, s *Store, contents map[string]string) digest.Digest {
	t.Helper()
	var entries []*layer.Entry
	for name, text := range contents {
		entries = append(entries, &layer.Entry{Path: name, Type: layer.File, Mode: 0o644, Size: int64(len(text)), Digest: digest.FromString(text)})
	}
	toc, err := layer.NewTOC(entries)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := s.Temp("test")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	made, err := layer.WriteTarFile(t.Context(), f, toc, func(_ context.Context, e *layer.Entry) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(contents[e.Path])), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddLayer(made.DiffID, made.TOC, dir); err != nil {
		t.Fatal(err)
	}
	return made.DiffID
}

// addImage puts an image of these layers into the store.
func addImage(t *testing.T, s *Store, parent digest.Digest, kind Kind, chain ...digest.Digest) digest.Digest {
	t.Helper()
	c := &image.Config{}
	c.RootFS.Type, c.RootFS.DiffIDs = "layers", chain
	c.Config.Env = []string{fmt.Sprintf("N=%d", time.Now().UnixNano())}
	data, err := image.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.PutConfig(data, parent, kind)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func named(t *testing.T, name string) reference.Named {
	t.Helper()
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	return reference.TagNameOnly(ref)
}

func TestResolve(t *testing.T) {
	s := open(t, t.TempDir())
	a, b := addImage(t, s, "", Image), addImage(t, s, "", Step)
	manifest := digest.FromString("manifest")
	if _, err := s.SetName(named(t, "me/app"), a, manifest); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"me/app", "me/app:latest", "docker.io/me/app:latest", "me/app@" + manifest.String(),
		a.String(), a.Encoded(), a.Encoded()[:12],
	} {
		if got, err := s.Resolve(text); err != nil || got != a {
			t.Errorf("Resolve(%q) = %v, %v", text, got, err)
		}
	}
	if got, err := s.Resolve(b.Encoded()[:16]); err != nil || got != b {
		t.Errorf("a step by its ID: %v, %v", got, err)
	}
	for _, text := range []string{"me/app:other", "other", "me/app@" + digest.FromString("x").String(), "", "Not A Name", "0123456789abcdef0123"} {
		if _, err := s.Resolve(text); !errors.Is(err, ErrNotFound) {
			t.Errorf("Resolve(%q): %v, want ErrNotFound", text, err)
		}
	}
	if before, err := s.SetName(named(t, "me/app"), b, ""); err != nil || before != a {
		t.Errorf("moving a name: before = %v, %v", before, err)
	}
}

func TestResolveAmbiguous(t *testing.T) {
	s := open(t, t.TempDir())
	ids := map[byte]digest.Digest{}
	for {
		id := addImage(t, s, "", Image)
		first := id.Encoded()[0]
		if _, ok := ids[first]; ok {
			_, err := s.Resolve(string(first))
			var ambiguous *AmbiguousError
			if !errors.As(err, &ambiguous) || len(ambiguous.IDs) != 2 {
				t.Fatalf("Resolve(%q): %v", first, err)
			}
			return
		}
		ids[first] = id
	}
}

func TestOtherVersion(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	if _, err := s.db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(root); err == nil || !strings.Contains(err.Error(), "format 99") {
		t.Errorf("opening a store of another version: %v", err)
	}
}

func TestIngest(t *testing.T) {
	s := open(t, t.TempDir())
	data := bytes.Repeat([]byte("0123456789"), 1000)
	d := digest.FromBytes(data)
	in, err := s.Ingest(t.Context(), d, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write(data[:4000]); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if s.HasBlob(d) {
		t.Fatal("half a blob has its name")
	}
	in, err = s.Ingest(t.Context(), d, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if in.Offset() != 4000 {
		t.Fatalf("resumed at %d", in.Offset())
	}
	if _, err := in.Write(append(data[4000:len(data):len(data)], 'x')); err == nil {
		t.Error("more than was announced was taken")
	}
	if _, err := in.Write([]byte("wrong")); err != nil {
		t.Fatal(err)
	}
	var mismatch *MismatchError
	if err := in.Commit(); !errors.As(err, &mismatch) || mismatch.Want != d {
		t.Fatalf("committing what does not match: %v", err)
	}
	if in.Offset() != 0 || s.HasBlob(d) {
		t.Fatal("what does not match was kept")
	}
	if _, err := in.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := in.Commit(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	f, err := s.OpenBlob(d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, _ := io.ReadAll(f); !bytes.Equal(got, data) {
		t.Error("the blob is not what was written")
	}
}

func TestLayerForms(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("laying out a layer sets owners, which only root can")
	}
	s := open(t, t.TempDir())
	diffID := addLayer(t, s, "hello", "world")
	l, err := s.Layer(diffID)
	if err != nil {
		t.Fatal(err)
	}
	if l.Size != 5 || !l.Present() {
		t.Errorf("layer: %+v", l)
	}
	var first bytes.Buffer
	if err := l.WriteTar(t.Context(), &first); err != nil {
		t.Fatal(err)
	}
	tree, err := l.Tree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(tree, "hello")); err != nil || string(got) != "world" {
		t.Errorf("the tree has %q, %v", got, err)
	}
	if err := os.Remove(s.Layers.Path(diffID, "tar")); err != nil {
		t.Fatal(err)
	}
	var second bytes.Buffer
	if err := l.WriteTar(t.Context(), &second); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the tar made from the tree is another one")
	}
	if err := os.WriteFile(filepath.Join(tree, "hello"), []byte("w0rld"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := l.WriteTar(t.Context(), io.Discard); err == nil {
		t.Error("a changed tree was taken for the layer")
	}
}

func TestUnpackWrongDigest(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("unpacking sets owners, which only root can")
	}
	s := open(t, t.TempDir())
	diffID := addLayer(t, s, "a", "b")
	l, _ := s.Layer(diffID)
	var tar bytes.Buffer
	if err := l.WriteTar(t.Context(), &tar); err != nil {
		t.Fatal(err)
	}
	want := digest.FromString("another")
	if err := s.Unpack(t.Context(), want, &tar); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("unpacking a layer with another digest: %v", err)
	}
	if _, err := s.Layer(want); !errors.Is(err, ErrNotFound) {
		t.Errorf("it was kept: %v", err)
	}
}

func TestPrune(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	inNamed, inDangling, inRecord, inNothing := addLayer(t, s, "1", "1"), addLayer(t, s, "2", "2"), addLayer(t, s, "3", "3"), addLayer(t, s, "4", "4")
	step := addImage(t, s, "", Step, inNamed)
	lost := addImage(t, s, "", Step, inNothing)
	keep := addImage(t, s, step, Image, inNamed)
	dangling := addImage(t, s, "", Image, inDangling)
	if _, err := s.SetName(named(t, "keep"), keep, ""); err != nil {
		t.Fatal(err)
	}
	record := Record{Key: digest.FromString("key"), Layer: inRecord, Data: []byte("{}"), Made: time.Now()}
	if err := s.PutRecord(record); err != nil {
		t.Fatal(err)
	}
	dbtest.Tick()

	// Beside another session that began before, nothing goes.
	other := open(t, root)
	if err := other.Begin(); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Record(record.Key); err != nil {
		t.Fatal(err)
	}

	p, err := s.Prune(PruneOptions{Images: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]digest.Digest{dangling}, p.Images); diff != "" {
		t.Errorf("images pruned (-want +got):\n%s", diff)
	}
	if _, err := s.Config(step); err != nil {
		t.Errorf("the step on the way to a named image went: %v", err)
	}
	if _, err := s.Config(lost); !errors.Is(err, ErrNotFound) {
		t.Errorf("a step on the way to nothing stayed: %v", err)
	}
	for d, want := range map[digest.Digest]bool{inNamed: true, inRecord: true, inDangling: false, inNothing: false} {
		if l, err := s.Layer(d); (err == nil && l.Present()) != want {
			t.Errorf("layer %s: present = %v, want %v", d, !want, want)
		}
	}
	if p.Freed == 0 {
		t.Error("nothing was freed")
	}

	if _, err = s.Prune(PruneOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Record(record.Key); err != nil {
		t.Errorf("a record that a living session looked up went: %v", err)
	}
	other.Close()
	dbtest.Tick()
	if p, err = s.Prune(PruneOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(filepath.Join(root, "layers")); len(entries) != 0 {
		t.Errorf("layers that are left: %v", entries)
	}
	if names, _ := s.Names(""); len(names) != 0 {
		t.Errorf("names that are left: %v", names)
	}
	if p.Freed == 0 || p.Records != 1 {
		t.Errorf("pruning everything: %+v", p)
	}
}

// TestOlderStore opens a store that was made before builds were remembered.
func TestOlderStore(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	key := digest.FromString("key")
	if err := s.PutRecord(Record{Key: key, Data: []byte(`{"a":"x"}`), Text: "t"}); err != nil {
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
	if r, err := s.Record(key); err != nil || !strings.Contains(string(r.Data), `"a":"x"`) {
		t.Errorf("%v, %v", r, err)
	}
	if err := s.PutBuild(&Build{ID: "aa", Context: "/", Data: []byte("{}")}); err != nil {
		t.Error(err)
	}
	if like, err := s.RecordsLike("t", 1); err != nil || len(like) != 0 {
		t.Errorf("%v, %v", like, err)
	}
}

// Two who write one layer's tar at a time share its table of contents.
func TestWriteTarTwiceAtOnce(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("laying out a layer sets owners, which only root can")
	}
	s := open(t, t.TempDir())
	diffID := addLayer(t, s, "hello", "world")
	l, err := s.Layer(diffID)
	if err == nil {
		_, err = l.Tree(t.Context())
	}
	if err == nil {
		err = os.Remove(s.Layers.Path(diffID, "tar")) // so that it is made from the tree
	}
	if err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	for range 2 {
		g.Go(func() error { return l.WriteTar(t.Context(), io.Discard) })
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// A download that somebody goes on with stays, however long ago it broke off; one that nobody does goes.
func TestPruneBesideDownload(t *testing.T) {
	root := t.TempDir()
	s, other := open(t, root), open(t, root)
	data := []byte("0123456789")
	d := digest.FromBytes(data)
	left, err := s.Ingest(t.Context(), d, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := left.Write(data[:4]); err != nil {
		t.Fatal(err)
	}
	left.Close()
	path := filepath.Join(s.Folder(), ".partial-"+d.Encoded())
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	in, err := s.Ingest(t.Context(), d, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	prune := func() {
		if _, err := other.Prune(PruneOptions{All: true}); err != nil {
			t.Fatal(err)
		}
	}
	prune()
	if _, err := in.Write(data[4:]); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(in.Commit(), in.Close()); err != nil || !s.HasBlob(d) {
		t.Fatalf("a prune beside it took a download: %v", err)
	}

	if err := os.WriteFile(path, data[:4], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	prune()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a partial download with which nobody goes on stays: %v", err)
	}
}
