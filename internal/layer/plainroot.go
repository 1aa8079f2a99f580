package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"
)

// Where nothing can be mounted, a merged state is laid out as plain files. What a step changed in them is found by a
// scan: a file that is the inode that it was, with the ctime that it had, is not read. Everything else is compared with
// the state's table of contents, as what an overlay copies up is.

// fact is what tells of a file that nobody changed it: the kernel gives a new ctime with each change of contents or
// attributes, and no call sets it. A directory's changes with what it holds: there it is the time of birth.
type fact struct {
	inode uint64
	time  unix.StatxTimestamp
	mtime unix.StatxTimestamp
}

// Facts are those of all files of a root, by their paths.
type Facts struct{ of map[string]fact }

// PlainRoot writes a merged state into the empty directory dir. Each name of a file is a file of its own: a change
// shows under that name only, as it would in an overlay.
func PlainRoot(ctx context.Context, s *Stack, dir string) error {
	var entries []*Entry
	err := s.Walk(ctx, "", func(e *Entry) error {
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return err
	}
	return Materialise(ctx, &TOC{Entries: entries}, FileSource{Open: s.Open}, dir)
}

// AddToPlainRoot puts a layer into a directory in which the state below it is laid out. s is the merged state with it.
func AddToPlainRoot(ctx context.Context, t *TOC, s *Stack, dir string) error {
	root, err := openRoot(dir)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	tr := newTree(root)
	defer tr.close()
	changed := map[string]bool{} // directories that get their attributes in the end
	for _, e := range t.Entries {
		changed[e.Path] = e.Type == Dir
		if e.Path != "" {
			changed[Parent(e.Path)] = true
			if err := addOver(ctx, tr, e, s); err != nil {
				return fmt.Errorf("laying out %q: %w", clip(e.Path), err)
			}
		}
	}
	var dirs []string
	for path, is := range changed {
		if is {
			dirs = append(dirs, path)
		}
	}
	slices.SortFunc(dirs, Compare)
	for _, path := range slices.Backward(dirs) {
		e, err := s.Lookup(ctx, path)
		if err != nil {
			return err
		}
		if err := tr.directory(e); err != nil {
			return err
		}
	}
	return nil
}

// addOver puts one entry of a layer in its place.
func addOver(ctx context.Context, tr *tree, e *Entry, s *Stack) error {
	at, name, err := tr.parent(e.Path)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	err = unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	here := err == nil
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if here && !(e.Type == Dir && !e.Opaque && st.Mode&unix.S_IFMT == unix.S_IFDIR) {
		if err := tr.remove(e.Path); err != nil {
			return err
		}
		here = false
	}
	switch {
	case e.Type == Whiteout || here:
		return nil
	case e.Type == Dir:
		return tr.mkdir(e.Path)
	}
	shown, err := s.Lookup(ctx, e.Path) // a hard link as the file that it is
	if err != nil {
		return err
	}
	if shown.Type == File {
		return FileSource{Open: s.Open}.file(ctx, tr, shown)
	}
	return tr.special(shown)
}

// FactsOf are the facts of what is in a directory.
func FactsOf(ctx context.Context, dir string) (Facts, error) {
	facts := Facts{map[string]fact{}}
	root, err := openRoot(dir)
	if err != nil {
		return facts, err
	}
	defer unix.Close(root)
	w := &plainWalk{ctx: ctx, facts: facts}
	return facts, w.list(root, ".", "", func(at int, name, path string, st *unix.Statx_t) error {
		w.note(path, st)
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return w.again(at, name, path)
		}
		return nil
	})
}

// Newest is the latest ctime that is known of a file: what is changed later in the same tick of the clock cannot be
// told from it.
func (f Facts) Newest() unix.StatxTimestamp {
	var newest unix.StatxTimestamp
	for _, one := range f.of {
		if one.time.Sec > newest.Sec || one.time.Sec == newest.Sec && one.time.Nsec > newest.Nsec {
			newest = one.time
		}
	}
	return newest
}

// DiffPlainRoot says what was changed in a directory since it had the facts: the table of the layer that lies on below.
// It is the table of an overlay's upper directory in which the same was changed. Sockets are removed, as no layer holds
// them.
func DiffPlainRoot(ctx context.Context, dir string, below *Stack, known Facts) (*TOC, Facts, error) {
	now := Facts{make(map[string]fact, len(known.of))}
	root, err := openRoot(dir)
	if err != nil {
		return nil, now, err
	}
	defer unix.Close(root)
	d := &plainDiff{
		plainWalk: plainWalk{ctx: ctx, facts: now}, below: below, known: known,
		upper: upperWalk{ctx: ctx, below: below, inodes: map[inode]string{}},
	}
	t, err := d.table(root)
	if err != nil {
		return nil, now, fmt.Errorf("reading changes in %s: %w", dir, err)
	}
	return t, now, nil
}

// plainWalk goes through a directory and notes facts.
type plainWalk struct {
	ctx   context.Context
	facts Facts
	each  func(at int, name, path string, st *unix.Statx_t) error
}

func (w *plainWalk) note(path string, st *unix.Statx_t) fact {
	f := fact{st.Ino, st.Ctime, st.Mtime}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		f.time, f.mtime = st.Btime, unix.StatxTimestamp{} // Btime is zero where the file system keeps none
	}
	w.facts.of[path] = f
	return f
}

// list calls each for what is in the directory name of the open directory at.
func (w *plainWalk) list(at int, name, path string, each func(at int, name, path string, st *unix.Statx_t) error) error {
	w.each = each
	return w.again(at, name, path)
}

func (w *plainWalk) again(at int, name, path string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	f, names, err := listAt(at, name, path)
	if err != nil {
		return err
	}
	defer f.Close()
	fd := int(f.Fd())
	for _, name := range names {
		var st unix.Statx_t
		if err := unix.Statx(fd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_DONT_SYNC, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
			return &fs.PathError{Op: "stat", Path: join(path, name), Err: err}
		}
		if err := w.each(fd, name, join(path, name), &st); err != nil {
			return err
		}
	}
	return nil
}

// plainDiff collects what an overlay's upper directory would hold.
type plainDiff struct {
	plainWalk
	below *Stack
	known Facts
	upper upperWalk // makes entries of files
	dirs  []dirTime
	// fresh is the directory, made anew, that is walked; "" for none.
	fresh string
}

// dirTime is a directory whose time is not the one that the state below has.
type dirTime struct {
	path string
	was  int64
}

func (d *plainDiff) table(root int) (*TOC, error) {
	if err := d.root(root); err != nil {
		return nil, err
	}
	if err := d.list(root, ".", "", d.entry); err != nil {
		return nil, err
	}
	if err := d.gone(); err != nil {
		return nil, err
	}
	t, err := NewTOC(d.upper.entries)
	if err != nil {
		return nil, err
	}
	c := newUpperComparer(d.ctx, root, d.below)
	c.sameTime = func(path string) (bool, error) { return d.known.of[path].mtime == d.facts.of[path].mtime, nil }
	if t.Entries, _, err = c.part(t.Entries); err != nil {
		return nil, err
	}
	return t, d.resetTimes(root, t)
}

// root adds the root where it is not as below.
func (d *plainDiff) root(root int) error {
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		return err
	}
	e := statEntry("", &st)
	xattrs, _, err := readXattrs(atPath(root, "."))
	if err != nil {
		return err
	}
	e.Xattrs = Built(xattrs)
	below, err := d.upper.lookup("")
	if err != nil {
		return err
	}
	if below == nil || !sameDir(e, below) {
		d.upper.entries = append(d.upper.entries, e)
	}
	if below != nil && below.ModTime != e.ModTime {
		d.dirs = append(d.dirs, dirTime{"", below.ModTime})
	}
	return nil
}

// entry adds what may have been changed.
func (d *plainDiff) entry(at int, name, path string, st *unix.Statx_t) error {
	if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
		return unix.Unlinkat(at, name, 0)
	}
	f := d.note(path, st)
	before, known := d.known.of[path]
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	fresh := d.fresh != "" && Within(path, d.fresh)
	if known && before == f && !fresh && !isDir {
		return nil
	}
	var full unix.Stat_t
	if err := unix.Fstatat(at, name, &full, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if !isDir {
		return d.upper.entry(at, name, path, false)
	}
	e := statEntry(path, &full)
	xattrs, _, err := readXattrs(atPath(at, name))
	if err != nil {
		return fmt.Errorf("%q: %w", clip(path), err)
	}
	e.Xattrs = Built(xattrs)
	d.upper.entries = append(d.upper.entries, e)
	outer := d.fresh
	if !fresh && (!known || before != f) {
		d.fresh = path
		below, err := d.upper.lookup(path)
		if err != nil {
			return err
		}
		if below != nil && below.Type == Dir {
			hidden, err := d.below.ReadDir(d.ctx, path)
			if err != nil {
				return err
			}
			e.Opaque = len(hidden) > 0
		}
	} else if !fresh {
		below, err := d.upper.lookup(path)
		if err != nil {
			return err
		}
		if below != nil && below.ModTime != e.ModTime {
			d.dirs = append(d.dirs, dirTime{path, below.ModTime})
		}
	}
	err = d.again(at, name, path)
	d.fresh = outer
	return err
}

// gone adds a whiteout for each path of the state below that is there no more, unless its directory is not, or hides
// it.
func (d *plainDiff) gone() error {
	hides := map[string]bool{}
	for _, e := range d.upper.entries {
		if e.Type != Dir || e.Opaque {
			hides[e.Path] = true
		}
	}
	return d.below.Walk(d.ctx, "", func(e *Entry) error {
		if e.Path == "" {
			return nil
		}
		if _, ok := d.facts.of[e.Path]; !ok {
			d.upper.entries = append(d.upper.entries, &Entry{Path: e.Path, Type: Whiteout})
			return skipIn(e)
		}
		if hides[e.Path] {
			return skipIn(e)
		}
		return nil
	})
}

// skipIn leaves out what a directory holds.
func skipIn(e *Entry) error {
	if e.Type == Dir {
		return fs.SkipDir
	}
	return nil
}

// resetTimes gives directories that the layer does not have the times of the state, which is what the next step sees.
func (d *plainDiff) resetTimes(root int, t *TOC) error {
	tr := newTree(root)
	defer tr.close()
	for _, dir := range d.dirs {
		if t.Lookup(dir.path) != nil {
			continue
		}
		at, name := root, "."
		if dir.path != "" {
			var err error
			if at, name, err = tr.parent(dir.path); err != nil {
				return err
			}
		}
		if err := setTime(at, name, &Entry{Path: dir.path, ModTime: dir.was}); err != nil {
			return err
		}
	}
	return nil
}
