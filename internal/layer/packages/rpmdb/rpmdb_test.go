package rpmdb

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fixture is a database of testdata, which testdata/make makes.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	db, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// list is what is found in a database, a line for each package, sorted.
func list(db []byte) (string, error) {
	var lines []string
	err := Packages(db, func(p Package) { lines = append(lines, p.Name+" "+p.Version+"\n") })
	slices.Sort(lines)
	return strings.Join(lines, ""), err
}

var fixtures = []string{"rpmdb.sqlite", "Packages.db", "Packages"}

// What rpm -qa says of the same databases is in packages.txt.
func TestPackages(t *testing.T) {
	want, err := os.ReadFile("testdata/packages.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range fixtures {
		got, err := list(fixture(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got != string(want) {
			t.Errorf("%s lists\n%s\nnot\n%s", name, got, want)
		}
	}
}

func TestEmpty(t *testing.T) {
	if got, err := list(nil); got != "" || err != nil {
		t.Errorf("an empty file lists %q, %v", got, err)
	}
	if _, err := list([]byte("Berkeley")); err == nil {
		t.Error("a text is a database")
	}
}

// A database that was cut lists what is there and says that it is damaged, or that it is none.
func TestCut(t *testing.T) {
	for _, name := range fixtures[:2] {
		db := fixture(t, name)
		for _, n := range []int{20, 99, 4000, len(db) / 2, len(db) - 5000} {
			if _, err := list(db[:n]); !errors.Is(err, errDamaged) {
				t.Errorf("the first %d bytes of %s: %v", n, name, err)
			}
		}
	}
}

// Each of these leads back to where it came from, or says more than there is.
func TestHostile(t *testing.T) {
	for _, c := range []struct {
		name, file string
		spoil      func(db []byte)
	}{
		{"a chain of pages leads into itself", "Packages", func(db []byte) {
			for page := 4096; page < len(db); page += 4096 {
				if db[page+25] == pageOverflow {
					binary.LittleEndian.PutUint32(db[page+16:], uint32(page/4096))
					binary.LittleEndian.PutUint16(db[page+22:], 1)
				}
			}
		}},
		{"a chain of empty pages", "Packages", func(db []byte) {
			for page := 4096; page < len(db); page += 4096 {
				if db[page+25] == pageOverflow {
					binary.LittleEndian.PutUint16(db[page+22:], 0)
				}
			}
		}},
		{"a value is longer than the database", "Packages", func(db []byte) {
			for page := 4096; page < len(db); page += 4096 {
				for i := range int(binary.LittleEndian.Uint16(db[page+20:])) {
					if db[page+25] != pageHash {
						continue
					}
					item := db[page+int(binary.LittleEndian.Uint16(db[page+26+2*i:])):]
					if item[0] == itemOverflow {
						binary.LittleEndian.PutUint32(item[8:], 1<<32-1)
					}
				}
			}
		}},
		{"pages of no bytes", "Packages", func(db []byte) { binary.LittleEndian.PutUint32(db[20:], 0) }},
		{"more slots than there are", "Packages.db", func(db []byte) { binary.LittleEndian.PutUint32(db[12:], 1<<32-1) }},
		{"all slots lead to one package", "Packages.db", func(db []byte) {
			last := db[32+16:][:16]
			for at := 32; at < 4096; at += 16 {
				copy(db[at:], last)
			}
		}},
		{"a slot leads behind the end", "Packages.db", func(db []byte) { binary.LittleEndian.PutUint32(db[32+16+8:], 1<<32-1) }},
		{"a header has more entries than bytes", "Packages.db", func(db []byte) {
			binary.BigEndian.PutUint32(db[4096+16:], 1<<32-1)
		}},
		{"the schema's tree leads into itself", "rpmdb.sqlite", func(db []byte) {
			db[100] = sqliteInterior
			binary.BigEndian.PutUint16(db[103:], 0)
			binary.BigEndian.PutUint32(db[108:], 1)
		}},
		{"rows share their bytes", "rpmdb.sqlite", func(db []byte) {
			binary.BigEndian.PutUint16(db[103:], 1500)
			for i := range 1500 {
				copy(db[108+2*i:], db[108:110])
			}
			copy(db[4090:], []byte{0, 0, 0, 0, 0, 0})
			binary.BigEndian.PutUint16(db[108:], 4090)
			for i := range 1500 {
				binary.BigEndian.PutUint16(db[108+2*i:], 3200)
			}
			copy(db[3200:], []byte{0x86, 0x00, 1}) // 768 bytes, row 1
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := fixture(t, c.file)
			c.spoil(db)
			if _, err := list(db); !errors.Is(err, errDamaged) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A view may be called Packages, too, and would be executed; a database that has one has no packages.
func TestView(t *testing.T) {
	db := bytes.ReplaceAll(fixture(t, "rpmdb.sqlite"), []byte("tablePackagesPackages"), []byte("view_PackagesPackages"))
	if got, err := list(db); err == nil || got != "" {
		t.Errorf("%q, %v", got, err)
	}
}

// header is a header that has the tags.
func header(tags map[uint32]any) []byte {
	var index, data []byte
	for _, tag := range []uint32{tagName, tagVersion, tagRelease, tagEpoch, tagLicence, tagArchitecture, tagSource, tagDirIndexes, tagBasenames, tagDirNames} {
		entry := []uint32{tag, typeString, uint32(len(data)), 1}
		switch v := tags[tag].(type) {
		case nil:
			continue
		case string:
			data = append(append(data, v...), 0)
		case uint32:
			entry[1] = typeInt32
			data = binary.BigEndian.AppendUint32(data, v)
		case []uint32:
			entry[1], entry[3] = typeInt32, uint32(len(v))
			for _, n := range v {
				data = binary.BigEndian.AppendUint32(data, n)
			}
		case []string:
			entry[1], entry[3] = typeTexts, uint32(len(v))
			data = append(append(data, strings.Join(v, "\x00")...), 0)
		}
		for _, n := range entry {
			index = binary.BigEndian.AppendUint32(index, n)
		}
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(len(index)/16))
	return append(append(binary.BigEndian.AppendUint32(b, uint32(len(data))), index...), data...)
}

func TestHeader(t *testing.T) {
	for _, c := range []struct {
		tags map[uint32]any
		want string
	}{
		{map[uint32]any{tagName: "a", tagVersion: "1", tagRelease: "2"}, "a 1-2"},
		{map[uint32]any{tagName: "a", tagVersion: "1", tagRelease: "2", tagEpoch: uint32(0)}, "a 0:1-2"},
		{map[uint32]any{tagName: "a", tagVersion: "1", tagEpoch: uint32(7)}, "a 7:1"},
		{map[uint32]any{tagName: "a"}, ""},
		{map[uint32]any{tagVersion: "1"}, ""},
		{map[uint32]any{}, ""},
	} {
		got := ""
		w := &walk{found: func(p Package) { got = p.Name + " " + p.Version }}
		if err := w.header(header(c.tags)); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%v: %q, %v; expected %q", c.tags, got, err, c.want)
		}
	}
}

var withFiles = map[uint32]any{
	tagName: "a", tagVersion: "1", tagLicence: "MIT", tagArchitecture: "noarch", tagSource: "a-1-1.src.rpm", tagDirIndexes: []uint32{0, 1, 1, 7},
	tagBasenames: []string{"sh", "a", "b", "nowhere"}, tagDirNames: []string{"/usr/bin/", "/usr/lib/a/"},
}

func TestFiles(t *testing.T) {
	var got Package
	w := &walk{found: func(p Package) { got = p }}
	if err := w.header(header(withFiles)); err != nil {
		t.Fatal(err)
	}
	if files := slices.Collect(got.Files()); !slices.Equal(files, []string{"usr/bin/sh", "usr/lib/a/a", "usr/lib/a/b"}) {
		t.Errorf("files %q", files)
	}
	if got.Licence != "MIT" || got.Architecture != "noarch" || got.Source != "a-1-1.src.rpm" {
		t.Errorf("%+v", got)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(header(map[uint32]any{tagName: "a", tagVersion: "1", tagRelease: "2", tagEpoch: uint32(3)}))
	f.Add(header(withFiles))
	f.Fuzz(func(t *testing.T, b []byte) {
		found := 0
		w := &walk{found: func(p Package) {
			found++
			for file := range p.Files() {
				if len(file) > len(b) {
					t.Errorf("the file %q of %d bytes", file, len(b))
				}
			}
			if p.Name == "" || p.Version == "" {
				t.Errorf("package %q has version %q", p.Name, p.Version)
			}
		}}
		if err := w.header(b); (err == nil) != (found == 1) {
			t.Errorf("%d packages, error %v", found, err)
		}
	})
}

// small are databases of one page of each form, with a header each: inputs of a size that fuzzing gets through.
func small() [][]byte {
	h := header(map[uint32]any{tagName: "a", tagVersion: "1", tagRelease: "2"})
	hash := make([]byte, 2*512)
	binary.LittleEndian.PutUint32(hash[12:], berkeleyMagic)
	binary.LittleEndian.PutUint32(hash[20:], 512)
	page := hash[512:]
	page[25] = pageHash
	binary.LittleEndian.PutUint16(page[20:], 2)
	binary.LittleEndian.PutUint16(page[26:], 507)
	value := 507 - 1 - len(h)
	binary.LittleEndian.PutUint16(page[28:], uint16(value))
	page[value] = itemHere
	copy(page[value+1:], h)

	slots := make([]byte, 4096)
	copy(slots, "RpmP")
	slots[12] = 1
	for at := 32; at < len(slots); at += 16 {
		copy(slots[at:], "Slot")
	}
	slots[36] = 1
	binary.LittleEndian.PutUint32(slots[40:], 4096/16)
	blob := append([]byte("BlbS\x01\x00\x00\x00\x00\x00\x00\x00"), byte(len(h)), 0, 0, 0)
	return [][]byte{hash, append(append(slots, blob...), h...)}
}

func TestSmall(t *testing.T) {
	for i, db := range small() {
		if got, err := list(db); got != "a 1-2\n" || err != nil {
			t.Errorf("%d: %q, %v", i, got, err)
		}
	}
}

func FuzzPackages(f *testing.F) {
	for _, db := range small() {
		f.Add(db)
	}
	for _, name := range fixtures {
		f.Add(fixture(f, name))
	}
	f.Fuzz(func(t *testing.T, db []byte) {
		size := 0
		err := Packages(db, func(p Package) { size += len(p.Name) + len(p.Version) })
		if size > 20*len(db) {
			t.Errorf("%d bytes list %d bytes of packages, error %v", len(db), size, err)
		}
	})
}
