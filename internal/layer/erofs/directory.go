package erofs

import (
	"encoding/binary"
	"iter"
)

// names are the names of nodes, with their kinds, in pieces that stay where they are.
type names struct {
	pieces [][]byte
}

const (
	pieceBits = 16
	pieceSize = 1 << pieceBits
)

// add keeps a name, which layer.MaxName holds for, and says where.
func (n *names) add(name string, kind byte) uint32 {
	last := len(n.pieces) - 1
	if last < 0 || len(n.pieces[last])+2+len(name) > pieceSize {
		n.pieces = append(n.pieces, make([]byte, 0, pieceSize))
		last++
	}
	at := len(n.pieces[last])
	n.pieces[last] = append(append(n.pieces[last], byte(len(name)), kind), name...)
	return uint32(last)<<pieceBits | uint32(at)
}

func (n *names) at(place uint32) []byte       { return n.pieces[place>>pieceBits][place&(pieceSize-1):] }
func (n *names) kind(place uint32) byte       { return n.at(place)[1] }
func (n *names) setKind(place uint32, k byte) { n.at(place)[1] = k }
func (n *names) name(place uint32) []byte {
	b := n.at(place)
	return b[2 : 2+int(b[0])]
}

// dirent is a name in a directory.
type dirent struct {
	name []byte
	node int32
	kind byte
}

var self, above = []byte("."), []byte("..")

// dirents are what is in a directory, itself and its parent too, in the order of their bytes, in which the kernel looks
// for them: siblings in the order of layer.Compare are.
func (x *writer) dirents(in *inode) iter.Seq[dirent] {
	return func(yield func(dirent) bool) {
		own := []dirent{{self, in.node, kindDir}, {above, in.parent, kindDir}}
		for at := in.first; at >= 0; at = x.slots.at(at).next {
			place := x.slots.at(at).name
			d := dirent{x.names.name(place), at, x.names.kind(place)}
			for len(own) > 0 && string(own[0].name) < string(d.name) {
				if !yield(own[0]) {
					return
				}
				own = own[1:]
			}
			if !yield(d) {
				return
			}
		}
		for _, d := range own {
			if !yield(d) {
				return
			}
		}
	}
}

// directorySize is how many bytes a directory has, of which names are added in their order.
type directorySize struct {
	blocks, size int
	own          int // how many of itself and its parent are counted
}

func (s *directorySize) add(name string) {
	for ; s.own < 2 && dots[:1+s.own] < name; s.own++ {
		s.count(1 + s.own)
	}
	s.count(len(name))
}

const dots = ".."

func (s *directorySize) count(length int) {
	more := direntSize + length
	if s.size+more > blockSize {
		s.blocks, s.size = s.blocks+1, 0
	}
	s.size += more
}

// end is the size when all names are added.
func (s *directorySize) end() uint32 {
	for ; s.own < 2; s.own++ {
		s.count(1 + s.own)
	}
	return uint32(s.blocks*blockSize + s.size)
}

// directory writes a directory's data: in each block where the names are (struct erofs_dirent), then the names.
func (x *writer) directory(in *inode) {
	var names []dirent // of one block
	size := 0
	write := func() {
		b := make([]byte, 0, blockSize)
		at := len(names) * direntSize
		for _, d := range names {
			b = binary.LittleEndian.AppendUint64(b, uint64(x.slots.at(d.node).nid))
			b = binary.LittleEndian.AppendUint16(b, uint16(at))
			b = append(b, d.kind, 0)
			at += len(d.name)
		}
		for _, d := range names {
			b = append(b, d.name...)
		}
		x.write(b)
	}
	for d := range x.dirents(in) {
		more := direntSize + len(d.name)
		if size+more > blockSize {
			write()
			x.write(zeros[:blockSize-size])
			names, size = names[:0], 0
		}
		names, size = append(names, d), size+more
	}
	write()
}
