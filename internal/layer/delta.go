package layer

// Delta lists what has to lie on top of the tree that below lists for overlayfs to show the one that t lists: what
// same does not find equal, the directories that lead to it, and whiteouts for what is gone. It is empty if all is
// equal. same compares two entries of one path, as Differences does. The entries of the delta are t's own.
//
// Of a file with several names all are taken where one is, so that they stay one file.
func Delta(below, t *TOC, same func(a, b *Entry) bool) (*TOC, error) {
	d := delta{leads: map[string]bool{}, files: map[string]bool{}}
	for old, now := range MergeTOCs(below, t) {
		switch {
		case now == nil:
			d.gone(old)
		case old == nil:
			d.take(now)
		case !same(old, now):
			d.replace(old, now)
		}
	}
	return NewTOC(append(d.chosen(t), d.whiteouts...))
}

type delta struct {
	leads     map[string]bool // directories that something of the delta is in
	files     map[string]bool // what else is taken, by the first of its names
	whiteouts []*Entry
	hidden    *Entry // what hides all that lies below its path
}

// gone notes that a path is there no more; a whiteout hides all that was in it.
func (d *delta) gone(e *Entry) {
	d.files[firstName(e)] = true
	if d.hidden != nil && Within(e.Path, d.hidden.Path) {
		return
	}
	d.hidden = &Entry{Path: e.Path, Type: Whiteout}
	d.whiteouts = append(d.whiteouts, d.hidden)
	d.lead(e.Path)
}

func (d *delta) replace(old, now *Entry) {
	d.files[firstName(old)] = true
	if old.Type == Dir && now.Type != Dir {
		d.hidden = now
	}
	d.take(now)
}

func (d *delta) take(e *Entry) {
	d.files[firstName(e)] = true
	d.lead(e.Path)
}

// lead notes the directories that a path is in.
func (d *delta) lead(path string) {
	for path != "" {
		if path = Parent(path); d.leads[path] {
			return
		}
		d.leads[path] = true
	}
}

// chosen are the entries of t that belong to the delta.
func (d *delta) chosen(t *TOC) []*Entry {
	var all []*Entry
	for _, e := range t.Entries {
		if d.files[firstName(e)] {
			d.lead(e.Path)
		}
	}
	for _, e := range t.Entries {
		if d.files[firstName(e)] || d.leads[e.Path] && e.Type == Dir {
			all = append(all, e)
		}
	}
	return all
}

// firstName is what the names of one file have in common.
func firstName(e *Entry) string {
	if e.Type == Hardlink {
		return e.Link
	}
	return e.Path
}
