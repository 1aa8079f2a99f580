// Package rpmdb reads which packages a database of RPM lists. RPM keeps it in one of three forms: rpmdb.sqlite since
// 2020 (Fedora, RHEL 9), Packages.db, its own form named ndb (SUSE), and Packages, a hash of Berkeley DB (RHEL up to
// 8).
//
// The database is one of an image, which anybody may have made: it is read as bytes, nothing in it is executed, what
// it points to is looked for inside of it only, and nothing takes longer than reading all of it once. The library
// that scanners use for this, go-rpmdb, reads in goroutines of its own, where a damaged page ends the whole program
// or is read for ever.
package rpmdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// errDamaged is that a database points to something outside of it or twice to the same.
var errDamaged = errors.New("the database is damaged")

// Package is a package of the database.
type Package struct {
	Name string
	// Version is as rpm writes it, EPOCH:VERSION-RELEASE, without the epoch where there is none.
	Version      string
	Architecture string // "" of one that has none, as gpg-pubkey
	Licence      string
	Source       string // the file name of the source package, SOURCERPM

	data  []byte // of the header
	lists [3]array
}

// array is an entry of a header that has several values: where they begin in its data, and how many there are.
type array struct{ offset, count uint32 }

// Files gives the paths of the package's files, without a slash in front. They are BASENAMES, each in the one of DIRNAMES
// that DIRINDEXES says. Of a damaged header those that can be told come.
func (p Package) Files() iter.Seq[string] {
	return func(yield func(string) bool) {
		dirs := slices.Collect(p.texts(p.lists[1]))
		numbers := p.data[min(uint64(p.lists[2].offset), uint64(len(p.data))):]
		i := uint32(0)
		for name := range p.texts(p.lists[0]) {
			if i == p.lists[2].count || len(numbers) < 4 {
				return
			}
			dir := binary.BigEndian.Uint32(numbers)
			i, numbers = i+1, numbers[4:]
			if uint64(dir) < uint64(len(dirs)) && !yield(strings.TrimPrefix(dirs[dir]+name, "/")) {
				return
			}
		}
	}
}

// texts gives the texts of a list.
func (p Package) texts(l array) iter.Seq[string] {
	return func(yield func(string) bool) {
		rest := p.data[min(uint64(l.offset), uint64(len(p.data))):]
		for range l.count {
			text, after, ok := bytes.Cut(rest, []byte{0})
			if !ok || !yield(string(text)) {
				return
			}
			rest = after
		}
	}
}

// Packages calls found for every package that a database lists. An empty database has no packages.
//
// Of rpmdb.sqlite a write-ahead log is not read; rpm leaves none behind.
func Packages(db []byte, found func(Package)) error {
	w := &walk{db: db, left: uint64(len(db)), found: found}
	switch {
	case len(db) == 0:
		return nil
	case bytes.HasPrefix(db, []byte("SQLite format 3\x00")):
		return w.sqlite()
	case bytes.HasPrefix(db, []byte("RpmP")):
		return w.ndb()
	case isBerkeley(db):
		return w.berkeley()
	}
	return errors.New("this is none of the forms of RPM's database: sqlite, ndb, a hash of Berkeley DB")
}

// walk is the way through a database.
type walk struct {
	db    []byte
	left  uint64 // bytes that may still be found to be a header or a row: all together are not longer than the database
	found func(Package)
}

// at is n bytes of the database, from the offset on.
func (w *walk) at(offset, n uint64) ([]byte, error) { return cut(w.db, offset, n) }

// cut is b[offset:offset+n], if that is inside of b.
func cut(b []byte, offset, n uint64) ([]byte, error) {
	if size := uint64(len(b)); offset > size || n > size-offset {
		return nil, fmt.Errorf("%w: it points behind its end", errDamaged)
	}
	return b[offset:][:n], nil
}

// take counts n bytes of a header or a row. That nothing is counted twice in an honest database bounds what a walk
// through another one takes.
func (w *walk) take(n uint64) error {
	if n > w.left {
		return fmt.Errorf("%w: it holds more than it is long", errDamaged)
	}
	w.left -= n
	return nil
}

// Tags and types of a header's entries, of RPM's lib/rpmtag.h and the reference manual's "RPM Header format".
const (
	tagName, tagVersion, tagRelease, tagEpoch = 1000, 1001, 1002, 1003
	tagLicence, tagArchitecture, tagSource    = 1014, 1022, 1044
	tagDirIndexes, tagBasenames, tagDirNames  = 1116, 1117, 1118
	typeInt32, typeString, typeTexts          = 4, 6, 8
)

// header reads a package's header: the numbers of entries and of bytes of data, the entries (tag, type, offset,
// count), the data. All numbers are big endian, of 32 bits.
func (w *walk) header(b []byte) error {
	lengths, err := cut(b, 0, 8)
	if err != nil {
		return err
	}
	entries := uint64(binary.BigEndian.Uint32(lengths)) * 16
	index, err := cut(b, 8, entries)
	if err != nil {
		return err
	}
	data, err := cut(b, 8+entries, uint64(binary.BigEndian.Uint32(lengths[4:])))
	if err != nil {
		return err
	}
	values, p := map[uint32]string{}, Package{data: data}
	for ; len(index) > 0; index = index[16:] {
		tag, kind := binary.BigEndian.Uint32(index), binary.BigEndian.Uint32(index[4:])
		if i := slices.Index([]uint32{tagBasenames, tagDirNames, tagDirIndexes}, tag); i >= 0 && (kind == typeTexts) == (tag != tagDirIndexes) {
			p.lists[i] = array{binary.BigEndian.Uint32(index[8:]), binary.BigEndian.Uint32(index[12:])}
		}
		if _, known := values[tag]; known || !wanted(tag) {
			continue
		}
		if values[tag], err = value(data, kind, binary.BigEndian.Uint32(index[8:])); err != nil && tag <= tagEpoch {
			return err
		}
	}
	if values[tagName] == "" || values[tagVersion] == "" {
		return fmt.Errorf("%w: a package has no name or no version", errDamaged)
	}
	version := values[tagVersion]
	if values[tagRelease] != "" {
		version += "-" + values[tagRelease]
	}
	if values[tagEpoch] != "" {
		version = values[tagEpoch] + ":" + version
	}
	p.Name, p.Version, p.Architecture, p.Licence, p.Source = values[tagName], version, values[tagArchitecture], values[tagLicence], values[tagSource]
	w.found(p)
	return nil
}

func wanted(tag uint32) bool {
	switch tag {
	case tagName, tagVersion, tagRelease, tagEpoch, tagLicence, tagArchitecture, tagSource:
		return true
	}
	return false
}

// value is the text of a header's entry.
func value(data []byte, kind, offset uint32) (string, error) {
	if _, err := cut(data, uint64(offset), 0); err != nil {
		return "", err
	}
	rest := data[offset:]
	switch kind {
	case typeString:
		if text, _, ok := bytes.Cut(rest, []byte{0}); ok {
			return string(text), nil
		}
	case typeInt32:
		if len(rest) >= 4 {
			return fmt.Sprint(binary.BigEndian.Uint32(rest)), nil
		}
	}
	return "", fmt.Errorf("%w: an entry of a package is neither text nor a number", errDamaged)
}
