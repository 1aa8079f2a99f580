// Package erofs makes an EROFS file system of what layers hold, without their bytes: an index. Names, attributes and
// places are in the index, and the contents of files stay in the layers' uncompressed tars, which the index names as
// its devices. The kernel mounts both from their files as they are, and overlayfs takes the mount as a lower layer.
// So a layer that came as a tar need not be laid out for a process to run on it.
//
// The format is the kernel's: Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h. Blocks have 512 bytes, as
// those of a tar, so that each file's contents begin at one.
package erofs

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// ErrNotSaid is the cause where an index cannot say what a layer holds: a sparse file, whose contents are not in one
// piece in the tar; more layers, bytes or attributes than the format has room for. Such a layer has to be a tree.
var ErrNotSaid = errors.New("an EROFS index cannot say it")

// Device is a tar that files of an index are in, or a part of one in a file of its own.
type Device struct {
	DiffID digest.Digest
	// Size is the length of the file in bytes.
	Size int64
}

// Node is an entry of what is indexed.
type Node struct {
	*layer.Entry
	// Device is the place among the devices of the one that has the contents of a File, and Offset where they are in it.
	Device int
	Offset int64
}

// Of are the nodes of one layer, whose tar is the only device.
func Of(t *layer.TOC) []Node {
	nodes := make([]Node, len(t.Entries))
	for i, e := range t.Entries {
		nodes[i].Entry, nodes[i].Offset = e, e.Offset
	}
	return nodes
}

const (
	blockBits  = 9
	blockSize  = 1 << blockBits
	slotSize   = 128 // of the superblock, and of each device behind it
	superblock = 1024
	magic      = 0xe0f5e1e2
	inodeSize  = 64
	nidSize    = 32 // the unit in which inodes are counted
	direntSize = 12
	chunkSize  = 8 // of what says where a chunk is

	layoutPlain  = 0 // data in blocks of its own
	layoutInline = 2 // data behind the inode
	layoutChunks = 4 // chunks in a device

	chunkIndexes   = 1 << 5
	maxChunkBits   = 31
	featureChunks  = 0x4
	featureDevices = 0x8

	maxDevices = 1 << 10 // more than overlayfs takes lower layers
)

// types are the types of files, as st_mode and as directories have them.
var types = map[layer.Type]struct {
	mode uint16
	kind byte
}{
	layer.File:     {0o100000, 1},
	layer.Dir:      {0o040000, 2},
	layer.Char:     {0o020000, 3},
	layer.Whiteout: {0o020000, 3},
	layer.Block:    {0o060000, 4},
	layer.Fifo:     {0o010000, 5},
	layer.Symlink:  {0o120000, 7},
}

// inode is where a node is written. A hard link has the nid of its target, and is not written.
type inode struct {
	nid    uint32
	block  uint32 // the first of the data, where that is in blocks of its own
	links  uint32
	size   uint32 // of the data in bytes; 0 of files, whose contents are elsewhere
	layout byte

	parent int32 // place of the directory
	first  int32 // of a directory: place of the first that is in it, -1 for none
	next   int32 // place of the next in the same directory, -1 for none
}

// writer writes one index.
type writer struct {
	out     *bufio.Writer
	at      int64 // bytes written
	devices []Device
	nodes   []Node
	inodes  []inode
	blocks  uint32 // of all of the index
}

// Write writes the index of nodes, which are in the order of layer.Compare with one for each path. Missing parents
// are 0755 and belong to 0:0, as in a tree. The same nodes and devices give the same bytes. An error that is
// ErrNotSaid is not one of w's.
func Write(w io.Writer, nodes []Node, devices []Device) error {
	if len(devices) > maxDevices {
		return fmt.Errorf("%d layers: %w", len(devices), ErrNotSaid)
	}
	for _, d := range devices {
		if d.Size>>blockBits >= math.MaxUint32 {
			return fmt.Errorf("a tar of %d bytes: %w", d.Size, ErrNotSaid)
		}
	}
	x := &writer{out: bufio.NewWriterSize(w, 64<<10), devices: devices, nodes: withParents(nodes)}
	if err := x.link(); err != nil {
		return err
	}
	if err := x.place(); err != nil {
		return err
	}
	x.super()
	for i := range x.nodes {
		if x.nodes[i].Type != layer.Hardlink {
			x.inode(i)
		}
	}
	for i := range x.nodes {
		if x.inodes[i].hasBlocks() {
			x.padTo(int64(x.inodes[i].block) << blockBits)
			x.write(x.data(i))
		}
	}
	x.padTo(int64(x.blocks) << blockBits)
	return x.out.Flush()
}

// withParents adds the root and the parents that have no entry.
func withParents(nodes []Node) []Node {
	all := make([]Node, 0, len(nodes)+1)
	dir := "" // that the last node is, or is in
	var add func(n Node)
	add = func(n Node) {
		if parent := layer.Parent(n.Path); parent != dir && !layer.Within(dir, parent) {
			add(Node{Entry: &layer.Entry{Path: parent, Type: layer.Dir, Mode: 0o755, ModTime: n.ModTime}})
		}
		if dir = layer.Parent(n.Path); n.Type == layer.Dir {
			dir = n.Path
		}
		all = append(all, n)
	}
	if len(nodes) == 0 || nodes[0].Path != "" {
		add(Node{Entry: &layer.Entry{Type: layer.Dir, Mode: 0o755}})
	}
	for _, n := range nodes {
		add(n)
	}
	return all
}

// link finds out which nodes are in which directory, and how many links each inode has.
func (x *writer) link() error {
	x.inodes = make([]inode, len(x.nodes))
	targets := map[string]int{} // of hard links, by their paths
	for _, n := range x.nodes {
		if n.Type == layer.Hardlink {
			targets[n.Link] = -1
		}
	}
	last := make([]int32, len(x.nodes)) // of a directory: what was put into it last
	at := 0                             // the directory that the next node may be in
	for i := range x.nodes {
		n, in := &x.nodes[i], &x.inodes[i]
		in.first, in.next, last[i] = -1, -1, -1
		if _, ok := targets[n.Path]; ok {
			targets[n.Path] = i
		}
		in.links = 1
		if n.Type == layer.Dir {
			in.links = 2
		}
		if i == 0 {
			continue
		}
		for x.nodes[at].Path != layer.Parent(n.Path) {
			at = int(x.inodes[at].parent)
		}
		in.parent = int32(at)
		if last[at] < 0 {
			x.inodes[at].first = int32(i)
		} else {
			x.inodes[last[at]].next = int32(i)
		}
		last[at] = int32(i)
		if n.Type == layer.Dir {
			x.inodes[at].links++
			at = i
		}
	}
	for i := range x.nodes {
		n := &x.nodes[i]
		if n.Type != layer.Hardlink {
			continue
		}
		target := targets[n.Link]
		if target < 0 || x.nodes[target].Type == layer.Hardlink || x.nodes[target].Type == layer.Dir {
			return fmt.Errorf("/%s is a hard link to /%s, which is no file: %w", n.Path, n.Link, ErrNotSaid)
		}
		x.inodes[target].links++
		x.inodes[i].block = uint32(target)
	}
	return nil
}

// place decides where each inode and its data go.
func (x *writer) place() error {
	offset := int64(inodeSize) // from the first block of inodes; the root's number is not 0, which readdir(3) takes for none
	for i := range x.nodes {
		n, in := &x.nodes[i], &x.inodes[i]
		if n.Type == layer.Hardlink {
			continue
		}
		if err := x.check(n); err != nil {
			return fmt.Errorf("/%s: %w", n.Path, err)
		}
		length := int64(inodeSize + xattrSize(n.Entry))
		switch {
		case n.Type == layer.File && n.Size > 0:
			in.layout = layoutChunks
			length = align(length, chunkSize) + chunkSize
		case n.Type == layer.Symlink:
			in.size = uint32(len(n.Link))
		case n.Type == layer.Dir:
			in.size = x.directorySize(i)
		}
		if in.size > 0 && length+int64(in.size) <= blockSize {
			in.layout = layoutInline
			length += int64(in.size)
			if offset%blockSize+length > blockSize { // inline data does not go across blocks
				offset = align(offset, blockSize)
			}
		}
		in.nid = uint32(offset / nidSize)
		offset = align(offset+length, nidSize)
		if offset/nidSize > math.MaxUint32 {
			return fmt.Errorf("%d entries: %w", len(x.nodes), ErrNotSaid)
		}
	}
	next := x.firstInode() + align(offset, blockSize)>>blockBits
	for i := range x.nodes {
		in := &x.inodes[i]
		if x.nodes[i].Type == layer.Hardlink {
			in.nid = x.inodes[in.block].nid
		} else if in.hasBlocks() {
			in.block = uint32(next)
			next += align(int64(in.size), blockSize) >> blockBits
		}
	}
	if next > math.MaxUint32 {
		return fmt.Errorf("%d entries: %w", len(x.nodes), ErrNotSaid)
	}
	x.blocks = uint32(next)
	return nil
}

// hasBlocks says whether the data is in blocks of its own.
func (in *inode) hasBlocks() bool { return in.layout == layoutPlain && in.size > 0 }

// check says what of a node the format has no room for.
func (x *writer) check(n *Node) error {
	if n.Type == layer.File && n.Size > 0 {
		switch {
		case n.Offset < 0 || n.Offset%blockSize != 0:
			return fmt.Errorf("its contents are not in one piece in the tar: %w", ErrNotSaid)
		case n.Device < 0 || n.Device >= len(x.devices) || n.Offset+n.Size > x.devices[n.Device].Size:
			return fmt.Errorf("its contents are not in the tar: %w", ErrNotSaid)
		case n.Size > blockSize<<maxChunkBits:
			return fmt.Errorf("it has %d bytes: %w", n.Size, ErrNotSaid)
		}
	}
	for _, a := range xattrsOf(n.Entry) {
		if a.prefix == 0 || len(a.name) > math.MaxUint8 || len(a.value) > math.MaxUint16 {
			return fmt.Errorf("an extended attribute: %w", ErrNotSaid)
		}
	}
	if xattrCount(n.Entry) > math.MaxUint16 {
		return fmt.Errorf("its extended attributes: %w", ErrNotSaid)
	}
	return nil
}

// firstInode is the block of the first inode: the superblock and the devices come before it.
func (x *writer) firstInode() int64 {
	return align(superblock+slotSize*int64(1+len(x.devices)), blockSize) >> blockBits
}

// super writes all that comes before the inodes (struct erofs_super_block, struct erofs_deviceslot).
func (x *writer) super() {
	b := make([]byte, x.firstInode()<<blockBits)
	le := binary.LittleEndian
	s := b[superblock:]
	le.PutUint32(s, magic)
	s[12] = blockBits
	le.PutUint16(s[14:], uint16(x.inodes[0].nid))
	le.PutUint64(s[16:], uint64(len(x.nodes)))
	le.PutUint32(s[36:], x.blocks)
	le.PutUint32(s[40:], uint32(x.firstInode()))
	le.PutUint32(s[80:], featureChunks|featureDevices)
	le.PutUint16(s[86:], uint16(len(x.devices)))
	le.PutUint16(s[88:], superblock/slotSize+1)
	for i, d := range x.devices {
		slot := s[slotSize*(1+i):]
		copy(slot[:64], d.DiffID.Encoded())
		le.PutUint32(slot[64:], uint32(align(d.Size, blockSize)>>blockBits))
	}
	x.write(b)
}

// inode writes an inode (struct erofs_inode_extended), its attributes, and what stands behind it.
func (x *writer) inode(i int) {
	n, in := &x.nodes[i], &x.inodes[i]
	x.padTo(x.firstInode()<<blockBits + int64(in.nid)*nidSize)
	size, data := uint64(in.size), in.block
	switch n.Type {
	case layer.File:
		if size = uint64(n.Size); size > 0 {
			data = chunkIndexes | uint32(chunkBits(n.Size))
		}
	case layer.Char, layer.Block:
		data = n.Minor&0xff | n.Major<<8 | n.Minor&^0xff<<12 // new_encode_dev (include/linux/kdev_t.h)
	}
	var b [inodeSize]byte
	le := binary.LittleEndian
	le.PutUint16(b[0:], uint16(in.layout)<<1|1)
	le.PutUint16(b[2:], uint16(xattrCount(n.Entry)))
	le.PutUint16(b[4:], types[n.Type].mode|uint16(n.Mode))
	le.PutUint64(b[8:], size)
	le.PutUint32(b[16:], data)
	le.PutUint32(b[20:], uint32(i)+1)
	le.PutUint32(b[24:], uint32(n.UID))
	le.PutUint32(b[28:], uint32(n.GID))
	le.PutUint64(b[32:], uint64(n.ModTime))
	le.PutUint32(b[44:], in.links)
	x.write(b[:])
	x.write(appendXattrs(nil, n.Entry))
	switch in.layout {
	case layoutInline:
		x.write(x.data(i))
	case layoutChunks:
		x.padTo(align(x.at, chunkSize))
		var c [chunkSize]byte
		le.PutUint16(c[2:], uint16(1+n.Device))
		le.PutUint32(c[4:], uint32(n.Offset>>blockBits))
		x.write(c[:])
	}
}

// chunkBits is the size of the one chunk that a file is, as the power of two of blocks.
func chunkBits(size int64) int { return bits.Len64(uint64(size-1) >> blockBits) }

// data is what a symbolic link or a directory holds.
func (x *writer) data(i int) []byte {
	if x.nodes[i].Type == layer.Symlink {
		return []byte(x.nodes[i].Link)
	}
	return x.directory(i)
}

// write writes bytes; an error shows when all is flushed.
func (x *writer) write(p []byte) {
	n, _ := x.out.Write(p)
	x.at += int64(n)
}

// padTo writes zeros up to an offset.
func (x *writer) padTo(offset int64) {
	var zeros [blockSize]byte
	for x.at < offset {
		before := x.at
		if x.write(zeros[:min(blockSize, offset-x.at)]); x.at == before {
			return // it failed
		}
	}
}

func align(n, to int64) int64 { return (n + to - 1) / to * to }

// Devices are the diffIDs of the tars that an index says its contents are in.
func Devices(index io.ReaderAt) ([]digest.Digest, error) {
	le := binary.LittleEndian
	s := make([]byte, slotSize)
	if _, err := index.ReadAt(s, superblock); err != nil {
		return nil, fmt.Errorf("reading an index: %w", err)
	}
	n := int(le.Uint16(s[86:]))
	if le.Uint32(s) != magic || n > maxDevices {
		return nil, errors.New("reading an index: it is none")
	}
	slots := make([]byte, n*slotSize)
	if _, err := index.ReadAt(slots, superblock+slotSize); err != nil {
		return nil, fmt.Errorf("reading an index: %w", err)
	}
	diffIDs := make([]digest.Digest, n)
	for i := range diffIDs {
		diffIDs[i] = digest.NewDigestFromEncoded(digest.SHA256, string(slots[i*slotSize:][:64]))
		if err := diffIDs[i].Validate(); err != nil {
			return nil, fmt.Errorf("reading an index: %w", err)
		}
	}
	return diffIDs, nil
}
