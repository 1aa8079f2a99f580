package buildcontext

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/strata-build/strata/internal/layer"
)

// statCache remembers, for the files of one context, what they held when they had a given stat.
//
// The file is cacheMagic, a number of records, and the CRC-32C of all before it, little endian:
//
//	path length 2, path
//	size 8, mtime 8, ctime 8, inode 8, mode 4
//	flags 1: 1 = a digest follows the flags (32 bytes)
//	number of attributes 2, each: name length 2, name, value length 4, value
//
// A file costs about 120 bytes; 20,000 files are 2.4 MB, which take 4 ms to load. Only settled files are in
// it (see stat.settledAt), so that a record with the same stat is right. A file that is cut, damaged or of
// another version counts as none.
type statCache struct {
	file    string
	ignore  bool // what the file says
	once    sync.Once
	records map[string]*record
	changed atomic.Bool // there is something to save
}

// record is what the cache knows of a path.
type record struct {
	stat   stat
	hashed bool
	sum    [32]byte
	xattrs []layer.Xattr
}

const (
	cacheMagic = "strata stat cache 1\n"
	minRecord  = 2 + 36 + 1 + 2
)

func newStatCache(file string, ignore bool) *statCache { return &statCache{file: file, ignore: ignore} }

// load reads the file, the first time that it is called. It may be called by several goroutines.
func (s *statCache) load() {
	s.once.Do(func() {
		if s.file == "" || s.ignore {
			return
		}
		if b, err := os.ReadFile(s.file); err == nil {
			s.records = decodeCache(b)
		}
	})
}

func (s *statCache) lookup(path string) (*record, bool) {
	r, ok := s.records[path]
	return r, ok
}

// save writes what is known of the tree, and what was known of directories that nobody looked at.
func (s *statCache) save(top *node) error {
	if s.file == "" || !s.changed.Load() {
		return nil
	}
	b := make([]byte, 0, 64<<10+128*len(s.records))
	b = append(b, cacheMagic...)
	b = appendNodes(b, top)
	for path, r := range s.records {
		if !seen(top, path) {
			b = appendRecord(b, path, r)
		}
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	if err := writeFile(s.file, b); err != nil {
		return fmt.Errorf("save stat cache: %w; the next build hashes its context again", err)
	}
	return nil
}

func writeFile(name string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func appendNodes(b []byte, n *node) []byte {
	if n.settled && (n.entry.Type == layer.File || n.entry.Type == layer.Dir) {
		b = appendRecord(b, n.entry.Path, &record{n.stat, n.hashed, n.sum, n.entry.Xattrs})
	}
	for i := range n.children {
		b = appendNodes(b, &n.children[i])
	}
	return b
}

// seen tells whether this build has listed the directory that a path is, or was, in.
func seen(n *node, path string) bool {
	if !n.listed {
		return false
	}
	for rest := path; rest != ""; {
		if n.entry.Type != layer.Dir {
			return true
		}
		if !n.listed {
			return false
		}
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if n = n.child(name); n == nil {
			return true
		}
	}
	return true
}

func appendRecord(b []byte, path string, r *record) []byte {
	le := binary.LittleEndian
	if len(path) > 0xffff || len(r.xattrs) > 0xffff {
		return b
	}
	b = append(le.AppendUint16(b, uint16(len(path))), path...)
	b = le.AppendUint64(b, uint64(r.stat.size))
	b = le.AppendUint64(b, uint64(r.stat.mtime))
	b = le.AppendUint64(b, uint64(r.stat.ctime))
	b = le.AppendUint64(b, r.stat.ino)
	b = le.AppendUint32(b, r.stat.mode)
	if r.hashed {
		b = append(append(b, 1), r.sum[:]...)
	} else {
		b = append(b, 0)
	}
	b = le.AppendUint16(b, uint16(len(r.xattrs)))
	for _, x := range r.xattrs {
		b = append(le.AppendUint16(b, uint16(len(x.Name))), x.Name...)
		b = append(le.AppendUint32(b, uint32(len(x.Value))), x.Value...)
	}
	return b
}

// decodeCache returns the records of a cache file, nil if anything in it is wrong. What it allocates is
// bounded by the length of the file.
func decodeCache(b []byte) map[string]*record {
	body, ok := bytes.CutPrefix(b, []byte(cacheMagic))
	if !ok || len(body) < 4 {
		return nil
	}
	end := len(b) - 4
	if crc32.Checksum(b[:end], crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(b[end:]) {
		return nil
	}
	d := decoder{s: string(body[:len(body)-4])}
	slab := make([]record, 0, len(body)/(minRecord+32)+1)
	records := make(map[string]*record, cap(slab))
	for d.s != "" && !d.bad {
		slab = append(slab, record{})
		r := &slab[len(slab)-1]
		records[d.record(r)] = r
	}
	if d.bad {
		return nil
	}
	return records
}

// decoder cuts values off a string; bad says that it was too short.
type decoder struct {
	s   string
	bad bool
}

func (d *decoder) bytes(n int) string {
	if n > len(d.s) {
		d.bad = true
		d.s = ""
		return ""
	}
	v := d.s[:n]
	d.s = d.s[n:]
	return v
}

func (d *decoder) uint(size int) (v uint64) {
	for i, b := range []byte(d.bytes(size)) {
		v |= uint64(b) << (8 * i)
	}
	return v
}

func (d *decoder) record(r *record) (path string) {
	path = d.bytes(int(d.uint(2)))
	r.stat.size = int64(d.uint(8))
	r.stat.mtime = int64(d.uint(8))
	r.stat.ctime = int64(d.uint(8))
	r.stat.ino = d.uint(8)
	r.stat.mode = uint32(d.uint(4))
	if d.uint(1) == 1 {
		r.hashed = true
		copy(r.sum[:], d.bytes(32))
	}
	for range d.uint(2) {
		if d.bad {
			break
		}
		name := d.bytes(int(d.uint(2)))
		r.xattrs = append(r.xattrs, layer.Xattr{Name: name, Value: d.bytes(int(d.uint(4)))})
	}
	return path
}
