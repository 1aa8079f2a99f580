package erofs_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/erofs"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// needMounts skips where indexes cannot be mounted, and says why.
func needMounts(t testing.TB) {
	t.Helper()
	if err := erofs.Mountable(t.TempDir()); err != nil {
		t.Skip(err)
	}
}

// mounted mounts the index of what a tar holds.
func mounted(t testing.TB, data []byte) (dir string, toc *layer.TOC) {
	t.Helper()
	scanned, err := layer.Scan(t.Context(), bytes.NewReader(data), layer.Unlimited)
	must(t, err)
	toc, err = scanned.TOC()
	must(t, err)
	return mount(t, erofs.Of(toc), data), toc
}

// mount mounts the index of nodes whose contents are in tars.
func mount(t testing.TB, nodes iter.Seq[erofs.Node], tars ...[]byte) string {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	var devices []erofs.Device
	keep := func(name string, data []byte) *os.File {
		must(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
		f, err := os.Open(filepath.Join(dir, name))
		must(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	for i, data := range tars {
		paths = append(paths, keep(fmt.Sprint("tar", i), data).Name())
		devices = append(devices, erofs.Device{DiffID: digest.FromBytes(data), Size: int64(len(data))})
	}
	var index, again bytes.Buffer
	must(t, erofs.Write(&index, nodes, devices))
	must(t, erofs.Write(&again, nodes, devices))
	if !bytes.Equal(index.Bytes(), again.Bytes()) || index.Len()%512 != 0 {
		t.Fatalf("the index has %d bytes, and is another the second time", index.Len())
	}
	fd, err := erofs.Open(keep("index", index.Bytes()), paths)
	must(t, err)
	defer unix.Close(fd)
	at := filepath.Join(dir, "mounted")
	must(t, os.Mkdir(at, 0o755))
	must(t, unix.MoveMount(fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH))
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	return at
}

// pack makes a tar. The headers' sizes are set.
func pack(t testing.TB, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := f.Header
		h.Size = int64(len(f.data))
		if h.ModTime.IsZero() {
			h.ModTime = time.Unix(1700000000, 0)
		}
		must(t, w.WriteHeader(&h))
		_, err := w.Write([]byte(f.data))
		must(t, err)
	}
	must(t, w.Close())
	return buf.Bytes()
}

type file struct {
	tar.Header
	data string
}

// Whatever a tar holds is in the mounted index.
func TestIndex(t *testing.T) {
	needMounts(t)
	many := []file{{tar.Header{Name: "many/", Typeflag: tar.TypeDir, Mode: 0o755}, ""}}
	for i := range 3000 {
		many = append(many, file{tar.Header{Name: fmt.Sprintf("many/%c-file-%d", '!'+rune(i%90), i), Typeflag: tar.TypeReg, Mode: 0o644}, fmt.Sprint("contents ", i)})
	}
	for i, f := range many { // no slash in a name
		many[i].Name = "many/" + strings.ReplaceAll(strings.TrimPrefix(f.Name, "many/"), "/", "_")
	}
	for name, files := range map[string][]file{
		"nothing": nil,
		"one file, without its parents": {
			{tar.Header{Name: "a/b/c", Typeflag: tar.TypeReg, Mode: 0o4751, Uid: 70000, Gid: 4000000000}, "contents"},
		},
		"empty and large files": {
			{tar.Header{Name: "empty", Typeflag: tar.TypeReg, Mode: 0o600}, ""},
			{tar.Header{Name: "block", Typeflag: tar.TypeReg, Mode: 0o600}, strings.Repeat("b", 512)},
			{tar.Header{Name: "large", Typeflag: tar.TypeReg, Mode: 0o600}, strings.Repeat("0123456", 300_000)},
		},
		"links": {
			{tar.Header{Name: "dir/", Typeflag: tar.TypeDir, Mode: 0o1777}, ""},
			{tar.Header{Name: "dir/f", Typeflag: tar.TypeReg, Mode: 0o644}, "shared"},
			{tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "dir/f"}, ""},
			{tar.Header{Name: "z", Typeflag: tar.TypeLink, Linkname: "a"}, ""},
			{tar.Header{Name: "s", Typeflag: tar.TypeSymlink, Linkname: "dir/f", Mode: 0o777}, ""},
			{tar.Header{Name: "t", Typeflag: tar.TypeLink, Linkname: "s"}, ""},
			{tar.Header{Name: "long", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("/x", 1900), Mode: 0o777}, ""},
			{tar.Header{Name: "odd", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("y", 448), Mode: 0o777}, ""},
			{tar.Header{Name: "odder", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("y", 449), Mode: 0o777}, ""},
		},
		"names that come before a point": {
			{tar.Header{Name: "!", Typeflag: tar.TypeReg}, "!"}, {tar.Header{Name: "-", Typeflag: tar.TypeReg}, "-"},
			{tar.Header{Name: "...", Typeflag: tar.TypeReg}, "..."}, {tar.Header{Name: "a", Typeflag: tar.TypeDir, Mode: 0o700}, ""},
			{tar.Header{Name: "a-b", Typeflag: tar.TypeReg}, "a-b"}, {tar.Header{Name: "a/" + strings.Repeat("n", 255), Typeflag: tar.TypeReg}, "n"},
			{tar.Header{Name: "ä\xff", Typeflag: tar.TypeReg}, "ä"},
		},
		"devices": {
			{tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666}, ""},
			{tar.Header{Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 259, Devminor: 1000, Mode: 0o660}, ""},
			{tar.Header{Name: "fifo", Typeflag: tar.TypeFifo, Mode: 0o622}, ""},
			{tar.Header{Name: ".wh.gone", Typeflag: tar.TypeReg}, ""},
			{tar.Header{Name: "new/", Typeflag: tar.TypeDir, Mode: 0o755}, ""},
			{tar.Header{Name: "new/.wh..wh..opq", Typeflag: tar.TypeReg}, ""},
		},
		"attributes": {
			{tar.Header{Name: "f", Typeflag: tar.TypeReg, PAXRecords: map[string]string{
				"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
				"SCHILY.xattr.user.a":              strings.Repeat("v", 3000), "SCHILY.xattr.user.b": "",
			}}, "x"},
			{tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.user.d": "e"}}, ""},
			{tar.Header{Name: "d/.wh..wh..opq", Typeflag: tar.TypeReg}, ""},
		},
		"times": {
			{tar.Header{Name: "old", Typeflag: tar.TypeReg, ModTime: time.Unix(-5, 0)}, ""},
			{tar.Header{Name: "far", Typeflag: tar.TypeReg, ModTime: time.Unix(1<<33, 0)}, ""},
		},
		"a directory of many blocks": many,
	} {
		t.Run(name, func(t *testing.T) {
			dir, toc := mounted(t, pack(t, files...))
			must(t, layer.VerifyTree(t.Context(), toc, dir))
		})
	}
}

// Random layers are in the mounted index as they are in a tree.
func TestIndexOfRandomLayers(t *testing.T) {
	needMounts(t)
	for seed := range uint64(25) {
		dir, toc := mounted(t, pack(t, random(rand.New(rand.NewPCG(seed, 1)))...))
		if err := layer.VerifyTree(t.Context(), toc, dir); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

// random makes the files of a layer: some of everything.
func random(rnd *rand.Rand) []file {
	dirs, links := []string{""}, []string{}
	used := map[string]bool{}
	name := func() string {
		for {
			n := dirs[rnd.IntN(len(dirs))] + strings.Repeat(string(rune('a'+rnd.IntN(26))), 1+rnd.IntN(60)) + fmt.Sprint(rnd.IntN(1000))
			if !used[n] {
				used[n] = true
				return n
			}
		}
	}
	var files []file
	for range rnd.IntN(400) {
		h := tar.Header{Name: name(), Mode: int64(rnd.IntN(0o10000)), Uid: rnd.IntN(100000), Gid: rnd.IntN(10), ModTime: time.Unix(rnd.Int64N(1<<34), 0)}
		data := ""
		switch k := rnd.IntN(10); {
		case k < 2:
			h.Typeflag = tar.TypeDir
			dirs = append(dirs, h.Name+"/")
		case k == 2:
			h.Typeflag, h.Linkname = tar.TypeSymlink, strings.Repeat("l", 1+rnd.IntN(600))
		case k == 3 && len(links) > 0:
			h.Typeflag, h.Linkname = tar.TypeLink, links[rnd.IntN(len(links))]
		case k == 4:
			h.Typeflag, h.Name = tar.TypeReg, filepath.Join(filepath.Dir(h.Name), ".wh."+filepath.Base(h.Name))
		default:
			h.Typeflag = tar.TypeReg
			data = strings.Repeat(h.Name, rnd.IntN(200))
			links = append(links, h.Name)
			if k == 9 {
				h.PAXRecords = map[string]string{"SCHILY.xattr.user.x": strings.Repeat("x", rnd.IntN(900))}
			}
		}
		files = append(files, file{h, data})
	}
	return files
}

// What an index cannot say is an error that says so.
func TestNotSaid(t *testing.T) {
	f := func(change func(e *layer.Entry)) []erofs.Node {
		e := &layer.Entry{Path: "f", Type: layer.File, Mode: 0o644, Size: 1, Offset: 512}
		change(e)
		return []erofs.Node{{Entry: e, Offset: e.Offset}}
	}
	device := []erofs.Device{{DiffID: digest.FromString("tar"), Size: 4096}}
	for name, nodes := range map[string][]erofs.Node{
		"sparse":             f(func(e *layer.Entry) { e.Offset = -1 }),
		"between blocks":     f(func(e *layer.Entry) { e.Offset = 700 }),
		"behind the tar":     f(func(e *layer.Entry) { e.Offset = 4096 }),
		"another attribute":  f(func(e *layer.Entry) { e.Xattrs = []layer.Xattr{{Name: "lustre.x", Value: "y"}} }),
		"a large attribute":  f(func(e *layer.Entry) { e.Xattrs = []layer.Xattr{{Name: "user.x", Value: strings.Repeat("y", 1<<16)}} }),
		"a link to nothing":  f(func(e *layer.Entry) { e.Type, e.Link, e.Size = layer.Hardlink, "g", 0 }),
		"a tar that is none": {{Entry: &layer.Entry{Path: "f", Type: layer.File, Size: 1}, Device: 1}},
	} {
		if err := erofs.Write(&bytes.Buffer{}, slices.Values(nodes), device); !errors.Is(err, erofs.ErrNotSaid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := erofs.Write(&bytes.Buffer{}, slices.Values([]erofs.Node(nil)), []erofs.Device{{Size: 1 << 42}}); !errors.Is(err, erofs.ErrNotSaid) {
		t.Errorf("a tar of 4 TiB: %v", err)
	}
}
