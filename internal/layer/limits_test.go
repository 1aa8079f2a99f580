package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/layertest"
)

// paxSparse is layertest.GNUSparse in the way of PAX, as GNU tar --sparse writes it today, and all of it a hole.
func paxSparse(name string, size int64) []byte {
	var records bytes.Buffer
	for _, r := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=" + name, fmt.Sprintf("GNU.sparse.realsize=%d", size)} {
		fmt.Fprintf(&records, "%d %s\n", len(r)+4, r)
	}
	all := layertest.Header("pax", tar.TypeXHeader, int64(records.Len()), func(b []byte) { copy(b[257:], "ustar\x0000") })
	all = append(append(all, records.Bytes()...), make([]byte, 512-records.Len()%512)...)
	all = append(all, layertest.Header("GNUSparseFile.0/"+name, tar.TypeReg, 512, func(b []byte) { copy(b[257:], "ustar\x0000") })...)
	return append(append(all, "1\n0\n0\n"...), make([]byte, 506+1024)...)
}

// unpackAndScan does both, and sees that they say the same.
func unpackAndScan(t *testing.T, data []byte, l Limits) error {
	t.Helper()
	_, err := Unpack(t.Context(), bytes.NewReader(data), t.TempDir(), UnpackOptions{Limits: l})
	if _, serr := Scan(t.Context(), bytes.NewReader(data), l); l.Size > 0 && fmt.Sprint(serr) != fmt.Sprint(err) {
		t.Errorf("Unpack: %v\nScan:   %v", err, serr)
	}
	return err
}

func TestLimits(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const huge = 1 << 50
	long := func(h tar.Header) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := errors.Join(w.WriteHeader(&h), w.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	many := map[string]string{}
	for i := range 1000 {
		many[fmt.Sprintf("SCHILY.xattr.user.%s%d", strings.Repeat("n", 100), i)] = "x"
	}
	set := Limits{Size: DefaultSize}
	for name, tt := range map[string]struct {
		tar    []byte
		limits Limits
		want   []string
	}{
		"GNU sparse":    {layertest.GNUSparse("big", huge), set, []string{`layer entry "big": with it there are 1125899906842624 bytes`, "1099511627776", "raise unpack-size-limit"}},
		"PAX sparse":    {paxSparse("big", huge), set, []string{`layer entry "big": with it there are 1125899906842624 bytes`}},
		"what is free":  {layertest.GNUSparse("big", huge), Limits{}, []string{`layer entry "big"`, "1099511627776 bytes that are allowed"}},
		"only declared": {layertest.Header("big", tar.TypeReg, huge, nil), set, []string{`layer entry "big"`, "raise unpack-size-limit"}},
		"largest":       {layertest.Header("big", tar.TypeReg, math.MaxInt64, nil), set, []string{"9223372036854775807 bytes"}},
		"two":           {append(layertest.GNUSparse("a", 600)[:1024], layertest.GNUSparse("b", 700)...), Limits{Size: 1000}, []string{`"b": with it there are 1300 bytes`, "the 1000 bytes that are allowed"}},
		"holes":         {layertest.GNUSparse("holes", 1<<24), Limits{Size: set.Size, Ratio: 100, floor: 1 << 20}, []string{`layer entry "holes": `, "more than 100 times as many", "raise unpack-ratio-limit"}},
		"entries":       {append(layertest.Header("a", tar.TypeReg, 0, nil), layertest.GNUSparse("b", 600)...), Limits{Size: set.Size, Entries: 1}, []string{`layer entry "b": with it there are more than the 1 entries that are allowed`, "raise unpack-entries-limit"}},
		"one path": {append(layertest.Header("a", tar.TypeReg, 0, nil), layertest.Header("a", tar.TypeReg, 0, nil)...), Limits{Size: set.Size, Entries: 1},
			[]string{`layer entry "a": with it there are more than the 1 entries`}},
		"attribute": {long(tar.Header{Name: "x", PAXRecords: map[string]string{"SCHILY.xattr.user.a": strings.Repeat("x", 100_000)}}), set, []string{`layer entry "x": its extended attribute "user.a"`, "65536 that Linux allows"}},
		"attributes": {long(tar.Header{Name: "x", PAXRecords: many}), set,
			[]string{`layer entry "x": its extended attributes have names of more than the 65536 bytes`}},
		"long PAX": {append(layertest.Header("pax", tar.TypeXHeader, 1<<30, nil), make([]byte, 2<<20)...), set, []string{"header field too long"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := unpackAndScan(t, tt.tar, tt.limits)
			for _, w := range tt.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("%v\nwant %q", err, w)
				}
			}
		})
	}
}

// A sparse file of a reasonable size is unpacked, and stays sparse.
func TestSparseStaysSparse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for name, data := range map[string][]byte{"gnu": layertest.GNUSparse("f", 1<<26), "pax": paxSparse("f", 1<<26)} {
		dir := t.TempDir()
		if _, err := Unpack(t.Context(), bytes.NewReader(data), dir, UnpackOptions{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var st unix.Stat_t
		if err := unix.Stat(dir+"/f", &st); err != nil || st.Size != 1<<26 || st.Blocks*512 > 1<<20 {
			t.Errorf("%s: %d bytes, %d on the disk, %v", name, st.Size, st.Blocks*512, err)
		}
	}
}

// Paths that a tar implies take memory too, and each entry can imply two thousand.
func TestMetadataIsBounded(t *testing.T) {
	a := newAssembler(context.Background(), nil, noTree{})
	a.metadata = maxMetadata - 16<<20
	deep := strings.Repeat("d/", 2000) + "f"
	for i := range 10 {
		if _, err := a.add(&tar.Header{Name: fmt.Sprintf("%d/%s", i, deep)}); err != nil {
			if !strings.Contains(err.Error(), "the names and attributes have more than") {
				t.Error(err)
			}
			return
		}
	}
	t.Error("20,000 paths of 2,000 bytes each were taken as 16 MiB")
}

// Files that have many hard links and are replaced again and again cost a look at all the links each time.
func TestMovedLinksAreBounded(t *testing.T) {
	const links = 3_000 // so that n²/2 is more than what is allowed
	a := newAssembler(context.Background(), nil, noTree{})
	add := func(h tar.Header) error {
		_, err := a.add(&h)
		return err
	}
	err := add(tar.Header{Name: "f0", Typeflag: tar.TypeReg})
	for i := 1; i < links && err == nil; i++ {
		err = add(tar.Header{Name: fmt.Sprint("f", i), Typeflag: tar.TypeLink, Linkname: "f0"})
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < links && err == nil; i++ {
		err = add(tar.Header{Name: fmt.Sprint("f", i), Typeflag: tar.TypeReg})
	}
	if err == nil || !strings.Contains(err.Error(), "other hard links more than") {
		t.Error(err)
	}
}

func TestDecompressLimits(t *testing.T) {
	zeros := make([]byte, 1<<22)
	var gz, zst bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(zeros)
	w.Close()
	e, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	e.Write(zeros)
	e.Close()
	for name, data := range map[string][]byte{"gzip": gz.Bytes(), "zstd": zst.Bytes(), "xz": packXz(t, zeros)} {
		read := func(l Limits) error {
			r, err := Decompress(bytes.NewReader(data), l)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			_, err = io.Copy(io.Discard, r)
			return err
		}
		if err := read(Limits{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var limit *LimitError
		if err := read(Limits{Ratio: 50, floor: 1 << 20}); !errors.As(err, &limit) || !strings.Contains(err.Error(), "unpack-ratio-limit") {
			t.Errorf("%s, ratio: %v", name, err)
		}
		if err := read(Limits{Size: 1 << 20}); !errors.As(err, &limit) || !strings.Contains(err.Error(), "unpack-size-limit") {
			t.Errorf("%s, size: %v", name, err)
		}
	}
}

// A million empty members of a gzip stream are one empty file.
func TestDecompressMembers(t *testing.T) {
	var one bytes.Buffer
	if err := gzip.NewWriter(&one).Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Decompress(bytes.NewReader(bytes.Repeat(one.Bytes(), 1_000_000)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); n != 0 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func packXz(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withDictionary changes the size of the dictionary that the first block of an xz stream asks for.
func withDictionary(data []byte, code byte) []byte {
	data = bytes.Clone(data)
	head := data[12 : 12+(int(data[12])+1)*4]
	at := bytes.Index(head, []byte{0x21, 1})
	head[at+2] = code
	sum := crc32.ChecksumIEEE(head[:len(head)-4])
	for i := range 4 {
		head[len(head)-4+i] = byte(sum >> (8 * i))
	}
	return data
}

func TestXzDictionary(t *testing.T) {
	data := packXz(t, []byte(strings.Repeat("some text ", 100_000)))
	two := append(append(bytes.Clone(data), make([]byte, 8)...), data...)
	for _, tt := range []struct {
		data []byte
		n    int64
		want string
	}{
		{data, 1_000_000, ""},
		{two, 2_000_000, ""},
		{withDictionary(data, 28), 1_000_000, ""}, // 64 MiB, as with xz -9
		{withDictionary(data, 40), 0, "dictionary of"},
		{append(bytes.Clone(data), withDictionary(data, 40)...), 1_000_000, "dictionary of"},
	} {
		r, err := Decompress(bytes.NewReader(tt.data), Limits{})
		var n int64
		if err == nil {
			n, err = io.Copy(io.Discard, r)
		}
		if n > tt.n || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%d bytes, %v; want %d, %q", n, err, tt.n, tt.want)
		}
	}
}

// What is refused as damaged is so for package xz too, and what is passed on is not changed.
func FuzzXz(f *testing.F) {
	data := packXz(f, []byte("some text"))
	f.Add(data)
	f.Add(append(bytes.Clone(data), data...))
	f.Add(append(append(bytes.Clone(data), 0, 0, 0, 0), data...))
	f.Fuzz(func(t *testing.T, data []byte) {
		passed, err := io.ReadAll(&xzReader{r: bytes.NewReader(data)})
		if err == nil && !bytes.Equal(passed, data) {
			t.Error("other bytes")
		}
		if !errors.Is(err, errXz) {
			return
		}
		r, err := xz.NewReader(bytes.NewReader(data))
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		if err == nil {
			t.Error("package xz reads it")
		}
	})
}

// What the disk has no room for is the disk's error.
func TestLimitsOnDisk(t *testing.T) {
	l := Limits{Size: 1000, free: "/disk"}
	err := l.checkSize("f", 600, 500)
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), `entry "f": with it there are 1100 bytes to unpack, more than the 1000 that are free on the disk of /disk`) {
		t.Error(err)
	}
	if on := (Limits{}).On(t.TempDir()); on.withDefaults().Size > DefaultSize {
		t.Errorf("%+v", on)
	}
	if on := (Limits{Size: 5}).On(t.TempDir()); on != (Limits{Size: 5}) {
		t.Errorf("%+v", on)
	}
}
