package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// edits are records of a COPY and of the same one after edits, each layer a delta of the one before.
type edits struct {
	*limited
	before digest.Digest
}

// record adds one, used ago.
func (e *edits) record(name string, ago time.Duration) {
	t := e.t
	t.Helper()
	contents := func(path string) string {
		if path == "changed" {
			return name
		}
		return strings.Repeat(path, 40_000)
	}
	entries := []*layer.Entry{{Path: "changed", Type: layer.File, Mode: 0o644, Size: int64(len(name)), Digest: digest.FromString(name)}}
	for i := range 20 {
		path := fmt.Sprintf("file-%03d", i)
		entries = append(entries, &layer.Entry{Path: path, Type: layer.File, Mode: 0o644, Size: 8 * 40_000, Digest: digest.FromString(contents(path))})
	}
	toc, err := layer.NewTOC(entries)
	must(t, err)
	table, err := toc.Encoded()
	must(t, err)
	open := func(_ context.Context, e *layer.Entry) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(contents(e.Path))), nil
	}
	dir, err := e.Temp("copy")
	must(t, err)
	write := func(ctx context.Context, f *os.File, open layer.OpenFunc) (*layer.Tar, error) {
		return layer.WriteEncodedTarFile(ctx, f, table, open)
	}
	file := "tar"
	if e.before != "" {
		earlier, err := e.Earlier(t.Context(), e.before)
		must(t, err)
		defer earlier.Close()
		write, file = layer.Assemble(table, &earlier.Earlier).WriteDelta, DeltaFile
	}
	f, err := os.Create(filepath.Join(dir, file))
	must(t, err)
	made, err := write(t.Context(), f, open)
	must(t, errors.Join(err, f.Close()))
	_, err = e.AddMade(made, dir)
	must(t, err)
	e.before, e.layers[name] = made.DiffID, made.DiffID
	must(t, e.PutRecord(Record{Key: digest.FromString(name), Layer: made.DiffID, Data: []byte("{}"), Made: time.Now().Add(-ago)}))
	e.date("records", "layer", name, ago)
	e.date("layers", "diff_id", name, ago)
}

// A base stays as long as a delta of it does, and goes with the last.
func TestBasesOfDeltas(t *testing.T) {
	made := func(t *testing.T) *edits {
		e := &edits{&limited{open(t, t.TempDir()), t, map[string]digest.Digest{}}, ""}
		for i, name := range []string{"a", "b", "c"} {
			e.record(name, time.Duration(9-i)*time.Hour)
		}
		for _, name := range []string{"a", "b"} { // making a delta of it is a use
			e.date("layers", "diff_id", name, 9*time.Hour)
		}
		return e
	}
	readable := func(e *edits, name string) {
		t.Helper()
		l, err := e.Layer(e.layers[name])
		if err == nil {
			err = l.WriteTar(t.Context(), io.Discard)
		}
		if err != nil {
			t.Errorf("%s cannot be read: %v", name, err)
		}
	}
	t.Run("its record is gone", func(t *testing.T) {
		e := made(t)
		_, err := e.db.Exec("DELETE FROM records WHERE layer = ?", e.layers["a"])
		must(t, err)
		for _, name := range []string{"b", "c"} {
			_, err := e.SetName(named(t, name), e.image(Image, time.Minute, name), "")
			must(t, err)
		}
		_, err = e.Prune(PruneOptions{})
		must(t, err)
		readable(e, "b")
		readable(e, "c")
	})
	t.Run("a limit takes the oldest", func(t *testing.T) {
		e := made(t)
		size, err := e.CacheSize(PruneOptions{All: true})
		must(t, err)
		_, err = e.Limit(size-1, PruneOptions{All: true})
		must(t, err)
		if got := e.here(); got != "ac" {
			t.Errorf("%q are left", got) // b is the oldest that makes room: a goes after c
		}
		readable(e, "c")
	})
	t.Run("an image has the delta", func(t *testing.T) {
		e := made(t)
		id := e.image(Image, time.Minute, "c")
		_, err := e.SetName(named(t, "keep"), id, "")
		must(t, err)
		_, err = e.Limit(0, PruneOptions{All: true})
		must(t, err)
		readable(e, "c")
		if left, err := e.CacheSize(PruneOptions{All: true}); err != nil || left != 0 {
			t.Errorf("%d bytes count that cannot go, %v", left, err)
		}
	})
	t.Run("a layer comes back while a prune removes it", func(t *testing.T) {
		e := made(t)
		for _, q := range []string{"DELETE FROM records", "DELETE FROM layers", "DELETE FROM deltas"} { // and its files are still here
			_, err := e.db.Exec(q)
			must(t, err)
		}
		must(t, e.AddRemote(e.layers["c"], Blob{Digest: digest.FromString("blob"), Size: 1, Repository: "example.com/r"}))
		id := e.image(Image, time.Minute, "c")
		_, err := e.SetName(named(t, "keep"), id, "")
		must(t, err)
		_, err = e.Prune(PruneOptions{All: false})
		must(t, err)
		readable(e, "c")
	})
	t.Run("all go", func(t *testing.T) {
		e := made(t)
		p, err := e.Prune(PruneOptions{All: true})
		must(t, err)
		if len(p.Layers) != 3 || e.here() != "" {
			t.Errorf("pruned: %+v", p)
		}
		var n int
		must(t, e.db.QueryRow("SELECT count(*) FROM deltas").Scan(&n))
		if n != 0 {
			t.Errorf("%d deltas are still known", n)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
