package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// placer is told what happens to the tree while its entries come in, in tar order.
type placer interface {
	// mkdir: a directory is new at a path at which there was nothing.
	mkdir(path string) error
	// remove: all that was placed at a path goes, with what is in it.
	remove(path string) error
	// rename: a file lost its path, but has another by a hard link.
	rename(from, to string) error
}

// noTree is the placer of a scan, which makes no tree.
type noTree struct{}

func (noTree) mkdir(string) error          { return nil }
func (noTree) remove(string) error         { return nil }
func (noTree) rename(string, string) error { return nil }

// maxReplaced bounds how often a tar may replace a directory by something else: each costs a look at all entries.
const maxReplaced = 1000

// maxMoved bounds how many hard links a tar may move by replacing what they share: each costs a look at the others.
const maxMoved = 4 << 20

// maxMetadata bounds the paths, targets and attributes of a tar's entries together, in bytes, and so what they take in
// memory: as much as a table of contents may have. 4 million entries with 120 bytes each are within it.
const maxMetadata = maxEncoded

// assembler turns tar headers into the entries of a TOC. It decides on paths in memory only: parents are resolved
// in the layer (and in below) as a chroot would, so that what it passes on never has a symbolic link for a parent.
// That is what containerd does; refusing would break layers that write to /bin on a base where it is a link.
type assembler struct {
	ctx      context.Context
	names    *names
	links    map[uint32][]uint32 // slot of a File or Symlink → those of the hard links to it
	below    Tree                // may be nil
	place    placer
	replaced int
	moved    int
	metadata int
	lastDir  string // the parent that was resolved last, and from what
	lastName string
	added    *Entry // what add gave last
	slot     uint32 // its slot
}

func newAssembler(ctx context.Context, below Tree, place placer) *assembler {
	return &assembler{ctx: ctx, names: newNames(), links: make(map[uint32][]uint32), below: below, place: place}
}

// assembled is what came together. It ends the assembly.
func (a *assembler) assembled() *Assembled {
	a.settle()
	return newAssembled(a.names)
}

// settle notes what has become known of the entry that add gave last.
func (a *assembler) settle() {
	if e := a.added; e != nil && e.Type == File && (e.Digest != "" || e.Offset != 0) {
		a.names.describe(a.slot, e)
	}
	a.added = nil
}

// add takes a header over. It returns the entry, and nil for what is not an entry of its own: marks, and
// whiteouts of what the layer itself holds. Until the next one, a file may get its Digest and Offset.
func (a *assembler) add(h *tar.Header) (*Entry, error) {
	a.settle()
	e, err := a.header(h)
	if err == nil && e != nil {
		a.added, a.slot = e, a.names.slot(e.Path)
	}
	return e, err
}

func (a *assembler) header(h *tar.Header) (*Entry, error) {
	e, opaque, err := a.parse(h)
	if err != nil || e == nil && !opaque {
		return nil, err
	}
	if a.names.n >= MaxEntries {
		return nil, fmt.Errorf("it has more than the %d entries that strata accepts", MaxEntries)
	}
	if e != nil {
		if err := a.hold(e); err != nil {
			return nil, err
		}
	}
	if opaque {
		return nil, a.markOpaque(h)
	}
	if e.Path != "" {
		dir, err := a.resolve(Parent(e.Path), e.ModTime)
		if err != nil {
			return nil, err
		}
		e.Path = join(dir, e.Path[strings.LastIndexByte(e.Path, '/')+1:])
		if err := checkPath(e.Path); err != nil {
			return nil, err
		}
	}
	return a.put(e)
}

// hold counts what an entry takes in memory.
func (a *assembler) hold(e *Entry) error {
	a.metadata += len(e.Path) + len(e.Link)
	for _, x := range e.Xattrs {
		a.metadata += len(x.Name) + len(x.Value)
	}
	if a.metadata > maxMetadata {
		return fmt.Errorf("with it the names and attributes have more than the %d bytes that strata accepts", maxMetadata)
	}
	return nil
}

// parse makes an entry of a header; its path is clean, but may lead through links.
func (a *assembler) parse(h *tar.Header) (e *Entry, opaque bool, err error) {
	path, err := cleanPath(h.Name)
	if err != nil {
		return nil, false, err
	}
	e = &Entry{Path: path, Mode: uint32(h.Mode & 0o7777), UID: h.Uid, GID: h.Gid, ModTime: h.ModTime.Unix()}
	dir, name := Parent(path), path[strings.LastIndexByte(path, '/')+1:]
	switch {
	case path == "" && h.Typeflag != tar.TypeDir:
		return nil, false, nil // what would take the place of the root is passed over, as in Docker and containerd
	case name == opaqueName:
		return nil, true, nil
	case strings.HasPrefix(path, whiteoutMetaPrefix) || strings.Contains(path, "/"+whiteoutMetaPrefix):
		return nil, false, nil // aufs's own bookkeeping, as in Docker
	case strings.HasPrefix(name, whiteoutPrefix):
		e = &Entry{Path: join(dir, name[len(whiteoutPrefix):]), Type: Whiteout}
		return e, false, e.check()
	}
	switch h.Typeflag {
	//lint:ignore SA1019 old tars have TypeRegA
	case tar.TypeReg, tar.TypeRegA, tar.TypeGNUSparse, tar.TypeCont:
		e.Type, e.Size = File, h.Size
	case tar.TypeDir:
		e.Type = Dir
	case tar.TypeSymlink:
		e.Type, e.Link, e.Mode = Symlink, h.Linkname, 0o777
	case tar.TypeLink:
		e.Type = Hardlink
		if e.Link, err = cleanPath(h.Linkname); err != nil {
			return nil, false, fmt.Errorf("hard link: %w", err)
		}
	case tar.TypeChar, tar.TypeBlock:
		e.Type = Char
		if h.Typeflag == tar.TypeBlock {
			e.Type = Block
		}
		if h.Devmajor < 0 || h.Devminor < 0 || h.Devmajor >= 1<<12 || h.Devminor >= 1<<20 {
			return nil, false, fmt.Errorf("device number %d:%d is out of range", h.Devmajor, h.Devminor)
		}
		e.Major, e.Minor = uint32(h.Devmajor), uint32(h.Devminor)
		if e.Type == Char && e.Major == 0 && e.Minor == 0 { // overlayfs would take it for what it is there
			e = &Entry{Path: path, Type: Whiteout}
		}
	case tar.TypeFifo:
		e.Type = Fifo
	case tar.TypeXGlobalHeader:
		return nil, false, nil
	default:
		return nil, false, fmt.Errorf("it has the type %q, which no layer can hold", h.Typeflag)
	}
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, xattrRecord); ok && keptXattr(name) && e.Type != Hardlink && e.Type != Whiteout {
			e.Xattrs = append(e.Xattrs, Xattr{name, value})
		}
	}
	slices.SortFunc(e.Xattrs, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	if err := checkXattrs(e.Xattrs); err != nil {
		return nil, false, err
	}
	return e, false, e.check()
}

// cleanPath makes a path of a name in a tar. A leading "/" and "." components are dropped, as tar does, and ".."
// takes away the component before it, as in Docker; a name that leads out of the root is refused.
func cleanPath(name string) (string, error) {
	if len(name) > MaxPath {
		return "", fmt.Errorf("the name has %d bytes, more than the %d that Linux allows", len(name), MaxPath)
	}
	if strings.IndexByte(name, 0) >= 0 {
		return "", errors.New("the name holds a zero byte")
	}
	clean := make([]byte, 0, len(name))
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			if len(clean) == 0 {
				return "", fmt.Errorf("the name %q leads out of the layer", clip(name))
			}
			clean = clean[:max(0, bytes.LastIndexByte(clean, '/'))]
			continue
		case len(strings.TrimPrefix(part, whiteoutPrefix)) > MaxName: // the longest name can be deleted too
			return "", fmt.Errorf("the name %q has a part of %d bytes, more than the %d that Linux allows", clip(name), len(part), MaxName)
		}
		if len(clean) > 0 {
			clean = append(clean, '/')
		}
		clean = append(clean, part...)
	}
	return string(clean), nil
}

// markOpaque marks the directory that holds an opaque mark.
func (a *assembler) markOpaque(h *tar.Header) error {
	path, err := cleanPath(h.Name)
	if err != nil {
		return err
	}
	dir, err := a.resolve(Parent(path), h.ModTime.Unix())
	if err != nil {
		return err
	}
	if dir == "" && !a.names.has(0) {
		if err := a.names.put(a.impliedDir("", h.ModTime.Unix())); err != nil {
			return err
		}
	}
	a.names.set(a.names.slot(dir), flagOpaque)
	return nil
}

// put sets the entry of a path. A later entry replaces an earlier one; a whiteout only ever concerns the layers below.
func (a *assembler) put(e *Entry) (*Entry, error) {
	if strings.HasPrefix(a.lastName, e.Path) {
		a.lastName = ""
	}
	old := a.names.get(e.Path)
	anew := false
	switch {
	case old == nil:
	case old.Type == Dir && e.Type == Dir:
		e.Opaque = old.Opaque
		return e, a.names.putDirAgain(e)
	case e.Type == Whiteout:
		if old.Type == Dir {
			a.names.set(a.names.slot(e.Path), flagOpaque)
		}
		return nil, nil
	case old.Type == Whiteout:
		e.Opaque = e.Type == Dir
		a.names.delete(a.names.slot(e.Path))
	default:
		if err := a.remove(old); err != nil {
			return nil, err
		}
		anew = e.Type == Dir
	}
	if e.Type == Hardlink {
		linked, err := a.link(e)
		if err != nil {
			return nil, err
		}
		e = linked
	}
	if err := a.names.put(e); err != nil {
		return nil, err
	}
	if anew {
		a.names.set(a.names.slot(e.Path), flagAnew)
	}
	if e.Type == Dir && e.Path != "" {
		return e, a.place.mkdir(e.Path)
	}
	return e, nil
}

// link finds the target of a hard link in this layer, or else copies it from below, as overlayfs would do for link(2).
func (a *assembler) link(e *Entry) (*Entry, error) {
	path, err := a.find(e.Link)
	if err != nil {
		return nil, fmt.Errorf("hard link to %q: %w", clip(e.Link), err)
	}
	target := a.names.get(path)
	if target != nil && target.Type == Hardlink {
		path = target.Link
		target = a.names.get(path)
	}
	switch {
	case path == e.Path:
		return nil, errors.New("it is a hard link to itself")
	case target == nil && a.below != nil:
		source, err := a.below.Lookup(a.ctx, path)
		if err == nil && source.Type == File {
			linked := *source
			linked.Path, linked.Link, linked.Offset = e.Path, path, 0 // Link tells the unpacker what to copy
			return &linked, nil
		}
		fallthrough
	case target == nil:
		return nil, fmt.Errorf("it is a hard link to %q, which the layer does not hold at this point", clip(e.Link))
	case target.Type == Dir || target.Type == Whiteout:
		return nil, fmt.Errorf("it is a hard link to %q, which is not a file", clip(e.Link))
	}
	e.Link = path
	at := a.names.slot(path)
	a.links[at] = append(a.links[at], a.names.ensure(e.Path))
	return e, nil
}

// remove takes an entry away, with all that it holds.
func (a *assembler) remove(e *Entry) error {
	a.lastDir, a.lastName = "", ""
	gone := []uint32{a.names.slot(e.Path)}
	if e.Type == Dir {
		if a.replaced++; a.replaced > maxReplaced {
			return fmt.Errorf("it is one of more than %d directories that the tar has twice, the second time as something else", maxReplaced)
		}
		gone = append(gone, a.names.within(gone[0])...)
	}
	for _, slot := range gone {
		a.names.delete(slot)
	}
	for _, slot := range gone {
		if err := a.unlink(slot); err != nil {
			return err
		}
	}
	if e.Type == Dir || e.Type == File {
		return a.place.remove(e.Path)
	}
	return nil
}

// unlink mends the hard links that an entry which was just deleted took part in.
func (a *assembler) unlink(slot uint32) error {
	to := a.names.target(slot)
	if a.moved += len(a.links[slot]) + len(a.links[to]); a.moved > maxMoved {
		return fmt.Errorf("with it the tar replaces files that have other hard links more than %d times", maxMoved)
	}
	if to != noSlot {
		a.links[to] = slices.DeleteFunc(a.links[to], func(s uint32) bool { return s == slot })
		return nil
	}
	all := a.links[slot]
	delete(a.links, slot)
	var left []uint32
	for _, s := range all {
		if a.names.has(s) && a.names.target(s) == slot {
			left = append(left, s)
		}
	}
	if len(left) == 0 {
		return nil
	}
	from, first := a.names.path(slot), a.names.path(left[0])
	if a.names.kind(slot) == File {
		if err := a.place.rename(from, first); err != nil {
			return err
		}
	}
	moved := a.names.entry(slot, first) // not before rename, which waits until the contents are written and summed
	if err := a.names.put(moved); err != nil {
		return err
	}
	for _, s := range left[1:] {
		link := a.names.entry(s, a.names.path(s))
		link.Link = first
		if err := a.names.put(link); err != nil {
			return err
		}
		a.links[left[0]] = append(a.links[left[0]], s)
	}
	return nil
}
