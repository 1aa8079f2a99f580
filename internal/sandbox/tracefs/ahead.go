package tracefs

import (
	"slices"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
)

// A step that walks through all that is there (find, cp -r, a compiler on a tree of sources) would wait for an answer
// for each name and each file. Where it has looked up nearly all names that it listed so far, it is given the
// attributes of what is in a directory with the list of names (READDIRPLUS). So it is where it has listed all before (a
// glob of the shell) and looks up nearly all names of each directory that it comes to: then the process that has the
// layers served lists the directory once more (listing.go). Where it has read nearly all files that it looked up, it
// gets their contents too (NOTIFY_STORE). What is given ahead counts as asked, which such a step would have done; a
// step that asks for little is never given more than it asks for.

// habit is how much of what a step was offered it has taken.
type habit struct {
	mu      sync.Mutex
	offered int
	taken   int
	skipped int // how often likely has said yes since it last said no
}

// habitual is how much has to have been taken before it is a habit. It is less in tests.
var habitual = 200

// Bounds of habits.
const (
	// forgets is of how much that was offered and may have been taken half is forgotten.
	forgets = 4096
	// probe is one in how many is not given ahead, to see whether it is still asked for.
	probe = 16
)

func (h *habit) offer(n int) { h.note(n, 0) }

func (h *habit) take() { h.note(0, 1) }

func (h *habit) note(offered, taken int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.offered, h.taken = h.offered+offered, h.taken+taken
}

// likely says that what is offered next will be taken. pending is how much of what was offered may still be taken.
func (h *habit) likely(pending int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	settled := h.offered - pending
	if settled > forgets {
		h.offered, h.taken = h.offered-settled/2, h.taken/2
		settled -= settled / 2
	}
	if h.taken < habitual || h.taken*10 < settled*9 || h.skipped == probe-1 {
		h.skipped = 0
		return false
	}
	h.skipped++
	return true
}

// The largest file whose contents are given ahead, in bytes; how many directories may wait for something to be given;
// and at how many a step is at a time: a compiler that runs twice is at two.
const (
	maxAhead   = 256 << 10
	maxWaiting = 64
	maxAt      = 2
)

// ahead gives a step what it is going to ask for.
type ahead struct {
	names habit // of those in directories that it lists, which it looks up
	walks habit // of those in directories that it looks a name up in, which it looks up
	files habit // of those that it looked up, which it reads

	mu   sync.Mutex
	dirs map[uint64]*listed
	at   []*listed // which it came to last

	lists    chan directory // that are to be listed again
	contents chan directory // whose files' contents are to be given ahead
}

// listed is a directory that a step has listed.
type listed struct {
	missing int  // how many of its names were not looked up yet
	entered bool // one was
	again   bool // it is listed again, in full
	full    bool // its names come with attributes
	unread  bool // the kernel has all of them, and no file in it was read since
}

// directory is one of a layer.
type directory struct {
	layer *servedLayer
	node  int
}

// pending is how many names come behind this one in the directories that it is in: who walks through them is not there
// yet.
func (d directory) pending() (names int) {
	v := d.layer.recorder.View()
	for n := d.node; n != 0; n = v.Parent(n) {
		children := v.Children(v.Parent(n))
		at, _ := slices.BinarySearch(children, int32(n))
		names += len(children) - at - 1
	}
	return names
}

// unread is how many files in the directory were looked up, by the kernel or ahead, and not read.
func (d directory) unread() (files int) {
	v := d.layer.recorder.View()
	for _, child := range v.Children(d.node) {
		n := v.Inode(int(child))
		if e := v.Entry(n); e.Type == layer.File && e.Size > 0 &&
			d.layer.recorder.Asked(n)&(observed.LookedUp|observed.Read) == observed.LookedUp {
			files++
		}
	}
	return files
}

// notLookedUp is how many names in the directory nobody asked for.
func (d directory) notLookedUp() (names int) {
	for _, child := range d.layer.recorder.View().Children(d.node) {
		if d.layer.recorder.Asked(int(child))&observed.LookedUp == 0 {
			names++
		}
	}
	return names
}

func newAhead() *ahead {
	return &ahead{
		dirs:     map[uint64]*listed{},
		lists:    make(chan directory, maxWaiting),
		contents: make(chan directory, maxWaiting),
	}
}

// begin notes that a directory is listed from its beginning, and decides how.
func (a *ahead) begin(id uint64, d directory) {
	likely := a.names.likely(d.pending())
	missing := d.notLookedUp()
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.dirs[id]
	if p == nil {
		p = &listed{}
		a.dirs[id] = p
	}
	if p.entered {
		a.walks.offer(missing - p.missing)
	}
	p.missing, p.full, p.unread = missing, p.again || likely, false
	switch {
	case p.full && p.entered: // what is missing is given ahead
		a.walks.offer(-missing)
		p.missing = 0
	case !p.full && d.layer.recorder.Asked(d.node)&observed.Listed == 0:
		a.names.offer(len(d.layer.recorder.View().Children(d.node)))
	}
}

// full says that the names in a directory come with their attributes.
func (a *ahead) full(id uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.dirs[id]
	return p != nil && p.full
}

// end notes that a directory was listed to its end.
func (a *ahead) end(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.dirs[id]; p != nil {
		p.unread = p.full
	}
}

// read notes that a file in a directory is read. If it is the first, the others may be given ahead: the kernel has
// their names now.
func (a *ahead) read(id uint64, d directory) {
	a.mu.Lock()
	p := a.dirs[id]
	first := p != nil && p.unread
	if first {
		p.unread = false
	}
	a.mu.Unlock()
	if !first || !a.files.likely(d.unread()) {
		return
	}
	select {
	case a.contents <- d:
	default: // the step is faster
	}
}

// walk notes that a name in a directory was looked up for the first time. A directory that the step comes to, and has
// listed before, may be listed again for it.
func (a *ahead) walk(id uint64, d directory) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.dirs[id]
	if p == nil || p.full {
		return
	}
	comes := !p.entered
	if comes {
		p.entered = true
		a.walks.offer(p.missing)
		if a.at = append(a.at, p); len(a.at) > maxAt {
			a.at = a.at[1:]
		}
	}
	if p.missing > 0 {
		p.missing--
		a.walks.take()
	}
	if !comes {
		return
	}
	pending := 0
	for _, at := range a.at {
		pending += at.missing
	}
	if !a.walks.likely(pending) {
		return
	}
	select {
	case a.lists <- d:
		p.again = true
	default:
	}
}

// lookedUp notes that a name was looked up, by the kernel or ahead.
func (a *ahead) lookedUp(l *servedLayer, n int, before observed.Questions) {
	if before&observed.LookedUp != 0 {
		return
	}
	if e := l.recorder.View().Entry(n); e.Type == layer.File && e.Size > 0 {
		a.files.offer(1)
	}
}

// readAll gives the kernel the contents of the files in directories, until there are no more.
func (fs *fileSystem) readAll(server *fuse.Server) {
	buf := make([]byte, maxAhead)
	for d := range fs.ahead.contents {
		v := d.layer.recorder.View()
		for _, child := range v.Children(d.node) {
			n := v.Inode(int(child))
			if !fs.readAhead(server, d.layer, n, buf) {
				break
			}
		}
	}
}

// readAhead gives the kernel the contents of one file; false if it does not take any.
func (fs *fileSystem) readAhead(server *fuse.Server, l *servedLayer, n int, buf []byte) bool {
	if l.lazy { // nothing is brought that nobody reads
		return false
	}
	e := l.recorder.View().Entry(n)
	if e.Type != layer.File || e.Size == 0 || e.Size > maxAhead || l.recorder.Asked(n)&observed.Read != 0 {
		return true
	}
	got, err := l.files.readAt(e, buf[:e.Size], 0)
	if err != nil {
		return false // whoever reads it is told
	}
	if server.InodeNotifyStoreCache(fs.id(l, n), 0, buf[:got]) != fuse.OK {
		return false
	}
	if l.recorder.Ask(n, observed.Read)&observed.Read == 0 {
		fs.ahead.files.take()
	}
	return true
}

// ReadDirPlus is ReadDir with the attributes of what the step is going to look up.
func (fs *fileSystem) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	l, dir := fs.node(in.NodeId)
	if l == nil {
		return fuse.OK
	}
	v := l.recorder.View()
	children := v.Children(dir)
	if in.Offset == 0 {
		fs.ahead.begin(in.NodeId, directory{l, dir})
	}
	l.recorder.Ask(dir, observed.Listed)
	full := fs.ahead.full(in.NodeId)
	end := uint64(len(children)) + 2
	if in.Offset >= end {
		fs.ahead.end(in.NodeId)
	}
	for i := in.Offset; i < end; i++ {
		e, n := fs.dirEntry(l, dir, children, i)
		entry := out.AddDirLookupEntry(e)
		if entry == nil {
			break
		}
		if n >= 0 && full {
			fs.ahead.lookedUp(l, n, l.recorder.Ask(n, observed.LookedUp))
			entry.SetEntryTimeout(valid)
			fs.fill(l, n, entry)
		}
	}
	return fuse.OK
}

// dirEntry is what is at a place in the list of a directory: "." and ".." come first. n is its node, -1 for those.
func (fs *fileSystem) dirEntry(l *servedLayer, dir int, children []int32, i uint64) (e fuse.DirEntry, n int) {
	v := l.recorder.View()
	e = fuse.DirEntry{Off: i + 1, Mode: typeOf(layer.Dir)}
	switch i {
	case 0:
		e.Name, e.Ino = ".", fs.id(l, dir)
		return e, -1
	case 1:
		e.Name, e.Ino = "..", fs.id(l, v.Parent(dir))
		return e, -1
	}
	n = int(children[i-2])
	e.Name, e.Ino, e.Mode = v.Name(n), fs.id(l, v.Inode(n)), typeOf(v.Entry(n).Type)
	return e, n
}

// close ends what gives something ahead. Nobody asks any more.
func (a *ahead) close() {
	close(a.lists)
	close(a.contents)
}
