package buildcontext

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/strata-build/strata/internal/layer"
)

func pack(t testing.TB, hs ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range hs {
		text := ""
		if h.Typeflag == tar.TypeReg {
			text = "text of " + h.Name
			h.Size = int64(len(text))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		must(t, w.WriteHeader(&h))
		_, err := w.Write([]byte(text))
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func compress(t *testing.T, kind string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	switch kind {
	case "open-ended": // without the blocks of zeros at the end
		return bytes.TrimSuffix(b, make([]byte, 2*layer.TarBlock))
	case "gzip":
		w := gzip.NewWriter(&out)
		w.Write(b)
		must(t, w.Close())
	case "zstd":
		w, err := zstd.NewWriter(&out)
		must(t, err)
		w.Write(b)
		must(t, w.Close())
	case "bzip2", "xz":
		if _, err := exec.LookPath(kind); err != nil {
			t.Skip(kind, "is not installed")
		}
		cmd := exec.Command(kind, "-c")
		cmd.Stdin, cmd.Stdout = bytes.NewReader(b), &out
		must(t, cmd.Run())
	default:
		return b
	}
	return out.Bytes()
}

func TestFromTar(t *testing.T) {
	when := time.Unix(1600000000, 0)
	plain := pack(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "./d/", Typeflag: tar.TypeDir, Mode: 0o700, ModTime: when},
		tar.Header{Name: "./d/f", Typeflag: tar.TypeReg, Mode: 0o4755, ModTime: when, PAXRecords: map[string]string{"SCHILY.xattr.user.k": "v"}},
		tar.Header{Name: "/d/h", Typeflag: tar.TypeLink, Linkname: "./d/f"},
		tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd", ModTime: when},
		tar.Header{Name: "no/parent/named", Typeflag: tar.TypeReg},
		tar.Header{Name: "gone", Typeflag: tar.TypeReg},
		tar.Header{Name: "Dockerfile", Typeflag: tar.TypeReg},
		tar.Header{Name: ".dockerignore", Typeflag: tar.TypeReg},
		tar.Header{Name: "l", Typeflag: tar.TypeReg},
	)
	for _, kind := range []string{"plain", "open-ended", "gzip", "bzip2", "xz", "zstd"} {
		t.Run(kind, func(t *testing.T) {
			b := compress(t, kind, plain)
			got, r, err := Detect(bytes.NewReader(b))
			if got != Tar || err != nil {
				t.Fatalf("detected %v, %v", got, err)
			}
			c, err := FromTar(bg, r, t.TempDir(), layer.Limits{})
			must(t, err)
			defer c.Close()
			if got := list(t, c); got != ".dockerignore Dockerfile d d/f d/h gone l no no/parent no/parent/named" {
				t.Error(got)
			}
			f, err := c.Lookup(bg, "d/f")
			must(t, err)
			must(t, c.Sum(bg, []*layer.Entry{f}))
			if f.Mode != 0o4755 || f.ModTime != when.Unix() || len(f.Xattrs) != 1 || f.Xattrs[0].Value != "v" {
				t.Errorf("%+v", f)
			}
			d, err := c.Lookup(bg, "d")
			must(t, err)
			if d.Mode != 0o700 || d.ModTime != when.Unix() {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestHostileTar(t *testing.T) {
	outside := plant(t, "victim: whole", "dir/")
	victim := filepath.Join(outside, "victim")
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	reg := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
	for name, hs := range map[string][]tar.Header{
		"climbs out":             {reg("../victim")},
		"climbs out below":       {reg("a/../../victim")},
		"through a symlink":      {link("l", outside), reg("l/victim")},
		"through two":            {link("a", ".."), link("b", "a/.."), reg("b/x")},
		"hard link out":          {{Name: "h", Typeflag: tar.TypeLink, Linkname: "../victim"}},
		"hard link by a symlink": {link("l", outside), {Name: "h", Typeflag: tar.TypeLink, Linkname: "l/victim"}},
		"device":                 {{Name: "dev", Typeflag: tar.TypeBlock, Devmajor: 8}},
		"fifo":                   {{Name: "p", Typeflag: tar.TypeFifo}},
		"long name":              {reg(strings.Repeat("/long", 2000))},
		"directory by a symlink": {link("l", outside), {Name: "l/new", Typeflag: tar.TypeDir}},
	} {
		err := Unpack(bg, bytes.NewReader(pack(t, hs...)), t.TempDir(), layer.Limits{})
		if err == nil {
			t.Errorf("%s: unpacked", name)
		}
	}
	// What would take the place of the root is passed over.
	must(t, Unpack(bg, bytes.NewReader(pack(t, reg("."), reg(""), link("./", "/etc"))), t.TempDir(), layer.Limits{}))
	// A file in the place of a symlink replaces it.
	must(t, Unpack(bg, bytes.NewReader(pack(t, link("l", victim), reg("l"))), t.TempDir(), layer.Limits{}))
	if b, _ := os.ReadFile(victim); string(b) != "whole" {
		t.Errorf("the file outside holds %q", b)
	}
	if names, _ := os.ReadDir(outside); len(names) != 2 {
		t.Errorf("files appeared outside: %v", names)
	}
	// So does a directory, whose mode must not reach what the symlink led to.
	must(t, Unpack(bg, bytes.NewReader(pack(t, link("l", filepath.Join(outside, "dir")),
		tar.Header{Name: "l", Typeflag: tar.TypeDir, Mode: 0o777})), t.TempDir(), layer.Limits{}))
	if st, _ := os.Stat(filepath.Join(outside, "dir")); st.Mode().Perm() == 0o777 {
		t.Error("the mode of a directory outside was changed")
	}
}

func TestTruncatedTar(t *testing.T) {
	reg := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
	whole := pack(t, reg("a"), reg("b"))
	zipped := compress(t, "gzip", whole)
	for name, b := range map[string][]byte{
		"in a header": whole[:1300], "in a text": whole[:515], "gzip": zipped[:len(zipped)-9], "gzip checksum": zipped[:len(zipped)-4],
	} {
		if err := Unpack(bg, bytes.NewReader(b), t.TempDir(), layer.Limits{}); err == nil {
			t.Errorf("cut %s: unpacked", name)
		}
	}
	must(t, Unpack(bg, bytes.NewReader(whole[:2048]), t.TempDir(), layer.Limits{})) // GNU tar and BuildKit do not miss the end either
	must(t, Unpack(bg, bytes.NewReader(append(whole, make([]byte, 9000)...)), t.TempDir(), layer.Limits{}))
}

func TestDetect(t *testing.T) {
	old := pack(t, tar.Header{Name: "x", Typeflag: tar.TypeReg, Format: tar.FormatGNU})
	for _, tt := range []struct {
		in   string
		want Kind
	}{
		{"", Dockerfile},
		{"FROM scratch\n", Dockerfile},
		{strings.Repeat("# comment\n", 200) + "FROM scratch\n", Dockerfile},
		{strings.Repeat("\x00", 1024), Tar},
		{string(old), Tar},
		{string(old[:100]), Dockerfile},
		{"BZh91AY", Tar},
	} {
		kind, r, err := Detect(strings.NewReader(tt.in))
		must(t, err)
		if b, err := io.ReadAll(r); kind != tt.want || err != nil || string(b) != tt.in {
			t.Errorf("%.20q: %v, %v, %d bytes left", tt.in, kind, err, len(b))
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(pack(f, tar.Header{Name: "a/b", Typeflag: tar.TypeReg}, tar.Header{Name: "a/l", Typeflag: tar.TypeSymlink, Linkname: ".."},
		tar.Header{Name: "a/l/x", Typeflag: tar.TypeReg}))
	f.Fuzz(func(t *testing.T, b []byte) {
		top := t.TempDir()
		dir := filepath.Join(top, "in/here")
		must(t, os.MkdirAll(dir, 0o755))
		Unpack(bg, bytes.NewReader(b), dir, layer.Limits{})
		for _, d := range []string{top, filepath.Join(top, "in")} {
			if names, err := os.ReadDir(d); err != nil || len(names) != 1 {
				t.Errorf("%s holds %v, %v", d, names, err)
			}
		}
	})
}
