package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
)

// Shorthands for tar headers.
func dir(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755} }
func link(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
}
func hard(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to, Mode: 0o644}
}

// file has its name as contents.
func file(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(name))}
}

func makeTar(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		must(t, w.WriteHeader(&h))
		if h.Size > 0 {
			_, err := io.WriteString(w, h.Name)
			must(t, err)
		}
	}
	must(t, w.Close())
	return b.Bytes()
}

// list is a TOC in short: "type path" and what else matters.
func list(toc *layer.TOC) []string {
	var out []string
	for _, e := range toc.Entries {
		s := string(e.Type) + " " + e.Path
		if e.Opaque {
			s += " opaque"
		}
		if e.Link != "" {
			s += " -> " + e.Link
		}
		out = append(out, s)
	}
	return out
}

// jail unpacks into a directory with a canary beside it, and fails if anything outside changed.
func jail(t *testing.T, data []byte, o layer.UnpackOptions) (string, *layer.TOC, error) {
	t.Helper()
	base := t.TempDir()
	root := filepath.Join(base, "root")
	must(t, os.Mkdir(root, 0o755))
	must(t, os.WriteFile(filepath.Join(base, "canary"), []byte("alive"), 0o600))
	toc, err := layer.Unpack(t.Context(), bytes.NewReader(data), root, o)
	entries, rerr := os.ReadDir(base)
	must(t, rerr)
	canary, rerr := os.ReadFile(filepath.Join(base, "canary"))
	if len(entries) != 2 || rerr != nil || string(canary) != "alive" {
		t.Errorf("something outside the root changed: %v, canary %q", entries, canary)
	}
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(base, "canary"), &st))
	if st.Nlink != 1 || st.Mode&0o777 != 0o600 {
		t.Errorf("the canary outside has %d links and mode %o", st.Nlink, st.Mode)
	}
	return root, toc, err
}

func TestHostileRefused(t *testing.T) {
	needRoot(t)
	long := strings.Repeat("n", 10_000)
	good := makeTar(t, dir("a"), file("a/b"))
	for name, tt := range map[string]struct {
		tar  []byte
		want string // in the error, beside the entry's name
	}{
		"dotdot":             {makeTar(t, file("../canary")), `"../canary"`},
		"dotdot inside":      {makeTar(t, dir("a"), file("a/../../canary")), `"a/../../canary"`},
		"only dotdot":        {makeTar(t, dir("..")), `".."`},
		"dotdot of the root": {makeTar(t, file("/../canary")), `"/../canary"`},
		"whiteout dotdot":    {makeTar(t, file(".wh...")), "not clean"},
		"whiteout dot":       {makeTar(t, file("a/.wh..")), "not clean"},
		"whiteout of none":   {makeTar(t, file("a/.wh.")), "not clean"},
		"hard link out":      {makeTar(t, hard("x", "../canary")), `"../canary"`},
		"hard link abs":      {makeTar(t, hard("x", "/etc/passwd")), "does not hold"},
		"hard link via sym":  {makeTar(t, link("s", ".."), hard("x", "s/canary")), "does not hold"},
		"hard link to dir":   {makeTar(t, dir("d"), hard("x", "d")), "not a file"},
		"hard link self":     {makeTar(t, hard("x", "x")), `"x"`},
		"hard link replaced": {makeTar(t, dir("d"), file("d/f"), hard("d", "d/f")), "does not hold"},
		"file as parent":     {makeTar(t, file("f"), file("f/x")), `parent "f" is not a directory`},
		"long name":          {makeTar(t, file(long)), "10000 bytes"},
		"long component":     {makeTar(t, file("a/"+long[:256])), "256 bytes"},
		"long path":          {makeTar(t, file(strings.Repeat("d/", 2100)+"x")), "4201 bytes"},
		"long link":          {makeTar(t, link("s", long)), "symbolic link"},
		"long hard link":     {makeTar(t, file("f"), hard("h", long)), "10000 bytes"},
		"link loop":          {makeTar(t, link("a", "b"), link("b", "a"), file("a/x")), "symbolic links"},
		"link growing":       {makeTar(t, link("a", "a/"+strings.Repeat("x/", 1000)), file("a/x")), "symbolic links"},
		"wh in the middle":   {makeTar(t, file(".wh.a/b")), `begin with ".wh."`},
		"truncated header":   {good[:700], "too early"},
		"truncated content":  {good[:512+512+1], "too early"},
		"no tar":             {bytes.Repeat([]byte("not a tar "), 100), "not a valid tar"},
		"device number":      {makeTar(t, tar.Header{Typeflag: tar.TypeChar, Name: "c", Devmajor: 1 << 20}), "out of range"},
		"owner":              {makeTar(t, tar.Header{Typeflag: tar.TypeDir, Name: "d", Uid: 1 << 40}), "out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := jail(t, tt.tar, layer.UnpackOptions{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Unpack: %v, want %q", err, tt.want)
			} else if len(err.Error()) > 500 {
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
			if _, serr := layer.Scan(t.Context(), bytes.NewReader(tt.tar), layer.Limits{}); serr == nil || err == nil || serr.Error() != err.Error() {
				t.Errorf("Scan: %v, Unpack: %v", serr, err)
			}
		})
	}
}

func TestHostileContained(t *testing.T) {
	needRoot(t)
	for name, tt := range map[string]struct {
		tar  []byte
		want []string
	}{
		"absolute name":      {makeTar(t, file("/canary")), []string{"f canary"}},
		"the root as a file": {makeTar(t, file("./."), file(""), link(".", "/etc"), file("canary")), []string{"f canary"}},
		"dotdot within": {
			makeTar(t, dir("a"), file("./x/../canary"), hard("h", "a/../canary"), link("l", ".."), file("a/../b/./../c/f"), file("l/../g")),
			[]string{"d a", "d c", "f c/f", "f canary", "f g", "h h -> canary", "l l -> .."},
		},
		"through a link out": {
			makeTar(t, link("out", "../.."), file("out/canary")),
			[]string{"f canary", "l out -> ../.."},
		},
		"through an absolute link": {
			makeTar(t, link("out", "/tmp/x"), file("out/y")),
			[]string{"l out -> /tmp/x", "d tmp", "d tmp/x", "f tmp/x/y"},
		},
		"through two links": {
			makeTar(t, dir("d"), link("a", "d/b"), link("d/b", "../c"), file("a/x")),
			[]string{"l a -> d/b", "d c", "f c/x", "d d", "l d/b -> ../c"},
		},
		"over a link out": {
			makeTar(t, link("canary", "../canary"), file("canary")),
			[]string{"f canary"},
		},
		"chmod through a link": {
			makeTar(t, link("canary", "../canary"), hard("h", "canary")),
			[]string{"l canary -> ../canary", "h h -> canary"},
		},
		"directory over a link": {
			makeTar(t, link("d", ".."), dir("d"), file("d/canary")),
			[]string{"d d", "f d/canary"},
		},
		"link over a directory": {
			makeTar(t, dir("d"), file("d/x"), link("d", ".."), file("d/y")),
			[]string{"l d -> ..", "f y"},
		},
		"whiteout of a parent": {
			makeTar(t, dir("a"), file("a/b"), file(".wh.a"), file("a/c")),
			[]string{"d a opaque", "f a/b", "f a/c"},
		},
		"whiteout, then the path": {
			makeTar(t, file(".wh.a"), file("a/c"), file(".wh.f"), file("f")),
			[]string{"d a opaque", "f a/c", "f f"},
		},
		"opaque": {
			makeTar(t, file("d/x"), file("d/.wh..wh..opq"), file(".wh.gone")),
			[]string{"d d opaque", "f d/x", "w gone"},
		},
		"opaque root": {makeTar(t, file(".wh..wh..opq")), []string{"d  opaque"}},
		"aufs leftovers": {
			makeTar(t, dir(".wh..wh.plnk"), file(".wh..wh.plnk/1.2"), file("x")),
			[]string{"f x"},
		},
		"twice": {
			makeTar(t, file("a"), file("./a"), dir("b"), file("b/x"), dir("b")),
			[]string{"f a", "d b", "f b/x"},
		},
		"file over a link's target": {
			makeTar(t, file("a"), hard("b", "a"), hard("c", "b"), file("a")),
			[]string{"f a", "f b", "h c -> b"},
		},
		"directory with a link's target goes": {
			makeTar(t, dir("d"), file("d/f"), hard("k", "d/f"), hard("d/g", "d/f"), file("d")),
			[]string{"f d", "f k"},
		},
		"target after the link": {
			makeTar(t, file("z"), hard("a", "z"), hard("zz", "a")),
			[]string{"f a", "h z -> a", "h zz -> a"},
		},
		"whiteout of the longest name": {
			makeTar(t, file(".wh."+strings.Repeat("n", 255)), file("d/.wh."+strings.Repeat("n", 252))),
			[]string{"d d", "w d/" + strings.Repeat("n", 252), "w " + strings.Repeat("n", 255)},
		},
		"device 0/0": {
			makeTar(t, tar.Header{Typeflag: tar.TypeChar, Name: "c"}),
			[]string{"w c"},
		},
		"foreign attributes": {
			makeTar(t, tar.Header{Typeflag: tar.TypeDir, Name: "d", Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.security.selinux": "x"}}),
			[]string{"d d"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			root, toc, err := jail(t, tt.tar, layer.UnpackOptions{})
			must(t, err)
			if d := cmp.Diff(tt.want, list(toc)); d != "" {
				t.Errorf("entries (-want +got):\n%s", d)
			}
			for _, e := range toc.Entries {
				if len(e.Xattrs) > 0 {
					t.Errorf("%s has %v", e.Path, e.Xattrs)
				}
			}
			scanned, err := layer.Scan(t.Context(), bytes.NewReader(tt.tar), layer.Limits{})
			must(t, err)
			sameTOC(t, "Scan", scanned, toc)
			// what is on disk is what the TOC says; marks show where there is something to hide
			disk := diff(t, root, everything{})
			if toc.Lookup("") == nil && disk.Lookup("") != nil {
				disk.Entries = disk.Entries[1:]
			}
			if d := cmp.Diff(tt.want, list(disk)); d != "" {
				t.Errorf("on disk (-want +got):\n%s", d)
			}
		})
	}
}

// everything is a Tree in which every path is a directory that holds something, and that no layer has like that.
type everything struct{ layer.Tree }

func (everything) Lookup(_ context.Context, path string) (*layer.Entry, error) {
	return &layer.Entry{Path: path, Type: layer.Dir, Mode: 0o755, UID: -1}, nil
}

func (everything) ReadDir(_ context.Context, path string) ([]*layer.Entry, error) {
	return []*layer.Entry{{Path: path + "/x", Type: layer.File}}, nil
}

// Parents that the tar has no entry for are as in the layers below, links in their place are followed, and hard
// links into those layers become copies.
func TestUnpackBelow(t *testing.T) {
	needRoot(t)
	low := mkdir(t, "low")
	sh(t, low, "mkdir -p usr/bin home/me secret/old; ln -s usr/bin bin; echo tool > usr/bin/tool; chmod 700 home/me; chown 7:8 home/me; chmod 1777 .")
	below := layer.NewStack(layer.TreeSource(low, diff(t, low, nil)))
	data := makeTar(t, file("bin/new"), file("home/me/x"), hard("bin/copy", "bin/tool"), file("secret/.wh..wh..opq"), file("secret/old/y"))
	root, toc, err := jail(t, data, layer.UnpackOptions{Below: below})
	must(t, err)
	want := []string{"d home", "d home/me", "f home/me/x", "d secret opaque", "d secret/old", "f secret/old/y", "d usr", "d usr/bin", "f usr/bin/copy", "f usr/bin/new"}
	if d := cmp.Diff(want, list(toc)); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}
	if me := toc.Lookup("home/me"); me.Mode != 0o700 || me.UID != 7 || me.GID != 8 {
		t.Errorf("home/me is %o %d:%d", me.Mode, me.UID, me.GID)
	}
	if b, err := os.ReadFile(filepath.Join(root, "usr/bin/copy")); err != nil || string(b) != "tool\n" {
		t.Errorf("the copy has %q, %v", b, err)
	}
	if fi, err := os.Stat(root); err != nil || fi.Mode() != fs.ModeDir|fs.ModeSticky|0o777 {
		t.Errorf("the root has %v, %v", fi.Mode(), err)
	}
	sameTOC(t, "the tree", diff(t, root, below), toc)
}

func TestUnpackMaxSize(t *testing.T) {
	needRoot(t)
	data := makeTar(t, file("12345"), file("1234567"))
	if _, _, err := jail(t, data, layer.UnpackOptions{Limits: layer.Limits{Size: 12}}); err != nil {
		t.Errorf("12 bytes of 12 give %v", err)
	}
	if _, _, err := jail(t, data, layer.UnpackOptions{Limits: layer.Limits{Size: 11}}); err == nil || !strings.Contains(err.Error(), `"1234567"`) {
		t.Errorf("12 bytes of 11 give %v", err)
	}
}

// Contents that do not fit the TOC are refused, not padded.
func TestWriteTarWrongSize(t *testing.T) {
	for _, tt := range []struct {
		contents, want string
	}{{"1234", "shorter"}, {"123456", "longer"}, {"12345", ""}} {
		toc, err := layer.NewTOC([]*layer.Entry{{Path: "f", Type: layer.File, Size: 5}})
		must(t, err)
		open := func(context.Context, *layer.Entry) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(tt.contents)), nil
		}
		err = layer.WriteTar(t.Context(), io.Discard, toc, open)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q for 5 bytes: %v, want %q", tt.contents, err, tt.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	scanned, err := layer.Scan(f.Context(), bytes.NewReader(makeTar(f, dir("a"), file("a/b"), hard("c", "a/b"), link("d", "x"), file(".wh.e"), file("a/.wh..wh..opq"))), layer.Limits{})
	must(f, err)
	var b bytes.Buffer
	must(f, scanned.Encode(&b))
	f.Add(b.Bytes()[:b.Len()-4])
	f.Fuzz(func(t *testing.T, body []byte) {
		var toc layer.TOC
		if toc.Decode(bytes.NewReader(withSum(body))) != nil {
			return
		}
		var again bytes.Buffer
		must(t, toc.Encode(&again))
		var second layer.TOC
		must(t, second.Decode(&again))
		if d := cmp.Diff(toc.Entries, second.Entries); d != "" {
			t.Error(d)
		}
		canonical, err := layer.NewTOC(second.Entries)
		must(t, err)
		if canonical.ContentID() != toc.ContentID() {
			t.Error("what Decode takes is not canonical")
		}
	})
}

func FuzzUnpack(f *testing.F) {
	needRoot(f)
	f.Add(makeTar(f, dir("a"), file("a/b"), hard("c", "a/b"), link("d", "a"), file("d/e"), file(".wh.e"), file("a/.wh..wh..opq")))
	f.Add(makeTar(f, file("a"), hard("b", "a"), file("a"), link("b", ".."), file("b/canary")))
	f.Add(makeTar(f, file(".wh..wh..opq"), file(".wh.a"), file("b/.wh..wh..opq"), file("b/c/.wh.d"))) // marks that hide nothing
	f.Add(makeTar(f, file("b/.wh.c"), file("b/.wh..wh..opq"), file("b-a/.wh.c")))
	f.Fuzz(func(t *testing.T, data []byte) {
		scanned, serr := layer.Scan(t.Context(), bytes.NewReader(data), layer.Limits{})
		if serr == nil && scanned.Size() > 1<<24 {
			return
		}
		root, toc, err := jail(t, data, layer.UnpackOptions{Limits: layer.Limits{Size: 1 << 24}})
		if (err == nil) != (serr == nil) {
			if serr == nil || !strings.Contains(err.Error(), "bytes allowed") {
				t.Fatalf("Scan: %v, Unpack: %v", serr, err)
			}
		}
		if err != nil {
			return
		}
		sameTOC(t, "Scan", scanned, toc)
		disk := diff(t, root, everything{})
		if toc.Lookup("") == nil && disk.Lookup("") != nil {
			disk.Entries = disk.Entries[1:]
		}
		if d := cmp.Diff(list(toc), list(disk)); d != "" {
			t.Errorf("on disk (-toc +disk):\n%s", d)
		}
	})
}
