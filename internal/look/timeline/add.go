package timeline

import (
	"errors"
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/strata-build/strata/internal/layer"
)

// Add puts a layer on top. each calls its argument for every entry of the layer's table of contents, in canonical order; what
// it calls it with need not live longer than the call. After an error the Timeline is of no use.
func (t *Timeline) Add(each func(func(*layer.Entry) error) error) error {
	if len(t.stats) == maxLayers {
		return fmt.Errorf("the image has more than %d layers", maxLayers)
	}
	t.stats = append(t.stats, Stats{})
	t.mu.Lock()
	t.index = nil
	t.mu.Unlock()
	a := adder{Timeline: t, layer: uint16(len(t.stats) - 1), open: []place{{Root, None}}}
	if err := each(a.entry); err != nil {
		return err
	}
	return a.resolveLinks()
}

// adder adds a layer. As its entries come in canonical order, a directory's children are met in the order in which they
// are linked, and each look-up goes on from where the one before it ended.
type adder struct {
	*Timeline
	layer uint16
	open  []place // the directories that lead to the last entry, the root first
	path  string  // of the last of them
}

// place is a directory, and the child that was met last in it, None before the first.
type place struct {
	dir, met Node
}

func (a *adder) entry(e *layer.Entry) error {
	if a.Len() > 1<<30 || a.events.len() > 1<<30 || a.text.full() {
		return errors.New("the image has too many files to be shown")
	}
	if e.Path == "" {
		return a.put(Root, e)
	}
	dir, name := layer.Parent(e.Path), e.Path[strings.LastIndexByte(e.Path, '/')+1:]
	a.enter(dir)
	n, found := a.child(name, e.Type != layer.Whiteout)
	if !found && e.Type == layer.Whiteout {
		return nil // it hides nothing
	}
	if e.Type == layer.Whiteout {
		a.removeAll(n)
		return nil
	}
	return a.put(n, e)
}

// enter makes dir the last of the open directories.
func (a *adder) enter(dir string) {
	for !within(dir, a.path) {
		a.open = a.open[:len(a.open)-1]
		a.path = layer.Parent(a.path)
	}
	rest := dir[len(a.path):]
	for rest = strings.TrimPrefix(rest, "/"); rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		n, _ := a.child(name, true)
		if e := a.newest(n); e == nil || e.kind == Removed || e.typ != layer.Dir {
			// Parents that no layer has an entry for are as package layer's Stack shows them.
			a.happened(n, event{typ: layer.Dir, mode: 0o755, owner: a.owner(0, 0), flags: implied})
		}
		a.open = append(a.open, place{n, None})
		a.path = join(a.path, name)
	}
}

// within says whether path is dir, or below it.
func within(path, dir string) bool {
	return dir == "" || path == dir || len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// child finds or makes the child of the directory that was entered.
func (a *adder) child(name string, create bool) (n Node, found bool) {
	p := &a.open[len(a.open)-1]
	before, at := p.met, None
	if before == None {
		at = a.nodes.at(int(p.dir)).child
	} else {
		if a.Name(before) == name {
			return before, true
		}
		at = a.nodes.at(int(before)).next
	}
	for at != None {
		c := strings.Compare(a.Name(at), name)
		if c == 0 {
			p.met = at
			return at, true
		}
		if c > 0 {
			break
		}
		before, at = at, a.nodes.at(int(at)).next
	}
	p.met = before
	if !create {
		return None, false
	}
	n = Node(a.nodes.push(node{
		name: a.text.push(name), length: uint8(len(name)), parent: p.dir, child: None, next: at, last: -1,
	}))
	if before == None {
		a.nodes.at(int(p.dir)).child = n
	} else {
		a.nodes.at(int(before)).next = n
	}
	p.met = n
	return n, false
}

func (a *adder) newest(n Node) *event {
	if i := a.nodes.at(int(n)).last; i >= 0 {
		return a.events.at(int(i))
	}
	return nil
}

// put notes an entry of the layer.
func (a *adder) put(n Node, e *layer.Entry) error {
	if e.Type != layer.Dir || e.Opaque {
		a.removeBelow(n)
	}
	v := event{typ: e.Type, mode: uint16(e.Mode), owner: a.owner(e.UID, e.GID), size: e.Size, time: e.ModTime}
	switch e.Type {
	case layer.File:
		v.content = a.hash(string(e.Digest))
	case layer.Symlink:
		v.content = a.hash(e.Link)
		v.link = a.text.push(string([]byte{byte(len(e.Link) >> 8), byte(len(e.Link))}) + e.Link)
	case layer.Char, layer.Block:
		v.content = uint64(e.Major)<<32 | uint64(e.Minor)
	case layer.Hardlink:
		// Its target comes before it, as the first path of a file is the one that has the contents.
		v.typ, v.flags = layer.File, hardlink
		a.links = append(a.links, pendingLink{e.Link, n, v})
		return nil
	}
	if e.Opaque {
		v.flags |= opaque
	}
	for _, x := range e.Xattrs {
		v.xattrs = v.xattrs*31 + uint32(a.hash(x.Name+"\x00"+x.Value)|1)
	}
	a.happened(n, v)
	return nil
}

// resolveLinks gives hard links the size and contents of their targets.
func (a *adder) resolveLinks() error {
	for _, l := range a.links {
		target := a.Find(l.target)
		if target == None || a.newest(target) == nil || a.newest(target).layer != a.layer {
			return fmt.Errorf("a hard link leads to /%s, which the layer does not hold; the image is damaged: get it again", l.target)
		}
		to := a.newest(target)
		l.event.size, l.event.content, l.event.xattrs, l.event.typ, l.event.link = to.size, to.content, to.xattrs, to.typ, to.link
		a.happened(l.node, l.event)
		a.shared = append(a.shared, HardLink{int(a.layer), l.node, target})
	}
	a.links = nil
	return nil
}

// happened appends an event, whose kind it finds out, and counts it.
func (a *adder) happened(n Node, v event) {
	d := a.nodes.at(int(n))
	before := d.last
	if before >= 0 && a.events.at(int(before)).layer == a.layer {
		// The layer itself took the path away a moment ago: an opaque directory above, or another kind of file there.
		removed := a.events.at(int(before))
		a.count(removed, -1)
		v.layer, v.prev = a.layer, removed.prev
		a.compare(&v)
		*removed = v
		a.count(removed, +1)
		return
	}
	v.layer, v.prev = a.layer, before
	a.compare(&v)
	d.last = a.events.push(v)
	a.count(&v, +1)
}

// compare finds out an event's kind.
func (a *adder) compare(v *event) {
	if v.prev < 0 || a.events.at(int(v.prev)).kind == Removed {
		v.kind = Added
		return
	}
	w := Differs(a.event(a.events.at(int(v.prev))), a.event(v))
	v.kind, v.what = Changed, w
	if w&^layer.AttrTime == 0 {
		v.kind = Kept
	}
}

// count adds an event to the layer's numbers, or takes it back.
func (a *adder) count(v *event, by int) {
	s := &a.stats[a.layer]
	if v.kind != Removed && v.typ == layer.File && v.flags&hardlink == 0 {
		s.Stored += int64(by) * v.size
	}
	switch {
	case v.kind == Kept:
	case v.typ == layer.Dir:
		s.Dirs += by
	case v.kind == Added:
		s.Added += by
	case v.kind == Changed:
		s.Changed += by
	case v.kind == Removed:
		s.Removed += by
	}
}

// removeBelow notes that what a directory holds is gone.
func (a *adder) removeBelow(n Node) {
	for c := a.nodes.at(int(n)).child; c != None; c = a.nodes.at(int(c)).next {
		a.removeAll(c)
	}
}

// removeAll notes that a path and all below it are gone.
func (a *adder) removeAll(n Node) {
	a.Walk(n, func(n Node) bool {
		i := a.nodes.at(int(n)).last
		if i < 0 {
			return true
		}
		v := *a.events.at(int(i))
		if v.kind == Removed {
			return false
		}
		v.kind, v.what, v.layer, v.prev = Removed, 0, a.layer, i
		a.nodes.at(int(n)).last = a.events.push(v)
		a.count(&v, +1)
		return true
	})
}

func (a *adder) owner(uid, gid int) uint32 {
	o := owner{uid, gid}
	id, ok := a.byID[o]
	if !ok {
		id = uint32(len(a.owners))
		a.owners = append(a.owners, o)
		a.byID[o] = id
	}
	return id
}

func (a *adder) hash(s string) uint64 { return maphash.String(seed(), s) }
