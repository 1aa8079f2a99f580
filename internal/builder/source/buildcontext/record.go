package buildcontext

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// record is what is known of a path, in the form of the stat cache's file (see statCache). "" is the record of nothing.
type record string

// contents are what a record is made of.
type contents struct {
	stat   stat
	sum    string // sha256 of the contents in 32 bytes; "" for none
	xattrs []layer.Xattr
}

const (
	statSize  = 36 // bytes of a stat in a record
	sumSize   = 32
	minRecord = 2 + statSize + 1 + 2
	maxField  = 0xffff // bytes of a path, and number of attributes
)

// appendRecord encodes a record. A path has at most maxField bytes.
func appendRecord(b []byte, path string, c *contents) []byte {
	le := binary.LittleEndian
	b = append(le.AppendUint16(b, uint16(len(path))), path...)
	b = appendStat(b, &c.stat)
	if c.sum != "" {
		b = append(append(b, 1), c.sum...)
	} else {
		b = append(b, 0)
	}
	b = le.AppendUint16(b, uint16(len(c.xattrs)))
	for _, x := range c.xattrs {
		b = append(le.AppendUint16(b, uint16(len(x.Name))), x.Name...)
		b = append(le.AppendUint32(b, uint32(len(x.Value))), x.Value...)
	}
	return b
}

func appendStat(b []byte, s *stat) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, uint64(s.size))
	b = le.AppendUint64(b, uint64(s.mtime))
	b = le.AppendUint64(b, uint64(s.ctime))
	b = le.AppendUint64(b, s.ino)
	return le.AppendUint32(b, s.mode)
}

// number reads a little endian number.
func number(s string) (v uint64) {
	for i := len(s) - 1; i >= 0; i-- {
		v = v<<8 | uint64(s[i])
	}
	return v
}

func (r record) pathLen() int { return int(r[0]) | int(r[1])<<8 }

func (r record) path() string {
	if r == "" {
		return ""
	}
	return string(r[2 : 2+r.pathLen()])
}

// rawStat is the encoded form of the stat.
func (r record) rawStat() string {
	at := 2 + r.pathLen()
	return string(r[at : at+statSize])
}

func (r record) stat() stat {
	if r == "" {
		return stat{}
	}
	s := r.rawStat()
	return stat{
		size: int64(number(s[:8])), mtime: int64(number(s[8:16])), ctime: int64(number(s[16:24])), ino: number(s[24:32]),
		mode: uint32(number(s[32:36])),
	}
}

func (r record) mode() uint32 {
	if r == "" {
		return 0
	}
	at := 2 + r.pathLen() + statSize
	return uint32(number(string(r[at-4 : at])))
}

// sum is the sha256 of the contents in 32 bytes, "" if it is not known.
func (r record) sum() string {
	if r == "" {
		return ""
	}
	at := 2 + r.pathLen() + statSize
	if r[at] != 1 {
		return ""
	}
	return string(r[at+1 : at+1+sumSize])
}

// digestOf is the digest of a sha256 in 32 bytes.
func digestOf(sum string) digest.Digest {
	const prefix = "sha256:"
	var raw [sumSize]byte
	copy(raw[:], sum)
	var b [len(prefix) + 2*sumSize]byte
	copy(b[:], prefix)
	hex.Encode(b[len(prefix):], raw[:])
	return digest.Digest(b[:])
}

func (r record) xattrs() []layer.Xattr {
	if r == "" {
		return nil
	}
	at := 2 + r.pathLen() + statSize + 1
	if r[at-1] == 1 {
		at += sumSize
	}
	n := number(string(r[at : at+2]))
	if n == 0 {
		return nil
	}
	all := make([]layer.Xattr, n)
	d := decoder{s: string(r[at+2:])}
	for i := range all {
		all[i].Name = d.bytes(int(d.uint(2)))
		all[i].Value = d.bytes(int(d.uint(4)))
	}
	return all
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

func (d *decoder) uint(size int) uint64 { return number(d.bytes(size)) }

// skip reads over a record, of which it returns the path.
func (d *decoder) skip() (path string) {
	path = d.bytes(int(d.uint(2)))
	d.bytes(statSize)
	if d.uint(1) == 1 {
		d.bytes(sumSize)
	}
	for range d.uint(2) {
		if d.bad {
			break
		}
		d.bytes(int(d.uint(2)))
		d.bytes(int(d.uint(4)))
	}
	return path
}

// shelf holds records of which many share an allocation.
type shelf struct{ text strings.Builder }

// keep makes a record of bytes.
func (s *shelf) keep(b []byte) record {
	if s.text.Cap()-s.text.Len() < len(b) {
		size := min(64<<10, max(4<<10, 2*s.text.Cap()))
		s.text = strings.Builder{}
		s.text.Grow(max(len(b), size))
	}
	n := s.text.Len()
	s.text.Write(b)
	return record(s.text.String()[n:])
}
