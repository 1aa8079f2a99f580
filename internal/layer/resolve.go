package layer

import (
	"errors"
	"fmt"
	"strings"
)

// resolve gives the directory that a path leads to in a chroot at the layer's root, and makes those directories
// that are missing: with the metadata of the one below, which they would otherwise hide, or as 0755 0:0.
func (a *assembler) resolve(path string, modTime int64) (string, error) {
	if path == a.lastName && path != "" {
		return a.lastDir, nil
	}
	if path == "" || a.names.is(a.names.slot(path), Dir) {
		return path, nil // where a path has an entry, its parents are real directories
	}
	dir, err := a.walk(path, func(at string, e *Entry) (*Entry, error) {
		switch {
		case e == nil || e.Type == Whiteout:
			implied := a.impliedDir(at, modTime)
			if implied.Type == Symlink {
				return implied, nil
			}
			implied.Opaque = e != nil
			if err := a.hold(implied); err != nil {
				return nil, err
			}
			if err := a.names.put(implied); err != nil {
				return nil, err
			}
			a.names.set(a.names.slot(at), flagImplied)
			return implied, a.place.mkdir(at)
		case e.Type == Dir || e.Type == Symlink:
			return e, nil
		}
		return nil, fmt.Errorf("its parent %q is not a directory", clip(at))
	})
	if err == nil {
		a.lastName, a.lastDir = path, dir
	}
	return dir, err
}

// find is resolve for the target of a hard link, whose parents must be there; the last component is not followed.
func (a *assembler) find(path string) (string, error) {
	if a.names.has(a.names.slot(path)) {
		return path, nil
	}
	dir, err := a.walk(Parent(path), func(at string, e *Entry) (*Entry, error) {
		if e == nil && a.below != nil {
			e = a.impliedDir(at, 0)
		}
		if e == nil || e.Type != Dir && e.Type != Symlink {
			return nil, errors.New("the layer does not hold it at this point")
		}
		return e, nil
	})
	if err != nil {
		return "", err
	}
	return join(dir, path[strings.LastIndexByte(path, '/')+1:]), nil
}

// walk follows a path. visit sees each component's path and entry and returns a Dir or a Symlink.
func (a *assembler) walk(path string, visit func(at string, e *Entry) (*Entry, error)) (string, error) {
	return Follow(path, func(at, _ string) (string, error) {
		if err := checkPath(at); err != nil {
			return "", err
		}
		e, err := visit(at, a.names.get(at))
		if err != nil || e.Type == Dir {
			return "", err
		}
		return e.Link, nil
	})
}

// impliedDir is the directory, or link to one, that a path of which the layer says nothing leads to.
func (a *assembler) impliedDir(path string, modTime int64) *Entry {
	if a.below != nil && !a.hidden(path) {
		e, err := a.below.Lookup(a.ctx, path)
		if err == nil && (e.Type == Dir || e.Type == Symlink) {
			return &Entry{Path: path, Type: e.Type, Mode: e.Mode, UID: e.UID, GID: e.GID, ModTime: e.ModTime, Link: e.Link, Xattrs: e.Xattrs}
		}
	}
	return &Entry{Path: path, Type: Dir, Mode: 0o755, ModTime: modTime}
}

// hidden says whether the layer keeps what is below at a path from showing.
func (a *assembler) hidden(path string) bool {
	if a.names.is(a.names.slot(path), Whiteout) {
		return true
	}
	for path != "" {
		path = Parent(path)
		if slot := a.names.slot(path); a.names.has(slot) && a.names.record(slot)[flagsAt]&flagOpaque != 0 {
			return true
		}
	}
	return false
}
