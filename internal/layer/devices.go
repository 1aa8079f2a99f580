package layer

// Ordinary says whether an entry is a file, a directory or a link: no device, no named pipe and no whiteout.
func (e *Entry) Ordinary() bool {
	switch e.Type {
	case Dir, File, Symlink, Hardlink:
		return true
	}
	return false
}

// Ordinary is the table without what is not Ordinary, and the hard links to that.
func (t *TOC) Ordinary() (*TOC, error) {
	var kept []*Entry
	for _, e := range t.Entries {
		if e.Ordinary() && (e.Type != Hardlink || t.Lookup(e.Link).Ordinary()) {
			kept = append(kept, e)
		}
	}
	return NewTOC(kept)
}
