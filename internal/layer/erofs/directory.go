package erofs

import (
	"encoding/binary"
	"path"
	"slices"
	"strings"

	"github.com/strata-build/strata/internal/layer"
)

// dirent is a name in a directory.
type dirent struct {
	name string
	node int
}

// names are what is in a directory, itself and its parent too, in the order of their bytes, in which the kernel looks
// for them.
func (x *writer) names(i int) []dirent {
	all := []dirent{{".", i}, {"..", int(x.inodes[i].parent)}}
	for at := x.inodes[i].first; at >= 0; at = x.inodes[at].next {
		all = append(all, dirent{path.Base(x.nodes[at].Path), int(at)})
	}
	slices.SortFunc(all, func(a, b dirent) int { return strings.Compare(a.name, b.name) })
	return all
}

// fits is how many of names go into one block, and how many bytes they take.
func fits(names []dirent) (n, size int) {
	for _, d := range names {
		more := direntSize + len(d.name)
		if size+more > blockSize {
			break
		}
		n, size = n+1, size+more
	}
	return n, size
}

// directorySize is how many bytes a directory has.
func (x *writer) directorySize(i int) uint32 {
	total := 0
	for names := x.names(i); ; {
		n, size := fits(names)
		if names = names[n:]; len(names) == 0 {
			return uint32(total + size)
		}
		total += blockSize
	}
}

// directory is a directory's data: in each block where the names are (struct erofs_dirent), then the names.
func (x *writer) directory(i int) []byte {
	var data []byte
	for names := x.names(i); len(names) > 0; {
		n, _ := fits(names)
		data = append(data, make([]byte, (blockSize-len(data)%blockSize)%blockSize)...)
		at := n * direntSize
		for _, d := range names[:n] {
			data = binary.LittleEndian.AppendUint64(data, uint64(x.inodes[d.node].nid))
			data = binary.LittleEndian.AppendUint16(data, uint16(at))
			data = append(data, x.kind(d.node), 0)
			at += len(d.name)
		}
		for _, d := range names[:n] {
			data = append(data, d.name...)
		}
		names = names[n:]
	}
	return data
}

// kind is the type of a file as directories have it.
func (x *writer) kind(i int) byte {
	n := &x.nodes[i]
	if n.Type == layer.Hardlink {
		n = &x.nodes[x.inodes[i].block]
	}
	return types[n.Type].kind
}
