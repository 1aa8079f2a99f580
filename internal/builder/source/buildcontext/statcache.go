package buildcontext

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/strata-build/strata/internal/layer"
)

// statCache remembers, for the files of one context, what they held when they had a given stat.
//
// The file is cacheMagic, a number of records in the order of layer.Compare, and the CRC-32C of all before it, little
// endian:
//
//	path length 2, path
//	size 8, mtime 8, ctime 8, inode 8, mode 4
//	flags 1: 1 = a digest follows the flags (32 bytes)
//	number of attributes 2, each: name length 2, name, value length 4, value
//
// A file costs about 120 bytes; 20,000 files are 2.4 MB. They stay as they are in the file, with 4 bytes for each
// that say where it begins. Only settled files are in it (see stat.settledAt), so that a record with the same stat is
// right. A file that is cut, damaged or of another version counts as none.
type statCache struct {
	file    string
	ignore  bool // what the file says
	once    sync.Once
	known   *known      // nil for nothing
	changed atomic.Bool // there is something to save
}

// known are the records of a cache file.
type known struct {
	data string
	at   []uint32 // where in data each record begins
}

const cacheMagic = "strata stat cache 2\n"

func newStatCache(file string, ignore bool) *statCache { return &statCache{file: file, ignore: ignore} }

// load reads the file, the first time that it is called. It may be called by several goroutines.
func (s *statCache) load() {
	s.once.Do(func() {
		if s.file == "" || s.ignore {
			return
		}
		if data, err := readString(s.file); err == nil {
			s.known = decodeCache(data)
		}
	})
}

// readString is os.ReadFile without a copy.
func readString(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() > math.MaxUint32 {
		return "", errors.Join(err, errors.New("it is too large"))
	}
	var b strings.Builder
	b.Grow(int(st.Size()))
	_, err = io.Copy(&b, f)
	return b.String(), err
}

// path is that of a record.
func (k *known) path(i int) string { return record(k.data[k.at[i]:]).path() }

// record is one of them.
func (k *known) record(i int) record { return record(k.data[k.at[i]:k.end(i+1)]) }

// end is where the record before another one ends.
func (k *known) end(i int) uint32 {
	if i < len(k.at) {
		return k.at[i]
	}
	return uint32(len(k.data))
}

// find is the index of the first record at or behind a path.
func (k *known) find(path string) int {
	return sort.Search(len(k.at), func(i int) bool { return layer.Compare(k.path(i), path) >= 0 })
}

// lookup returns what is known of a path, "" for nothing. next is the index of the record that is looked at first: it
// is set to the one that follows.
func (s *statCache) lookup(path string, next *int) record {
	k := s.known
	if k == nil {
		return ""
	}
	if *next >= len(k.at) || k.path(*next) != path {
		*next = k.find(path)
	}
	if *next >= len(k.at) || k.path(*next) != path {
		return ""
	}
	*next++
	return k.record(*next - 1)
}

// save writes what is known of the tree, and what was known of directories that nobody looked at.
func (s *statCache) save(top *node) error {
	if s.file == "" || !s.changed.Load() {
		return nil
	}
	old := s.known
	if old == nil {
		old = &known{}
	}
	if err := writeFile(s.file, (&saver{old: old}).write, top); err != nil {
		return fmt.Errorf("save stat cache: %w; the next build hashes its context again", err)
	}
	return nil
}

func writeFile(name string, write func(io.Writer, *node) error, top *node) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	err = write(f, top)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// saver merges the tree with the records that were there before, both in the same order.
type saver struct {
	w    *bufio.Writer
	old  *known
	next int // the first of the old records that was not passed
}

func (s *saver) write(f io.Writer, top *node) error {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	s.w = bufio.NewWriterSize(io.MultiWriter(f, sum), 64<<10)
	s.w.WriteString(cacheMagic)
	s.node(top)
	if err := s.w.Flush(); err != nil {
		return err
	}
	_, err := f.Write(binary.LittleEndian.AppendUint32(nil, sum.Sum32()))
	return err
}

// node writes what is known of a path and of what is below it. What was known before of a directory that was listed
// is not. The top may have no record, as of a context that cannot be read.
func (s *saver) node(n *node) {
	path, kind := n.path(), n.kind()
	for s.passes(func(old string) bool { return layer.Compare(old, path) <= 0 }) {
		s.next++
	}
	if n.settled && (kind == layer.File || kind == layer.Dir) {
		s.w.WriteString(string(n.file)) // an error stays until Flush
	}
	children := n.children()
	for i := range children {
		if children[i].file != "" { // without it, it has no path either
			s.node(&children[i])
		}
	}
	below := s.next
	for s.passes(func(old string) bool { return isBelow(old, path) }) {
		s.next++
	}
	if (kind == layer.Dir || n.file == "") && !n.listed() && s.next > below {
		s.w.WriteString(s.old.data[s.old.at[below]:s.old.end(s.next)])
	}
}

// passes says whether the next of the old records has a path that is like that.
func (s *saver) passes(like func(path string) bool) bool {
	return s.next < len(s.old.at) && like(s.old.path(s.next))
}

// isBelow says whether a path lies in a directory.
func isBelow(path, dir string) bool {
	return dir == "" && path != "" || len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir
}

// decodeCache returns the records of a cache file, nil if anything in it is wrong.
func decodeCache(file string) *known {
	body, ok := strings.CutPrefix(file, cacheMagic)
	if !ok || len(body) < 4 {
		return nil
	}
	end := len(file) - 4
	sum, buf := uint32(0), make([]byte, 64<<10)
	for rest := file[:end]; rest != ""; {
		n := copy(buf, rest)
		sum, rest = crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), buf[:n]), rest[n:]
	}
	if sum != binary.LittleEndian.Uint32([]byte(file[end:])) {
		return nil
	}
	k := &known{data: body[:len(body)-4]}
	k.at = make([]uint32, 0, len(k.data)/(minRecord+32)+1)
	d := decoder{s: k.data}
	before := ""
	for d.s != "" && !d.bad {
		at := len(k.data) - len(d.s)
		path := d.skip()
		if len(k.at) > 0 && layer.Compare(before, path) >= 0 {
			return nil
		}
		k.at, before = append(k.at, uint32(at)), path
	}
	if d.bad {
		return nil
	}
	return k
}
