package layer_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/identity"
)

// shifted are owners in a user name space that begins at 100000 and has 1000 numbers.
type shifted struct{}

var errUnmapped = errors.New("no such owner on this machine")

func (shifted) Disk(o identity.Owner) (identity.Owner, error) {
	if o.UID >= 1000 || o.GID >= 1000 {
		return o, errUnmapped
	}
	return identity.Owner{UID: o.UID + 100000, GID: o.GID + 100000}, nil
}

func (shifted) Image(o identity.Owner) identity.Owner {
	return identity.Owner{UID: o.UID - 100000, GID: o.GID - 100000}
}

// Whatever the owners are on the disk, a layer's table of contents has those of the image.
func TestIdentity(t *testing.T) {
	needRoot(t)
	t.Cleanup(identity.Use(identity.New(shifted{})))
	owned := func(e tar.Header) tar.Header { e.Uid, e.Gid = 33, 34; return e }
	data := makeTar(t, owned(dir("a")), owned(file("a/b")), owned(link("l", "a")), hard("a/c", "a/b"))
	root := mkdir(t, "tree")
	toc, err := layer.Unpack(t.Context(), bytes.NewReader(data), root, layer.UnpackOptions{})
	must(t, err)
	for _, name := range []string{"a", "a/b", "l", "a/c"} {
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(root, name), &st))
		if st.Uid != 100033 || st.Gid != 100034 {
			t.Errorf("%s belongs to %d:%d on the disk", name, st.Uid, st.Gid)
		}
		if e := toc.Lookup(name); e.UID != 33 || e.GID != 34 {
			t.Errorf("%s belongs to %d:%d in the table of contents", name, e.UID, e.GID)
		}
	}
	read := diff(t, root, nil)
	read.Entries = read.Entries[1:] // the root, which the tar lacks
	sameTOC(t, "Diff", read, toc)

	far := file("x")
	far.Uid = 1000
	_, err = layer.Unpack(t.Context(), bytes.NewReader(makeTar(t, far)), mkdir(t, "far"), layer.UnpackOptions{})
	if !errors.Is(err, errUnmapped) {
		t.Errorf("an owner that this machine has no number for: %v", err)
	}
}
