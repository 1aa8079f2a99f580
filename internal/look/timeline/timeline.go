// Package timeline holds what every layer of an image did to every path: one tree of all paths that ever were, and
// for each of them its events, layer by layer. The tree at any layer, what a layer changed, who put a file there and what
// is wasted are all read off it.
//
// It is made from the layers' tables of contents in one pass, in which nothing of these is kept. A path takes about 24 bytes and its
// name, an event 48: a million files are 90 MB, where their tables of contents would be 300 MB.
package timeline

import (
	"hash/maphash"
	"iter"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/strata-build/strata/internal/layer"
)

// Kind is what a layer did to a path.
type Kind byte

// The kinds, as the sign that people see.
const (
	Added   Kind = '+' // was not there below
	Changed Kind = '~' // was there, and differs in something; see What
	Removed Kind = '-' // was there, and is not any more
	// Kept is an entry of the layer that is as it was, but perhaps for its time: the parents of what changed, and files
	// that were written again with the same contents.
	Kept Kind = '='
)

// Event is what one layer did to one path.
type Event struct {
	Layer int // counted from the lowest, which is 0
	Kind  Kind
	What  layer.Attributes // of Changed and Kept: in what it differs from the one before
	// The rest is the entry as the layer leaves it; of Removed, as it was before.
	Type     layer.Type // never Hardlink or Whiteout
	Hardlink bool       // it shares its contents with another path of the layer, where they are counted
	Opaque   bool       // a directory through which nothing of the layers below shows
	Mode     uint32
	UID, GID int
	Size     int64 // of files, in bytes
	ModTime  int64 // seconds since 1970
	Link     string

	content uint64
	xattrs  uint32
}

// seed is the same for all Timelines of a process, so that their events can be compared.
var seed = sync.OnceValue(maphash.MakeSeed)

// Differs says in what a path differs in two states, of one image or of two; the time alone is no difference that counts.
// Contents are compared by hashes of their digests in 64 bits: of a million files that differ, one is taken for equal with
// a probability of 1 to 18 million million.
func Differs(before, after Event) layer.Attributes {
	a, b := before.plain(), after.plain()
	d := layer.Differences(&a, &b)
	if before.Type == after.Type && after.Type != layer.Symlink && before.content != after.content {
		d |= layer.AttrContent
	}
	if before.xattrs != after.xattrs {
		d |= layer.AttrXattrs
	}
	return d
}

// plain is what an Event holds of the entry as it was there; of contents and extended attributes it has hashes.
func (e *Event) plain() layer.Entry {
	return layer.Entry{Type: e.Type, Mode: e.Mode, UID: e.UID, GID: e.GID, Size: e.Size, ModTime: e.ModTime, Link: e.Link}
}

// Stored is how many bytes the layer itself holds for this event.
func (e Event) Stored() int64 {
	if e.Type != layer.File || e.Hardlink || e.Kind == Removed {
		return 0
	}
	return e.Size
}

// Node is a path of a Timeline.
type Node int32

// None is no path.
const None Node = -1

// Root is the root directory.
const Root Node = 0

// Timeline is made by New, and by Add for each layer, the lowest first. After that it can be read by several goroutines.
type Timeline struct {
	nodes  chunks[node]
	events chunks[event]
	text   text // names, and where links lead
	owners []owner
	byID   map[owner]uint32
	stats  []Stats

	links  []pendingLink // of the layer that is being added
	shared []HardLink

	mu    sync.Mutex
	index map[Node][]Node // what large directories hold, for Find
}

type owner struct{ uid, gid int }

// node is a path: its name, and its place in the tree. Siblings are in the order of their names.
type node struct {
	name        uint32 // where it begins in text
	length      uint8  // NAME_MAX is 255
	parent      Node
	child, next Node
	last        int32 // its newest event, -1 for none
}

// event is an Event in 48 bytes.
type event struct {
	size, time int64
	content    uint64 // hash of digest, link or device numbers
	prev       int32  // the event before of the same path, -1 for none
	owner      uint32 // index in owners
	xattrs     uint32 // hash, 0 for none
	link       uint32 // where the target begins in text, after its length in two bytes; 0 for none
	layer      uint16
	mode       uint16
	kind       Kind
	what       layer.Attributes
	typ        layer.Type
	flags      uint8
}

const (
	hardlink = 1 << iota
	opaque
	implied // a parent that no layer has an entry for
)

// pendingLink is a hard link whose target is looked up when the layer is complete.
type pendingLink struct {
	target string
	node   Node
	event  event
}

// Stats is what a layer did, in numbers. Directories are not counted, but for Dirs.
type Stats struct {
	Added, Changed, Removed int
	Dirs                    int   // directories that were added, changed or removed
	Stored                  int64 // bytes of the layer's files, each inode once
}

// maxLayers is how many layers a Timeline holds; images have at most 127 that Docker can mount.
const maxLayers = math.MaxUint16

// New returns a Timeline without layers: nothing but a root directory.
func New() *Timeline {
	t := &Timeline{byID: map[owner]uint32{}}
	t.text.push("\x00") // so that 0 is nowhere
	t.nodes.push(node{parent: None, child: None, next: None, last: -1})
	return t
}

// Layers is the number of layers.
func (t *Timeline) Layers() int { return len(t.stats) }

// Stats returns what a layer did in numbers.
func (t *Timeline) Stats(layer int) Stats { return t.stats[layer] }

// Len is the number of paths, the root included.
func (t *Timeline) Len() int { return t.nodes.len() }

// Name is the last component of the node's path; "" of the root.
func (t *Timeline) Name(n Node) string {
	d := t.nodes.at(int(n))
	return string(t.text.at(d.name, int(d.length)))
}

// Path is the node's path as in layer.Entry: "usr/bin/env", "" for the root.
func (t *Timeline) Path(n Node) string {
	var names []string
	for ; n != Root; n = t.Parent(n) {
		names = append(names, t.Name(n))
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// Parent is the directory that holds a node; None of the root.
func (t *Timeline) Parent(n Node) Node { return t.nodes.at(int(n)).parent }

// Children gives what a directory ever held, in the order of the names.
func (t *Timeline) Children(n Node) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for c := t.nodes.at(int(n)).child; c != None; c = t.nodes.at(int(c)).next {
			if !yield(c) {
				return
			}
		}
	}
}

// Find returns the node of a path as in layer.Entry; None if no layer ever had it. Links are not followed. The first look into a
// directory takes time in proportion to its size.
func (t *Timeline) Find(path string) Node {
	n := Root
	for path != "" && n != None {
		var name string
		name, path, _ = strings.Cut(path, "/")
		n = t.childNamed(n, name)
	}
	return n
}

// childNamed looks in a directory by bisection, for which it lists large ones.
func (t *Timeline) childNamed(dir Node, name string) Node {
	t.mu.Lock()
	defer t.mu.Unlock()
	list, ok := t.index[dir]
	if !ok {
		list = slices.Collect(t.Children(dir))
		if len(list) > 16 {
			if t.index == nil {
				t.index = map[Node][]Node{}
			}
			t.index[dir] = list
		}
	}
	i, ok := slices.BinarySearchFunc(list, name, func(n Node, name string) int { return strings.Compare(t.Name(n), name) })
	if !ok {
		return None
	}
	return list[i]
}

// Events gives what happened to a path, the newest first.
func (t *Timeline) Events(n Node) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for i := t.nodes.at(int(n)).last; i >= 0; {
			e := t.events.at(int(i))
			if !yield(t.event(e)) {
				return
			}
			i = e.prev
		}
	}
}

// At returns a path's newest event in a layer or in those below it; false if there is none. A path is there, in the state
// up to that layer, if the event is not Removed. The root is always there.
func (t *Timeline) At(n Node, top int) (Event, bool) {
	for i := t.nodes.at(int(n)).last; i >= 0; {
		e := t.events.at(int(i))
		if int(e.layer) <= top {
			return t.event(e), true
		}
		i = e.prev
	}
	if n == Root {
		return Event{Layer: -1, Kind: Added, Type: layer.Dir, Mode: 0o755}, true
	}
	return Event{}, false
}

// event makes an Event.
func (t *Timeline) event(e *event) Event {
	o := t.owners[e.owner]
	out := Event{
		Layer: int(e.layer), Kind: e.kind, What: e.what, Type: e.typ,
		Hardlink: e.flags&hardlink != 0, Opaque: e.flags&opaque != 0,
		Mode: uint32(e.mode), UID: o.uid, GID: o.gid, Size: e.size, ModTime: e.time,
		content: e.content, xattrs: e.xattrs,
	}
	if e.link != 0 {
		n := t.text.at(e.link, 2)
		out.Link = string(t.text.at(e.link+2, int(n[0])<<8|int(n[1])))
	}
	return out
}

// HardLink is a path that shares the contents of another one of its layer, where they are counted.
type HardLink struct {
	Layer    int
	Node, To Node
}

// HardLinks are those of all layers, the lowest first.
func (t *Timeline) HardLinks() []HardLink { return t.shared }

// Walk calls fn for a node and all that is or was below it, parents before children, in the order of the names; with false
// fn leaves out what is below.
func (t *Timeline) Walk(n Node, fn func(Node) bool) {
	for top := n; ; {
		if child := t.nodes.at(int(n)).child; fn(n) && child != None {
			n = child
			continue
		}
		for n != top && t.nodes.at(int(n)).next == None {
			n = t.Parent(n)
		}
		if n == top {
			return
		}
		n = t.nodes.at(int(n)).next
	}
}

// State is At without what has to be looked up elsewhere, for those who ask about every path.
type State struct {
	Layer  int
	Kind   Kind
	Type   layer.Type
	Size   int64
	Stored bool // the layer itself holds the bytes
}

// StateAt is a path's newest State in a layer or in those below it; false if there is none.
func (t *Timeline) StateAt(n Node, top int) (State, bool) {
	for i := t.nodes.at(int(n)).last; i >= 0; {
		e := t.events.at(int(i))
		if int(e.layer) <= top {
			return State{int(e.layer), e.kind, e.typ, e.size, e.typ == layer.File && e.flags&hardlink == 0 && e.kind != Removed}, true
		}
		i = e.prev
	}
	if n == Root {
		return State{Layer: -1, Kind: Added, Type: layer.Dir}, true
	}
	return State{}, false
}
