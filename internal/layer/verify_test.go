package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/identity"
)

// A tree is what its table of contents says, until anything in it is changed.
func TestVerifyTree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("sets owners")
	}
	var raw bytes.Buffer
	w := tar.NewWriter(&raw)
	when := time.Unix(1_700_000_000, 0)
	for _, h := range []*tar.Header{
		{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "d/file", Typeflag: tar.TypeReg, Mode: 0o640, Uid: 7, Gid: 8, Size: 9000, PAXRecords: map[string]string{"SCHILY.xattr.user.note": "x"}},
		{Name: "d/hard", Typeflag: tar.TypeLink, Linkname: "d/file"},
		{Name: "d/link", Typeflag: tar.TypeSymlink, Linkname: "file"},
		{Name: "d/pipe", Typeflag: tar.TypeFifo, Mode: 0o600},
		{Name: "d/.wh.gone", Typeflag: tar.TypeReg},
		{Name: "e/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "e/.wh..wh..opq", Typeflag: tar.TypeReg},
	} {
		h.ModTime = when
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			w.Write(bytes.Repeat([]byte("y"), int(h.Size)))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		damage func(path func(string) string) error
		want   string // of the error
	}{
		{"sound", func(func(string) string) error { return nil }, ""},
		{"more", func(path func(string) string) error {
			return errors.Join(os.Mkdir(path("d/new"), 0o755), unix.Setxattr(path("e"), "user.more", nil, 0), at(path("d"), when), at(path("e"), when))
		}, ""},
		{"empty", func(path func(string) string) error { return os.Truncate(path("d/file"), 0) }, "has 0 bytes and not 9000"},
		{"zeros", func(path func(string) string) error {
			return errors.Join(os.WriteFile(path("d/file"), make([]byte, 9000), 0), at(path("d/file"), when))
		}, "holds other bytes"},
		{"missing", func(path func(string) string) error {
			return errors.Join(os.Remove(path("d/link")), at(path("d"), when))
		}, `"d/link" is missing`},
		{"extra", func(path func(string) string) error {
			return errors.Join(os.WriteFile(path("d/extra"), nil, 0o600), at(path("d"), when))
		}, "does not belong to the layer"},
		{"mode", func(path func(string) string) error { return os.Chmod(path("d/pipe"), 0o666) }, "has the mode 666 and not 600"},
		{"owner", func(path func(string) string) error { return os.Chown(path("d/pipe"), 1, 0) }, "belongs to 1:0 and not to 0:0"},
		{"attribute", func(path func(string) string) error { return unix.Removexattr(path("d/file"), "user.note") }, "lacks the attribute user.note"},
		{"opaque", func(path func(string) string) error {
			return unix.Removexattr(path("e"), identity.Current().OpaqueMark())
		}, "does not hide"},
		{"whiteout", func(path func(string) string) error {
			return errors.Join(os.Remove(path("d/gone")), os.WriteFile(path("d/gone"), nil, 0o600), at(path("d"), when))
		}, "is a file and not a whiteout"},
		{"time", func(path func(string) string) error { return at(path("d/file"), when.Add(time.Hour)) }, "has another time"},
		{"no hard link", func(path func(string) string) error {
			return errors.Join(os.Remove(path("d/hard")), os.WriteFile(path("d/hard"), make([]byte, 9000), 0o640), at(path("d"), when))
		}, "is a file and not a hard link"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			toc, err := Unpack(t.Context(), bytes.NewReader(raw.Bytes()), dir, UnpackOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := test.damage(func(p string) string { return filepath.Join(dir, p) }); err != nil {
				t.Fatal(err)
			}
			err = VerifyTree(t.Context(), toc, dir)
			var damage *DamageError
			if (test.want == "") != (err == nil) || err != nil && (!errors.As(err, &damage) || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// at sets the time of a file.
func at(path string, when time.Time) error { return os.Chtimes(path, when, when) }
