package layer_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/layer"
)

// randomTar has headers in any order: names that come again as something else, children before their directories,
// links through links, marks.
func randomTar(t testing.TB, rnd *rand.Rand) []byte {
	names := []string{"a", "b", "c", "a-", "a.b", strings.Repeat("n", 200), "é"}
	path := func() string {
		parts := make([]string, 1+rnd.IntN(3))
		for i := range parts {
			parts[i] = names[rnd.IntN(len(names))]
		}
		return strings.Join(parts, "/")
	}
	var headers []tar.Header
	for range 1 + rnd.IntN(40) {
		h := tar.Header{Name: path(), Mode: int64(rnd.IntN(0o1000)), Uid: rnd.IntN(3), Gid: rnd.IntN(70000)}
		switch rnd.IntN(10) {
		case 0, 1, 2:
			h.Typeflag = tar.TypeReg
			if rnd.IntN(4) == 0 {
				h.PAXRecords = map[string]string{"SCHILY.xattr.user.x": strings.Repeat("v", rnd.IntN(300)), "SCHILY.xattr.user.a": "b"}
			}
		case 3, 4:
			h.Typeflag = tar.TypeDir
		case 5, 6:
			h.Typeflag, h.Linkname = tar.TypeLink, path()
		case 7:
			h.Typeflag, h.Linkname = tar.TypeSymlink, path()
		case 8:
			h.Name = h.Name[:strings.LastIndexByte(h.Name, '/')+1] + ".wh." + names[rnd.IntN(len(names))]
			if rnd.IntN(2) == 0 {
				h.Name = h.Name[:strings.LastIndexByte(h.Name, '/')+1] + ".wh..wh..opq"
			}
		case 9:
			h.Typeflag = tar.TypeFifo
			if rnd.IntN(2) == 0 {
				h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(rnd.IntN(4)), int64(rnd.IntN(300))
			}
		}
		headers = append(headers, h)
		if _, err := layer.Scan(t.Context(), bytes.NewReader(makeTar(t, headers...)), layer.Limits{}); err != nil {
			headers = headers[:len(headers)-1] // a link to nothing, a file for a parent
		}
	}
	return makeTar(t, headers...)
}

// TestScanIsLikeTheTree: what Scan makes of random tars is what NewTOC makes of the same entries, and what is on the
// disk when such a tar is unpacked.
func TestScanIsLikeTheTree(t *testing.T) {
	needRoot(t)
	rnd := rand.New(rand.NewPCG(3, 5))
	for i := range 200 {
		data := randomTar(t, rnd)
		scanned, err := layer.Scan(t.Context(), bytes.NewReader(data), layer.Limits{})
		must(t, err)
		toc, err := scanned.TOC()
		must(t, err)
		sameTOC(t, "NewTOC", scanned, toc)
		if scanned.Len() != toc.Len() || scanned.Size() != toc.Size() || scanned.ContentID() != toc.ContentID() {
			t.Errorf("%d: %d entries, %d bytes; want %d, %d", i, scanned.Len(), scanned.Size(), toc.Len(), toc.Size())
		}
		var a, b bytes.Buffer
		must(t, scanned.Encode(&a))
		must(t, toc.Encode(&b))
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("%d: the two are encoded differently", i)
		}
		must(t, (&layer.TOC{}).Decode(&a))
		root, unpacked, err := jail(t, data, layer.UnpackOptions{})
		must(t, err)
		sameTOC(t, "Unpack", scanned, unpacked)
		disk := diff(t, root, everything{})
		if toc.Lookup("") == nil && disk.Lookup("") != nil {
			disk.Entries = disk.Entries[1:]
		}
		if d := cmp.Diff(list(toc), list(disk)); d != "" {
			t.Errorf("%d: on disk (-toc +disk):\n%s", i, d)
		}
		if t.Failed() {
			t.Fatalf("%q", list(toc))
		}
	}
}

// TestScanTakesLittleMemory: an entry is some 90 bytes of what a scan leaves in use, whatever the order of the tar.
func TestScanTakesLittleMemory(t *testing.T) {
	const files = 50_000
	var data bytes.Buffer
	w := tar.NewWriter(&data)
	for i := range files {
		must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("data/dir%03d/file%05d.txt", i*7919%files/1000, i*7919%files), Mode: 0o644}))
	}
	must(t, w.Close())
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	scanned, err := layer.Scan(t.Context(), bytes.NewReader(data.Bytes()), layer.Unlimited)
	must(t, err)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / files; each > 150 {
		t.Errorf("%d bytes an entry are in use", each)
	}
	runtime.KeepAlive(scanned)
	runtime.KeepAlive(data)
}
