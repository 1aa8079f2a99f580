// Package observed knows what a step read of layers, and says whether other layers would have answered the same.
//
// A step whose layers are served to overlayfs by package tracefs asks for names, contents and lists. Each answer
// follows from a layer's table of contents alone. Inputs are the questions with a digest of each answer; where other
// layers give the same answers to the same questions, the step would do the same on them. docs/observed.md tells the
// rules.
package observed

import (
	"crypto/sha256"
	"encoding/binary"
	"sort"
	"strings"
	"sync/atomic"

	"github.com/strata-build/strata/internal/layer"
)

// Aspect is a part of what a layer answers, of which some are switched off by a test (see Without).
type Aspect uint16

// The aspects of answers.
const (
	Content Aspect = 1 << iota // the bytes of a file
	Kind                       // type and size; the numbers of a device
	Mode
	Owner
	Opaque  // that a directory hides what is below it
	Absence // that there is nothing of a name
	Listing // the names in a directory
	Types   // of the names in a directory that is listed
	Target  // where a symbolic link leads
	Xattrs  // extended attributes
	Names   // which names are hard links of one file
	Within  // what is in a directory that counts as a whole
)

// ignored are the aspects that do not count; none, except in the test that sees whether each of them is needed.
var ignored atomic.Uint32

// Without makes an aspect count for nothing, and returns what takes that back. Only the property test calls it: it has
// to find a wrong hit then.
func Without(a Aspect) (restore func()) {
	ignored.Store(uint32(a))
	return func() { ignored.Store(0) }
}

func counts(a Aspect) bool { return ignored.Load()&uint32(a) == 0 }

// View is a layer as overlayfs sees it: a tree of nodes by number, with the directories that the table of contents
// implies. The root is 0. It does not change.
type View struct {
	nodes []node
	files int
}

type node struct {
	entry    *layer.Entry // of a hard link, that of the file
	name     string
	parent   int32
	inode    int32   // the node that has the file's contents; itself unless it is a hard link
	children []int32 // by name
	names    []int32 // of a file with several names, all of them
	implied  bool
}

// NewView makes the view of a layer.
func NewView(t *layer.TOC) *View {
	v := &View{nodes: make([]node, 0, len(t.Entries)+8)}
	v.nodes = append(v.nodes, node{entry: &layer.Entry{Type: layer.Dir, Mode: 0o755}, implied: true})
	open := []int32{0} // the directories that hold the current entry
	at := make(map[string]int32)
	linked := false
	for _, e := range t.Entries {
		if e.Path == "" {
			v.nodes[0].entry, v.nodes[0].implied = e, false
			continue
		}
		for len(open) > 1 && !within(e.Path, v.nodes[open[len(open)-1]].entry.Path) {
			open = open[:len(open)-1]
		}
		for {
			dir := open[len(open)-1]
			rest := e.Path[len(v.nodes[dir].entry.Path):]
			name, more, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
			if more == "" {
				break
			}
			path := e.Path[:len(e.Path)-len(more)-1]
			open = append(open, v.add(dir, node{entry: &layer.Entry{Path: path, Type: layer.Dir, Mode: 0o755, ModTime: e.ModTime}, name: name, implied: true}))
		}
		dir := open[len(open)-1]
		n := v.add(dir, node{entry: e, name: e.Path[strings.LastIndexByte(e.Path, '/')+1:]})
		switch e.Type {
		case layer.Dir:
			open = append(open, n)
		case layer.Hardlink:
			linked = true
		case layer.File:
			v.files++
		}
	}
	if !linked {
		return v
	}
	for i := range v.nodes {
		at[v.nodes[i].entry.Path] = int32(i)
	}
	for i := range v.nodes {
		n := &v.nodes[i]
		if n.entry.Type != layer.Hardlink {
			continue
		}
		to, ok := at[n.entry.Link]
		if !ok {
			continue
		}
		file := &v.nodes[to]
		if len(file.names) == 0 {
			file.names = []int32{to}
		}
		file.names = append(file.names, int32(i))
		n.inode = to
	}
	for i := range v.nodes {
		if n := &v.nodes[i]; n.inode != int32(i) {
			n.names = v.nodes[n.inode].names
		}
	}
	return v
}

func (v *View) add(parent int32, n node) int32 {
	i := int32(len(v.nodes))
	n.parent, n.inode = parent, i
	v.nodes = append(v.nodes, n)
	v.nodes[parent].children = append(v.nodes[parent].children, i)
	return i
}

// within says whether path is somewhere in the directory dir.
func within(path, dir string) bool {
	return len(path) > len(dir) && path[len(dir)] == '/' && strings.HasPrefix(path, dir)
}

// Len is the number of nodes.
func (v *View) Len() int { return len(v.nodes) }

// Files is the number of regular files, each inode once.
func (v *View) Files() int { return v.files }

// Entry is what the layer has at a node; of a hard link, at the file that it is a name of. Of a directory that is
// implied it is one with mode 0755 that belongs to root.
func (v *View) Entry(n int) *layer.Entry { return v.nodes[v.nodes[n].inode].entry }

// Implied says that the layer has no entry for a directory: what shows of it is what the layers below have there.
func (v *View) Implied(n int) bool { return v.nodes[n].implied }

// Inode is the node that has the contents of a file: itself, unless it is a hard link.
func (v *View) Inode(n int) int { return int(v.nodes[n].inode) }

// Links is the number of names of a file.
func (v *View) Links(n int) int { return max(1, len(v.nodes[n].names)) }

// Children are the nodes in a directory, by name.
func (v *View) Children(n int) []int32 { return v.nodes[n].children }

// Name is the last component of a node's path.
func (v *View) Name(n int) string { return v.nodes[n].name }

// Path is where a node is, as layer.Entry has paths.
func (v *View) Path(n int) string {
	if e := v.nodes[n].entry; n == 0 || e.Path != "" {
		return e.Path
	}
	return ""
}

// Parent is the directory that a node is in; the root is its own.
func (v *View) Parent(n int) int { return int(v.nodes[n].parent) }

// Child is the node of a name in a directory; false if there is none.
func (v *View) Child(dir int, name string) (int, bool) {
	c := v.nodes[dir].children
	i := sort.Search(len(c), func(i int) bool { return v.nodes[c[i]].name >= name })
	if i < len(c) && v.nodes[c[i]].name == name {
		return int(c[i]), true
	}
	return 0, false
}

// Find is the node at a path; false if there is none.
func (v *View) Find(path string) (int, bool) {
	at := 0
	for rest := path; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		n, ok := v.Child(at, name)
		if !ok {
			return 0, false
		}
		at = n
	}
	return at, true
}

// Sum is a digest of an answer: the first 16 bytes of a sha256.
type Sum [16]byte

// appendAnswer appends what a look-up of a node tells, in a form in which no two answers are alike. A file's contents
// count as soon as its name was looked up: a program may go by a time, which is another when the contents are.
func (v *View) appendAnswer(b []byte, n int) []byte {
	str := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	num := func(x uint64) { b = binary.AppendUvarint(b, x) }
	at := &v.nodes[n]
	if at.implied {
		return append(b, 'i')
	}
	e := v.Entry(n)
	if counts(Kind) {
		b = append(b, byte(e.Type))
	}
	if counts(Mode) {
		num(uint64(e.Mode))
	}
	if counts(Owner) {
		num(uint64(e.UID))
		num(uint64(e.GID))
	}
	if counts(Kind) {
		num(uint64(e.Size))
		num(uint64(e.Major))
		num(uint64(e.Minor))
	}
	if counts(Opaque) && e.Opaque {
		b = append(b, 'o')
	}
	if counts(Content) {
		str(string(e.Digest))
	}
	if counts(Target) && e.Type == layer.Symlink {
		str(e.Link)
	}
	if counts(Xattrs) {
		num(uint64(len(e.Xattrs)))
		for _, x := range e.Xattrs {
			str(x.Name)
			str(x.Value)
		}
	}
	if counts(Names) {
		num(uint64(len(at.names)))
		for _, i := range at.names {
			str(v.nodes[i].entry.Path)
		}
	}
	return b
}

// appendListing appends the names in a directory and their types.
func (v *View) appendListing(b []byte, n int) []byte {
	if !counts(Listing) {
		return b
	}
	for _, c := range v.nodes[n].children {
		name := v.nodes[c].name
		b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
		if counts(Types) {
			b = append(b, byte(v.Entry(int(c)).Type))
		}
	}
	return b
}

// appendWhole appends all that is at a node and in it.
func (v *View) appendWhole(b []byte, n int) []byte {
	name := v.nodes[n].name
	b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
	b = v.appendAnswer(b, n)
	if !counts(Within) {
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(v.nodes[n].children)))
	for _, c := range v.nodes[n].children {
		b = v.appendWhole(b, int(c))
	}
	return b
}

// sum is the digest of the answers that a node gives to questions.
func (v *View) sum(n int, asked Questions) Sum {
	var b []byte
	switch {
	case asked&Whole != 0:
		b = v.appendWhole([]byte{'w'}, n)
	case asked&Listed != 0:
		b = v.appendListing(v.appendAnswer([]byte{'l'}, n), n)
	default:
		b = v.appendAnswer([]byte{'a'}, n)
	}
	full := sha256.Sum256(b)
	return Sum(full[:16])
}
