package explain

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/redact"
	"github.com/strata-build/strata/internal/layer"
)

// maxFiles is how many files are named that changed; the others are counted.
const maxFiles = 5

func isFiles(r Reason) bool { return r.Kind == Files }

// nameFiles names the files that made a COPY or ADD run again, once its new layer is there: both layers' tables of
// contents say what was copied, with the destination's paths. It gives the step's reasons with the names, and false if
// there was nothing to name.
func (e *Explainer) nameFiles(ctx context.Context, m *Miss, made digest.Digest) ([]Reason, bool) {
	i := slices.IndexFunc(m.Step.Reasons, isFiles)
	if i < 0 || m.near == nil {
		return nil, false
	}
	reasons := slices.Clone(m.Step.Reasons)
	r := &reasons[i]
	old, now := e.open(ctx, m.near.Layer), e.open(ctx, made)
	defer old.close()
	defer now.close()
	var differences []difference
	err := errNoLayer
	if old.entries != nil && now.entries != nil {
		differences, r.More, err = diffTOC(old.entries, now.entries, strings.Trim(m.Copied.Dest, "/"))
	}
	if err != nil {
		r.More = 0
		r.Text += "; what it copied before is not on this machine any more"
		return reasons, true
	}
	names := sourceNames(m.Copied)
	for _, d := range differences {
		f := File{Path: names.of(d.path()), Context: m.Copied.Context, Change: d.change(), Detail: d.detail()}
		if d.old != nil && d.now != nil && !redact.IsSecretFile(f.Path) {
			f.Line, f.Lines = diffLines(ctx, old.source, now.source, d.old, d.now)
		}
		r.Files = append(r.Files, f)
	}
	r.Text = summary(r)
	return reasons, true
}

// errNoLayer says that a layer is not on this machine.
var errNoLayer = errors.New("the layer is not here")

// opened is a layer whose files are compared.
type opened struct {
	source  layer.Source                 // nil for a layer without files
	entries func() (*layer.Entry, error) // one after the other; nil if the layer is not here
	close   func() error
}

// open gives a layer that is on this machine: no explanation fetches a layer.
func (e *Explainer) open(ctx context.Context, diffID digest.Digest) opened {
	none := opened{close: func() error { return nil }}
	if diffID == "" || diffID == layer.EmptyDiffID {
		none.entries = (&layer.TOC{}).Each()
		return none
	}
	l, err := e.store.Layer(diffID)
	if err != nil || !l.Present() {
		return none
	}
	entries, err := e.store.Entries(diffID)
	if err != nil {
		if _, err = l.TOC(ctx); err == nil { // which mends it
			entries, err = e.store.Entries(diffID)
		}
	}
	if err != nil {
		return none
	}
	return opened{l.Source(), entries.Next, entries.Close}
}

// difference is a path that two layers differ in; old or now is nil where the layer lacks it.
type difference struct{ old, now *layer.Entry }

func (d difference) path() string {
	if d.now != nil {
		return d.now.Path
	}
	return d.old.Path
}

// copyOf is an entry that stays valid.
func copyOf(e *layer.Entry) *layer.Entry {
	if e == nil {
		return nil
	}
	copied := *e
	return &copied
}

// diffTOC compares two layers of a COPY to dest, whose entries it gets one after the other. The directories that lead
// there are part of both but not of what was copied. It gives the first maxFiles, and how many others there are.
func diffTOC(old, now func() (*layer.Entry, error), dest string) (first []difference, more int, err error) {
	add := func(a, b *layer.Entry) {
		d := difference{a, b}
		if p := d.path(); p == dest || p == "" || strings.HasPrefix(dest, p+"/") {
			if (a == nil || a.Type == layer.Dir) && (b == nil || b.Type == layer.Dir) {
				return
			}
		}
		if len(first) == maxFiles {
			more++
			return
		}
		first = append(first, difference{copyOf(a), copyOf(b)})
	}
	err = layer.MergeEach(old, now, func(a, b *layer.Entry) error {
		if a == nil || b == nil || layer.Differences(a, b)&^uncompared != 0 {
			add(a, b)
		}
		return nil
	})
	return first, more, err
}

// uncompared are attributes that no key of a COPY counts.
const uncompared = layer.AttrTime | layer.AttrOpaque

func (d difference) change() string {
	switch {
	case d.old == nil:
		return "added"
	case d.now == nil:
		return "removed"
	}
	return "changed"
}

// detail says what of an entry changed, if that is not just its contents.
func (d difference) detail() string {
	a, b := d.old, d.now
	if a == nil || b == nil {
		return ""
	}
	differ := layer.Differences(a, b)
	if differ.Has(layer.AttrType) {
		return typeName(a.Type) + " → " + typeName(b.Type)
	}
	var all []string
	if differ.Has(layer.AttrMode) {
		all = append(all, fmt.Sprintf("mode %04o → %04o", a.Mode, b.Mode))
	}
	if differ.Has(layer.AttrOwner) {
		all = append(all, fmt.Sprintf("owner %d:%d → %d:%d", a.UID, a.GID, b.UID, b.GID))
	}
	if differ.Has(layer.AttrLink) {
		all = append(all, fmt.Sprintf("link to %s → %s", human.Quoted(a.Link), human.Quoted(b.Link)))
	}
	if differ.Has(layer.AttrXattrs) {
		all = append(all, "extended attributes")
	}
	if len(all) > 0 && differ.Has(layer.AttrContent) {
		all = append(all, "contents")
	}
	return strings.Join(all, ", ")
}

func typeName(t layer.Type) string {
	switch t {
	case layer.Dir:
		return "directory"
	case layer.File:
		return "file"
	case layer.Symlink:
		return "symbolic link"
	case layer.Hardlink:
		return "hard link"
	case layer.Fifo:
		return "named pipe"
	}
	return "device"
}

// summary is a Files reason on one line.
func summary(r *Reason) string {
	if len(r.Files) == 0 {
		return "its sources select the same files in another way"
	}
	text := r.Files[0].place() + " " + r.Files[0].Change
	if d := r.Files[0].Detail; d != "" {
		text += " (" + d + ")"
	}
	switch n := len(r.Files) - 1 + r.More; {
	case n == 1:
		text += ", and 1 other file"
	case n > 1:
		text += fmt.Sprintf(", and %d other files", n)
	}
	return text
}

// place names the file, fit for a line, with its context if that has a name.
func (f *File) place() string {
	if f.Context == "" {
		return human.Quoted(f.Path)
	}
	return human.Quoted(f.Path) + " of the context " + f.Context
}

// nameMap leads from the paths in the image to those in the context.
type nameMap struct {
	copied   *event.Copied
	selected []event.Selected
	dest     string
}

func sourceNames(c *event.Copied) nameMap {
	return nameMap{c, c.Selection.Selected(), strings.Trim(path.Clean("/"+c.Dest), "/")}
}

// of is the name of a path in the image.
func (n nameMap) of(image string) string {
	if name := n.find(image); name != "" {
		return name
	}
	rest, below := strings.CutPrefix(image, n.dest+"/")
	if n.dest == "" {
		rest, below = image, true
	}
	if dirs := n.dirs(); below && len(dirs) == 1 {
		return path.Join(dirs[0], rest)
	}
	return "/" + image
}

// find is the name of what was copied to a path of the image, the last if several were; "" if nothing was.
func (n nameMap) find(image string) string {
	rest, below := image, true
	if n.dest != "" {
		rest, below = strings.CutPrefix(image, n.dest+"/")
	}
	alone := !n.copied.DestDir && image == n.dest
	for _, s := range slices.Backward(n.selected) {
		switch {
		case s.Dir && below && s.Holds(rest):
			return path.Join(s.Path, rest)
		case !s.Dir && (below && s.Name == rest || alone && len(n.selected) == 1):
			return s.Path
		}
	}
	for _, inline := range n.copied.Inline {
		if below && rest == inline || alone && len(n.selected) == 0 && len(n.copied.Inline) == 1 {
			return "<<" + inline
		}
	}
	return ""
}

// dirs are the directories whose contents were copied; what was removed below the destination came from one of them.
func (n nameMap) dirs() []string {
	var dirs []string
	for _, s := range n.selected {
		if s.Dir {
			dirs = append(dirs, s.Path)
		}
	}
	return dirs
}
