package view

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/style"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/timeline"
)

// Du tells where an image's bytes are.
type Du struct {
	Image      string    `json:"image"`
	Stored     int64     `json:"stored"` // bytes of the files of all layers
	Hidden     int64     `json:"hidden"` // bytes of them that later layers hide
	Efficiency float64   `json:"efficiency"`
	Layers     []DuLayer `json:"layers"` // the newest first
	// Root is the directory that Dirs and its size tell of, with a slash in front.
	Root   string    `json:"root"`
	Size   int64     `json:"size"`
	Dirs   []DuDir   `json:"dirs"`
	Wastes []DuWaste `json:"wastes,omitempty"` // the largest first
}

// DuLayer is what one layer holds.
type DuLayer struct {
	Culprit
	Stored int64 `json:"stored"`
	Hidden int64 `json:"hidden"` // of Stored
}

// DuDir is a file or directory of the image as it is at last, with all that is in it.
type DuDir struct {
	Path  string `json:"path"`
	Size  int64  `json:"size"`
	Files int    `json:"files"`
	Dir   bool   `json:"dir"`
	depth int
}

// DuWaste is what one step hides of what another one's layer holds, in one way.
type DuWaste struct {
	By     Culprit `json:"by"`     // the step that wastes
	Of     Culprit `json:"of"`     // the step whose layer holds the bytes
	Change string  `json:"change"` // removed, changed or written
	Detail string  `json:"detail,omitempty"`
	Bytes  int64   `json:"bytes"`
	Files  int     `json:"files"`
	// Paths are the largest, with a slash in front.
	Paths  []string `json:"paths"`
	Advice string   `json:"advice"`
}

// DuOptions say what Du lists.
type DuOptions struct {
	Path  string // directory to list, "" for the root
	Depth int    // how deep directories are listed; below 1 is 1
	// Largest is how many entries are listed of each directory; 0 for all.
	Largest int
}

// NewDu makes the account of an image.
func NewDu(ctx context.Context, im *anatomy.Image, o DuOptions) (*Du, error) {
	t, err := im.Timeline(ctx)
	if err != nil {
		return nil, err
	}
	return DuOf(im, t, o)
}

// DuOf makes the account of an image whose timeline is known.
func DuOf(im *anatomy.Image, t *timeline.Timeline, o DuOptions) (*Du, error) {
	top := t.Layers() - 1
	root, err := t.Resolve(o.Path, top)
	if err != nil {
		return nil, err
	}
	if e, ok := t.StateAt(max(root, 0), top); root == timeline.None || !ok || e.Kind == timeline.Removed {
		return nil, fmt.Errorf("%s: %w in %s", human.Quoted(o.Path), fs.ErrNotExist, im.Text)
	}
	report := timeline.FindWaste(t)
	d := &Du{Image: im.Text, Stored: report.Stored, Hidden: report.Bytes, Efficiency: report.Efficiency(), Root: "/" + t.Path(root)}
	hidden := make([]int64, t.Layers())
	for _, it := range report.Items {
		hidden[it.Layer] += it.Size
	}
	for i := top; i >= 0; i-- {
		d.Layers = append(d.Layers, DuLayer{CulpritOf(im, i), t.Stats(i).Stored, hidden[i]})
	}
	d.addDirs(t, root, top, o)
	d.addWastes(im, t, report)
	return d, nil
}

// addDirs lists what can be seen below a directory. A directory has a lower number than what it holds.
func (d *Du) addDirs(t *timeline.Timeline, root timeline.Node, top int, o DuOptions) {
	sizes, files := make([]int64, t.Len()), make([]int32, t.Len())
	links := countedLinks(t, top)
	for n := timeline.Node(t.Len() - 1); n > timeline.Root; n-- {
		v, ok := t.StateAt(n, top)
		if !ok || v.Kind == timeline.Removed {
			continue
		}
		if v.Type != layer.Dir {
			files[n]++
		}
		if v.Stored || links[n] {
			sizes[n] += v.Size
		}
		parent := t.Parent(n)
		sizes[parent] += sizes[n]
		files[parent] += files[n]
	}
	d.Size = sizes[root]
	var add func(dir timeline.Node, depth int)
	add = func(dir timeline.Node, depth int) {
		var list []timeline.Node
		for n := range t.Children(dir) {
			if v, ok := t.StateAt(n, top); ok && v.Kind != timeline.Removed {
				list = append(list, n)
			}
		}
		slices.SortStableFunc(list, func(a, b timeline.Node) int { return cmp.Compare(sizes[b], sizes[a]) })
		if o.Largest > 0 && len(list) > o.Largest {
			list = list[:o.Largest]
		}
		for _, n := range list {
			v, _ := t.StateAt(n, top)
			d.Dirs = append(d.Dirs, DuDir{"/" + t.Path(n), sizes[n], int(files[n]), v.Type == layer.Dir, depth})
			if depth < o.Depth {
				add(n, depth+1)
			}
		}
	}
	add(root, 1)
}

// countedLinks are the hard links at which a file is counted because its first path, where its layer has it, is gone.
func countedLinks(t *timeline.Timeline, top int) map[timeline.Node]bool {
	type file struct {
		layer int
		node  timeline.Node
	}
	counted, links := map[file]bool{}, map[timeline.Node]bool{}
	for _, l := range t.HardLinks() {
		v, _ := t.StateAt(l.Node, top)
		first, _ := t.StateAt(l.To, top)
		switch f := (file{l.Layer, l.To}); {
		case v.Layer != l.Layer || v.Kind == timeline.Removed: // it is gone itself
		case first.Layer == l.Layer && first.Stored, counted[f]:
		default:
			counted[f], links[l.Node] = true, true
		}
	}
	return links
}

// shownPaths is how many paths of each waste are named.
const shownPaths = 3

// addWastes groups what is hidden by who hides it, and of whom.
func (d *Du) addWastes(im *anatomy.Image, t *timeline.Timeline, r *timeline.Waste) {
	type group struct {
		by, of int
		kind   timeline.Kind
		what   layer.Attributes
	}
	byGroup := map[group]*DuWaste{}
	var order []group
	for _, it := range r.Items {
		g := group{it.By, it.Layer, it.Kind, it.What &^ layer.AttrTime}
		w := byGroup[g]
		if w == nil {
			w = &DuWaste{By: CulpritOf(im, it.By), Of: CulpritOf(im, it.Layer), Change: change(it.Kind), Detail: g.what.String()}
			byGroup[g] = w
			order = append(order, g)
		}
		w.Bytes += it.Size
		w.Files++
		if len(w.Paths) < shownPaths {
			w.Paths = append(w.Paths, "/"+t.Path(it.Node))
		}
	}
	for _, g := range order {
		w := byGroup[g]
		w.Advice = advice(w, g.what, baseLayers(im))
		d.Wastes = append(d.Wastes, *w)
	}
	slices.SortStableFunc(d.Wastes, func(a, b DuWaste) int { return cmp.Compare(b.Bytes, a.Bytes) })
}

// baseLayers is how many layers the base image has.
func baseLayers(im *anatomy.Image) int {
	for i := im.BaseRow(); i >= 0; i-- {
		if l := im.Rows[i].Layer; l >= 0 {
			return l + 1
		}
	}
	return 0
}

// Print prints the account.
func (d *Du) Print(p *Printer) {
	p.line("%s  %s in %d layers, %s of it hidden by later layers: %.1f %% can be seen", p.paint(style.Bold, human.Clean(d.Image)), human.Size(d.Stored),
		len(d.Layers), human.Size(d.Hidden), 100*d.Efficiency)
	p.line("")
	p.line("LAYER         %8s  %8s  INSTRUCTION", "SIZE", "HIDDEN")
	for _, l := range d.Layers {
		hidden := "-"
		if l.Hidden > 0 {
			hidden = human.Size(l.Hidden)
		}
		p.line("%s  %8s  %s  %s", p.paint(style.Yellow, shortID(l.DiffID)), human.Size(l.Stored), p.tint(ifAny(l.Hidden, "removed"), fmt.Sprintf("%8s", hidden)), p.room(34, human.Clean(l.Instruction)))
	}
	p.line("")
	p.line("%8s  %6s  %s", "SIZE", "FILES", "PATH")
	p.line("%8s  %6s  %s", human.Size(d.Size), "", human.Quoted(d.Root))
	for _, e := range d.Dirs {
		name, count := human.Quoted(e.Path), ""
		if e.Dir {
			count = fmt.Sprint(e.Files)
		}
		p.line("%8s  %6s  %*s%s", human.Size(e.Size), count, 2*(e.depth-1), "", name)
	}
	for i, w := range d.Wastes {
		p.line("")
		if i == maxWastes {
			p.line("%d more are smaller; --json has them all", len(d.Wastes)-i)
			return
		}
		w.print(p)
	}
}

// maxWastes is how many wastes are printed.
const maxWastes = 10

func ifAny(n int64, text string) string {
	if n == 0 {
		return ""
	}
	return text
}

func (w *DuWaste) print(p *Printer) {
	verb := map[string]string{"removed": "removes", "changed": "writes again (" + w.Detail + ")", "written": "writes again, unchanged,", "added": "replaces"}[w.Change]
	files := "1 file"
	if w.Files > 1 {
		files = fmt.Sprintf("%d files", w.Files)
	}
	p.line("%s  %s %s", p.paint(style.Red, human.Size(w.Bytes)), p.paint(style.Yellow, shortID(w.By.ID)), p.room(20, human.Clean(w.By.Instruction)))
	p.line("    %s %s of layer %d, step %s: %s", verb, files, w.Of.Layer, p.paint(style.Yellow, shortID(w.Of.ID)), p.room(50, human.Clean(w.Of.Instruction)))
	for _, path := range w.Paths {
		p.line("        %s", human.Quoted(path))
	}
	if w.Files > len(w.Paths) {
		p.line("        …")
	}
	p.line("    → %s", w.Advice)
}
