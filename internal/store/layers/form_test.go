package layers

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/store/content"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/session"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// oneFile is the tar of a layer with the file a, as strata itself writes it.
func oneFile(t *testing.T, contents string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "a", Mode: 0o644, Size: int64(len(contents))}))
	_, err := io.WriteString(w, contents)
	must(t, err)
	must(t, w.Close())
	return b.Bytes()
}

// Each form of a layer gives the same tar, and the same files where it gives single ones.
func TestForms(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a layer becomes a tree as root only")
	}
	ctx, root := t.Context(), t.TempDir()
	ls := newLayers(t, root)
	se, c := ls.session, ls.content

	data := oneFile(t, "hello")
	diffID := digest.FromBytes(data)
	l, err := ls.AddTar(ctx, diffID, bytes.NewReader(data))
	must(t, err)
	if l.tree().Here() {
		t.Error("of a tar, the tree is here")
	}
	dir, err := l.Tree(ctx)
	must(t, err)
	if !l.tree().Here() || dir != ls.Path(diffID, "fs") {
		t.Errorf("the tree is %s", dir)
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, err = w.Write(data)
	must(t, err)
	must(t, w.Close())
	tmp, err := se.Temp("blob")
	must(t, err)
	file := filepath.Join(tmp, "blob")
	must(t, os.WriteFile(file, z.Bytes(), 0o600))
	must(t, c.PlaceBlob(file, diffID, content.Blob{Digest: digest.FromBytes(z.Bytes()), Size: int64(z.Len()), MediaType: ocispec.MediaTypeImageLayerGzip}))

	toc, err := l.TOC(ctx)
	must(t, err)
	blobs, err := l.compressed()
	must(t, err)
	forms := []Form{l.tar(), l.tree()}
	for _, f := range blobs {
		forms = append(forms, f)
	}
	if len(forms) != 3 {
		t.Fatalf("%d forms, want a blob, a tar and a tree", len(forms))
	}
	for _, f := range forms {
		if !f.Here() {
			t.Errorf("%T is not here", f)
		}
		r, err := f.Stream(ctx)
		must(t, err)
		got, err := io.ReadAll(r)
		must(t, err)
		must(t, r.Close())
		if !bytes.Equal(got, data) {
			t.Errorf("%T gives another tar of %d bytes", f, len(got))
		}
		files := f.Files(toc)
		if files == nil {
			continue
		}
		a, err := files.Open(ctx, toc.Lookup("a"))
		must(t, err)
		text, err := io.ReadAll(a)
		must(t, err)
		must(t, a.Close())
		if string(text) != "hello" {
			t.Errorf("%T has %q in the file", f, text)
		}
	}
}

// newLayers are the layers of a store, which is made if it is not there.
func newLayers(t *testing.T, root string) *Layers {
	t.Helper()
	for _, dir := range []string{"layers", "blobs", "blobs/sha256", "tmp"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o700))
	}
	d, err := db.Open(root)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	se, err := session.Open(root)
	must(t, err)
	t.Cleanup(func() { se.Close() })
	return New(root, d, content.New(root, d, se), se)
}
