package layer_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/layer"
)

// A table of contents belongs to all who read the layer: nothing that reads it may write to it, not
// even what is missing there. The race detector sees what writes the same value again.
func TestSharedTOC(t *testing.T) {
	entries := []*layer.Entry{
		{Path: "a", Type: layer.File, Size: 3},
		{Path: "b", Type: layer.Dir, Mode: 0o755},
		{Path: "b/c", Type: layer.Hardlink, Link: "a"},
		{Path: "d", Type: layer.Whiteout},
	}
	toc, err := layer.NewTOC(entries)
	must(t, err)
	old, err := layer.NewTOC([]*layer.Entry{{Path: "a", Type: layer.File}, {Path: "e", Type: layer.File}})
	must(t, err)
	var before bytes.Buffer
	must(t, toc.Encode(&before))
	tar := filepath.Join(t.TempDir(), "tar")
	must(t, os.WriteFile(tar, []byte("abc"), 0o600)) // what a reader finds that hashes what has no digest
	open := func(context.Context, *layer.Entry) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("abc")), nil
	}
	readers := []func() error{
		func() error { return layer.WriteTar(t.Context(), io.Discard, toc, open) },
		func() error {
			made, err := layer.HashTar(t.Context(), toc, open)
			if err == nil && (made.TOC.Lookup("a").Offset == 0 || made.TOC.Lookup("a").Digest == "") {
				t.Error("HashTar gives no offset or no digest")
			}
			return err
		},
		func() error {
			_, err := layer.Delta(old, toc, func(a, b *layer.Entry) bool { return false })
			return err
		},
		func() error {
			_, err := layer.NewTOC(append([]*layer.Entry(nil), toc.Entries...))
			return err
		},
		func() error {
			_, err := layer.NewStack(layer.TarSource("", toc)).Flatten(t.Context())
			return err
		},
		func() error {
			stack := layer.NewStack(layer.TarSource(tar, toc))
			e, err := stack.Lookup(t.Context(), "a")
			if err != nil {
				return err
			}
			summed := []*layer.Entry{e}
			if err := stack.Sum(t.Context(), summed); err != nil {
				return err
			}
			if summed[0].Digest != digest.FromString("abc") {
				t.Errorf("Sum says %q", summed[0].Digest)
			}
			return nil
		},
	}
	var g errgroup.Group
	for _, read := range readers {
		for range 2 {
			g.Go(read)
		}
	}
	must(t, g.Wait())
	var after bytes.Buffer
	must(t, toc.Encode(&after))
	if d := cmp.Diff(before.Bytes(), after.Bytes()); d != "" {
		t.Errorf("the table of contents was changed:\n%s", d)
	}
}
