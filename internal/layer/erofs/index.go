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
	"iter"
	"math"
	"math/bits"
	"path"

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
func Of(t layer.Table) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for e := range t.All() {
			if !yield(Node{Entry: e, Offset: e.Offset}) {
				return
			}
		}
	}
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

const kindDir = 2 // of a directory, in one

// types are the types of files, as st_mode and as directories have them.
var types = map[layer.Type]struct {
	mode uint16
	kind byte
}{
	layer.File:     {0o100000, 1},
	layer.Dir:      {0o040000, kindDir},
	layer.Char:     {0o020000, 3},
	layer.Whiteout: {0o020000, 3},
	layer.Block:    {0o060000, 4},
	layer.Fifo:     {0o010000, 5},
	layer.Symlink:  {0o120000, 7},
}

// slot is what is known of each node at once: 12 bytes and its name. A hard link has the nid of its target, and no
// inode is written of it.
type slot struct {
	nid  uint32 // at first the bytes that the inode takes, without data
	next int32  // place of the next in the same directory, -1 for none
	name uint32 // in names
}

// slots are in pieces, so that more of them need no copy of those before.
type slots struct {
	pieces [][]slot
	n      int
}

const slotBits = 12 // of the places in a piece

func (s *slots) at(i int32) *slot { return &s.pieces[i>>slotBits][i&(1<<slotBits-1)] }

func (s *slots) add(one slot) {
	if s.n>>slotBits == len(s.pieces) {
		s.pieces = append(s.pieces, make([]slot, 0, min(1<<slotBits, max(64, s.n))))
	}
	last := len(s.pieces) - 1
	s.pieces[last] = append(s.pieces[last], one)
	s.n++
}

// inode is what is known of a directory or symbolic link beside.
type inode struct {
	node   int32
	parent int32 // place of the directory
	first  int32 // of a directory: place of the first that is in it, -1 for none
	links  uint32
	size   uint32 // of the data in bytes
	block  uint32 // the first of the data, where that is in blocks of its own
	layout byte
}

// link is a node that is a hard link.
type link struct {
	node, target int32
	path         string // of the target
}

// writer writes one index.
type writer struct {
	out     *bufio.Writer
	at      int64 // bytes written
	devices []Device
	nodes   iter.Seq[Node]
	slots   slots
	names   names
	inodes  []inode          // in the order of their nodes
	links   []link           // in the order of their nodes
	more    map[int32]uint32 // how many links a file has to it, of those that have any
	targets map[int32]string // of symbolic links that have blocks of their own
	blocks  uint32           // of all of the index
}

// Write writes the index of nodes, which are in the order of layer.Compare with one for each path. They are gone through
// two or three times, and are the same each time; each is needed until the next one. Missing parents are 0755 and
// belong to 0:0, as in a tree. The same nodes and devices give the same bytes. An error that is ErrNotSaid is not one
// of w's.
func Write(w io.Writer, nodes iter.Seq[Node], devices []Device) error {
	if len(devices) > maxDevices {
		return fmt.Errorf("%d layers: %w", len(devices), ErrNotSaid)
	}
	for _, d := range devices {
		if d.Size>>blockBits >= math.MaxUint32 {
			return fmt.Errorf("a tar of %d bytes: %w", d.Size, ErrNotSaid)
		}
	}
	x := &writer{out: bufio.NewWriterSize(w, 64<<10), devices: devices, nodes: withParents(nodes)}
	if err := x.collect(); err != nil {
		return err
	}
	if err := x.resolve(); err != nil {
		return err
	}
	if err := x.place(); err != nil {
		return err
	}
	x.super()
	if err := x.writeInodes(); err != nil {
		return err
	}
	for i := range x.inodes {
		if in := &x.inodes[i]; in.hasBlocks() {
			x.padTo(int64(in.block) << blockBits)
			x.data(in, x.targets[in.node])
		}
	}
	x.padTo(int64(x.blocks) << blockBits)
	return x.out.Flush()
}

// withParents adds the root and the parents that have no entry.
func withParents(nodes iter.Seq[Node]) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		dir, any, more := "", false, true // dir is what the last node is, or is in
		var add func(n Node)
		add = func(n Node) {
			if parent := layer.Parent(n.Path); parent != dir && !layer.Within(dir, parent) {
				add(Node{Entry: &layer.Entry{Path: parent, Type: layer.Dir, Mode: 0o755, ModTime: n.ModTime}})
			}
			if dir = layer.Parent(n.Path); n.Type == layer.Dir {
				dir = n.Path
			}
			more = more && yield(n)
		}
		for n := range nodes {
			if !any && n.Path != "" {
				add(Node{Entry: &layer.Entry{Type: layer.Dir, Mode: 0o755}})
			}
			any = true
			if add(n); !more {
				return
			}
		}
		if !any {
			add(Node{Entry: &layer.Entry{Type: layer.Dir, Mode: 0o755}})
		}
	}
}

// collect goes through the nodes for the first time: which are in which directory, and what each takes.
func (x *writer) collect() error {
	type dir struct {
		node, inode int32
		path        string
		last        int32 // what was put into it last, -1 for nothing
		size        directorySize
	}
	var open []dir // those that the next node may be in
	leave := func() {
		d := &open[len(open)-1]
		x.inodes[d.inode].size = d.size.end()
		open = open[:len(open)-1]
	}
	var failed error
	for n := range x.nodes {
		i := int32(x.slots.n)
		if failed = x.check(&n); failed != nil {
			failed = fmt.Errorf("/%s: %w", n.Path, failed)
			break
		}
		for len(open) > 0 && open[len(open)-1].path != layer.Parent(n.Path) {
			leave()
		}
		parent := int32(0)
		if len(open) > 0 {
			in := &open[len(open)-1]
			parent = in.node
			if in.last < 0 {
				x.inodes[in.inode].first = i
			} else {
				x.slots.at(in.last).next = i
			}
			in.last = i
			in.size.add(path.Base(n.Path))
			if n.Type == layer.Dir {
				x.inodes[in.inode].links++
			}
		}
		x.slots.add(slot{uint32(inodeLength(&n)), -1, x.names.add(path.Base(n.Path), types[n.Type].kind)})
		switch n.Type {
		case layer.Hardlink:
			x.links = append(x.links, link{i, -1, n.Link})
		case layer.Symlink:
			x.inodes = append(x.inodes, inode{node: i, parent: parent, first: -1, links: 1, size: uint32(len(n.Link))})
		case layer.Dir:
			open = append(open, dir{node: i, inode: int32(len(x.inodes)), path: n.Path, last: -1})
			x.inodes = append(x.inodes, inode{node: i, parent: parent, first: -1, links: 2})
		}
	}
	for len(open) > 0 {
		leave()
	}
	return failed
}

// inodeLength is how many bytes an inode takes with its attributes and what says where its chunk is.
func inodeLength(n *Node) int64 {
	length := int64(inodeSize + xattrSize(n.Entry))
	if n.Type == layer.File && n.Size > 0 {
		length = align(length, chunkSize) + chunkSize
	}
	return length
}

// resolve finds the targets of hard links.
func (x *writer) resolve() error {
	if len(x.links) == 0 {
		return nil
	}
	places := map[string]int32{}
	for _, l := range x.links {
		places[l.path] = -1
	}
	i := int32(0)
	for n := range x.nodes {
		if _, ok := places[n.Path]; ok && n.Type != layer.Hardlink && n.Type != layer.Dir {
			places[n.Path] = i
		}
		i++
	}
	x.more = map[int32]uint32{}
	for i := range x.links {
		l := &x.links[i]
		if l.target = places[l.path]; l.target < 0 {
			return fmt.Errorf("a hard link to /%s, which is no file: %w", l.path, ErrNotSaid)
		}
		x.more[l.target]++
		x.names.setKind(x.slots.at(l.node).name, x.names.kind(x.slots.at(l.target).name))
	}
	return nil
}

// place decides where each inode and its data go.
func (x *writer) place() error {
	offset := int64(inodeSize) // from the first block of inodes; the root's number is not 0, which readdir(3) takes for none
	links, inodes := x.links, x.inodes
	for i := range int32(x.slots.n) {
		s := x.slots.at(i)
		if len(links) > 0 && links[0].node == i {
			links = links[1:]
			continue
		}
		length := int64(s.nid)
		if len(inodes) > 0 && inodes[0].node == i {
			in := &inodes[0]
			inodes = inodes[1:]
			if in.size > 0 && length+int64(in.size) <= blockSize {
				in.layout = layoutInline
				length += int64(in.size)
				if offset%blockSize+length > blockSize { // inline data does not go across blocks
					offset = align(offset, blockSize)
				}
			}
		}
		s.nid = uint32(offset / nidSize)
		offset = align(offset+length, nidSize)
		if offset/nidSize > math.MaxUint32 {
			return fmt.Errorf("%d entries: %w", x.slots.n, ErrNotSaid)
		}
	}
	for _, l := range x.links {
		x.slots.at(l.node).nid = x.slots.at(l.target).nid
	}
	next := x.firstInode() + align(offset, blockSize)>>blockBits
	for i := range x.inodes {
		if in := &x.inodes[i]; in.hasBlocks() {
			in.block = uint32(next)
			next += align(int64(in.size), blockSize) >> blockBits
		}
	}
	if next > math.MaxUint32 {
		return fmt.Errorf("%d entries: %w", x.slots.n, ErrNotSaid)
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
	le.PutUint16(s[14:], uint16(x.slots.at(0).nid))
	le.PutUint64(s[16:], uint64(x.slots.n))
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

// writeInodes goes through the nodes for the last time.
func (x *writer) writeInodes() error {
	x.targets = map[int32]string{}
	links, inodes, i := x.links, x.inodes, int32(0)
	for n := range x.nodes {
		if int(i) >= x.slots.n {
			i++ // others than before
			break
		}
		if len(links) > 0 && links[0].node == i {
			links = links[1:]
			i++
			continue
		}
		in := &inode{links: 1}
		if len(inodes) > 0 && inodes[0].node == i {
			in, inodes = &inodes[0], inodes[1:]
		}
		if n.Type == layer.Symlink && in.hasBlocks() {
			x.targets[i] = n.Link
		}
		x.inode(i, &n, in)
		i++
	}
	if int(i) != x.slots.n {
		return errors.New("what is indexed changed meanwhile")
	}
	return nil
}

// inode writes an inode (struct erofs_inode_extended), its attributes, and what stands behind it.
func (x *writer) inode(i int32, n *Node, in *inode) {
	x.padTo(x.firstInode()<<blockBits + int64(x.slots.at(i).nid)*nidSize)
	layout, size, data := in.layout, uint64(in.size), in.block
	switch n.Type {
	case layer.File:
		if size = uint64(n.Size); size > 0 {
			layout, data = layoutChunks, chunkIndexes|uint32(chunkBits(n.Size))
		}
	case layer.Char, layer.Block:
		data = n.Minor&0xff | n.Major<<8 | n.Minor&^0xff<<12 // new_encode_dev (include/linux/kdev_t.h)
	}
	b := x.out.AvailableBuffer()
	b = append(b, make([]byte, inodeSize)...)
	le := binary.LittleEndian
	le.PutUint16(b[0:], uint16(layout)<<1|1)
	le.PutUint16(b[2:], uint16(xattrCount(n.Entry)))
	le.PutUint16(b[4:], types[n.Type].mode|uint16(n.Mode))
	le.PutUint64(b[8:], size)
	le.PutUint32(b[16:], data)
	le.PutUint32(b[20:], uint32(i)+1)
	le.PutUint32(b[24:], uint32(n.UID))
	le.PutUint32(b[28:], uint32(n.GID))
	le.PutUint64(b[32:], uint64(n.ModTime))
	le.PutUint32(b[44:], in.links+x.more[i])
	x.write(b)
	x.write(appendXattrs(nil, n.Entry))
	switch layout {
	case layoutInline:
		x.data(in, n.Link)
	case layoutChunks:
		x.padTo(align(x.at, chunkSize))
		var c [chunkSize]byte
		le.PutUint16(c[2:], uint16(1+n.Device))
		le.PutUint32(c[4:], uint32(n.Offset>>blockBits))
		x.write(append(x.out.AvailableBuffer(), c[:]...))
	}
}

// chunkBits is the size of the one chunk that a file is, as the power of two of blocks.
func chunkBits(size int64) int { return bits.Len64(uint64(size-1) >> blockBits) }

// data writes what a symbolic link to target or a directory holds.
func (x *writer) data(in *inode, target string) {
	if target != "" {
		x.write([]byte(target))
		return
	}
	x.directory(in)
}

// write writes bytes; an error shows when all is flushed.
func (x *writer) write(p []byte) {
	n, _ := x.out.Write(p)
	x.at += int64(n)
}

var zeros [blockSize]byte

// padTo writes zeros up to an offset.
func (x *writer) padTo(offset int64) {
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
