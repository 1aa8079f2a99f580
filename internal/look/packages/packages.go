// Package packages tells which packages an image has, out of what its layers hold of them: of each the layer and the
// instruction that brought it, and of each layer the packages that it added, upgraded and removed. What is read of files is the
// business of layer/packages.
package packages

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/packages"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/timeline"
	"github.com/strata-build/strata/internal/look/view"
)

// Inventory is what an image has installed.
type Inventory struct {
	Image        string        `json:"image"` // as the person named it
	ID           digest.Digest `json:"id"`
	Distribution *Distribution `json:"distribution,omitempty"` // nil of an image without an os-release
	// Packages are in the order of manager, name, version and path. One that is there in several places comes several times.
	Packages []Package `json:"packages"`
	// Layers are those that added, upgraded or removed packages, the lowest first.
	Layers []Layer `json:"layers,omitempty"`
	// Unread are the lists that are there and could not be read; what they list is not in Packages.
	Unread []Unread `json:"unread,omitempty"`
}

// Package is a package of an image.
type Package struct {
	packages.Package
	Ecosystem string `json:"ecosystem,omitempty"` // OSV's name of it: Debian:12, PyPI; "" where OSV has none
	PURL      string `json:"purl"`                // package-url
	Path      string `json:"path"`                // of the file that tells of it, with a slash in front
	// Owner is the package of the distribution that the file is part of, as of a Python package that dpkg installed; "" if none.
	Owner string `json:"owner,omitempty"`
	Layer Origin `json:"layer"` // that brought it in this version
}

// Origin is the layer and the instruction that something comes from.
type Origin struct {
	view.Culprit
	Base bool `json:"base"` // it belongs to the image that this one is based on
}

// Layer is what a layer did to the packages.
type Layer struct {
	Origin
	Changes []packages.Change `json:"changes"` // by manager and name
}

// Unread is a file that tells of packages and could not be read.
type Unread struct {
	Manager string `json:"manager"`
	Path    string `json:"path"` // with a slash in front
	Reason  string `json:"reason"`
	Files   int    `json:"files"` // how many files of this kind there are
	Layer   Origin `json:"layer"`
}

// String is a sentence for people.
func (u Unread) String() string {
	more := ""
	if u.Files > 1 {
		more = fmt.Sprintf(" and %d more", u.Files-1)
	}
	return fmt.Sprintf("what %s has installed is not known: %s%s: %s", u.Manager, u.Path, more, u.Reason)
}

// Of reads which packages an image has. Tables of contents of layers that are not known are fetched first, and then those layers
// that hold lists of packages, archives or programs. Files that make no sense are in Unread; an error is one of reading layers.
func Of(ctx context.Context, im *anatomy.Image) (*Inventory, error) {
	f, inv, err := list(ctx, im)
	if err != nil {
		return nil, err
	}
	t, err := im.Timeline(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.owners(ctx, t, inv); err != nil {
		return nil, fmt.Errorf("reading which packages the files of %s are part of: %w", im.Text, err)
	}
	if err := f.licences(ctx, t, inv); err != nil {
		return nil, fmt.Errorf("reading the licences of the packages of %s: %w", im.Text, err)
	}
	return inv, nil
}

// List is Of without owners and those licences that are in files of their own: less is read.
func List(ctx context.Context, im *anatomy.Image) (*Inventory, error) {
	_, inv, err := list(ctx, im)
	return inv, err
}

func list(ctx context.Context, im *anatomy.Image) (*finder, *Inventory, error) {
	t, err := im.Timeline(ctx)
	if err != nil {
		return nil, nil, err
	}
	f := &finder{im: im, found: map[string]map[int]finding{}, osRelease: map[string]map[int][]byte{}}
	for i := range im.Layers() {
		if err := f.layer(ctx, i); err != nil {
			return nil, nil, fmt.Errorf("reading the packages of layer %d of %s: %w", i+1, im.Text, err)
		}
	}
	inv := &Inventory{Image: im.Text, ID: im.ID, Packages: []Package{}, Distribution: f.distribution(t)}
	f.merge(t, inv)
	inv.Sort()
	return f, inv, nil
}

// finding is what a file in one layer tells.
type finding struct {
	list   []packages.Package
	unread *packages.Unread
}

// finder looks for packages, layer by layer.
type finder struct {
	im        *anatomy.Image
	found     map[string]map[int]finding // by path and layer
	osRelease map[string]map[int][]byte  // by path and layer
}

// layer reads the files of a layer that tell of packages.
func (f *finder) layer(ctx context.Context, index int) error {
	wanted := func(e *layer.Entry) bool {
		if isOSRelease(e.Path) {
			return true
		}
		mode, size := e.Mode, e.Size
		if e.Type == layer.Hardlink {
			mode = 0 // a program is looked into under one of its names
		}
		_, ok := packages.FormOf(e.Path, mode, size)
		return ok
	}
	return f.im.Read(ctx, index, wanted, func(paths []string, e *layer.Entry, r io.Reader) error {
		if isOSRelease(paths[0]) {
			data, err := io.ReadAll(io.LimitReader(r, maxOSRelease))
			put(f.osRelease, paths[0], index, data)
			return err
		}
		form, ok := packages.FormOf(paths[0], e.Mode, e.Size)
		if !ok {
			return nil
		}
		list, unread, err := form.Read(paths[0], r, e.Size)
		if err != nil {
			return fmt.Errorf("/%s: %w", paths[0], err)
		}
		if len(list) > 0 || unread != nil {
			for _, path := range paths {
				put(f.found, path, index, finding{list, unread})
			}
		}
		return nil
	})
}

func put[T any](m map[string]map[int]T, path string, layer int, v T) {
	if m[path] == nil {
		m[path] = map[int]T{}
	}
	m[path][layer] = v
}

// identity is what is the same package in a file, before and after a layer wrote it again.
type identity struct{ name, version, architecture string }

// merge goes through what happened to each file that tells of packages, and fills in the inventory.
func (f *finder) merge(t *timeline.Timeline, inv *Inventory) {
	origins := Origins(f.im)
	type sides struct{ before, after packages.Listing }
	changes := make([]sides, f.im.Layers())
	unread := map[[2]string]int{} // index in inv.Unread, by manager and reason
	for path, layers := range f.found {
		since := map[identity]int{} // the layer that brought what is there
		var current finding
		events := slices.Collect(t.Events(t.Find(path)))
		for _, e := range slices.Backward(events) {
			next := finding{}
			if e.Kind != timeline.Removed {
				next = layers[e.Layer]
			}
			if c := &changes[e.Layer]; current.unread == nil && next.unread == nil { // else nothing is known of what changed
				c.before.Packages = append(c.before.Packages, current.list...)
				c.after.Packages = append(c.after.Packages, next.list...)
			}
			kept := map[identity]int{}
			for _, p := range next.list {
				id := identity{p.Name, p.Version, p.Architecture}
				if at, ok := since[id]; ok {
					kept[id] = at
				} else {
					kept[id] = e.Layer
				}
			}
			current, since = next, kept
		}
		for _, p := range current.list {
			inv.add(p, path, origins[since[identity{p.Name, p.Version, p.Architecture}]])
		}
		if u := current.unread; u != nil && len(events) > 0 {
			key := [2]string{u.Manager, u.Err.Error()}
			at, ok := unread[key]
			if !ok {
				at = len(inv.Unread)
				unread[key] = at
				inv.Unread = append(inv.Unread, Unread{Manager: u.Manager, Path: "/" + path, Reason: u.Err.Error(), Layer: origins[events[0].Layer]})
			}
			inv.Unread[at].Files++
			inv.Unread[at].Path = min(inv.Unread[at].Path, "/"+path)
		}
	}
	slices.SortFunc(inv.Unread, func(a, b Unread) int { return cmp.Compare(a.Path, b.Path) })
	for i, c := range changes {
		slices.SortFunc(c.before.Packages, packages.Compared)
		slices.SortFunc(c.after.Packages, packages.Compared)
		if list := packages.Compare(c.before, c.after); len(list) > 0 {
			inv.Layers = append(inv.Layers, Layer{origins[i], list})
		}
	}
}

// Origins are the instructions of an image's layers.
func Origins(im *anatomy.Image) []Origin {
	base := im.BaseRow()
	all := make([]Origin, im.Layers())
	for i := range all {
		row := im.RowOf(i)
		all[i] = Origin{view.CulpritOf(im, i), row >= 0 && row <= base}
	}
	return all
}

// New is a package of an image of a distribution, which may be nil, without the file and the layer that it comes from.
func New(p packages.Package, d *Distribution) Package {
	return Package{Package: p, Ecosystem: ecosystem(p.Manager, d), PURL: purl(p, d)}
}

func (inv *Inventory) add(p packages.Package, path string, from Origin) {
	one := New(p, inv.Distribution)
	one.Path, one.Layer = "/"+path, from
	inv.Packages = append(inv.Packages, one)
}
