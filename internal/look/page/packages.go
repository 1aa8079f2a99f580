package page

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	layerpackages "github.com/strata-build/strata/internal/layer/packages"
	"github.com/strata-build/strata/internal/look/packages"
	"github.com/strata-build/strata/internal/look/vulnerability"
)

// installed is which packages an image has. They are read while the person looks at the layers.
type installed struct {
	begin sync.Once
	begun atomic.Bool
	done  chan struct{} // closed when the rest is there
	inv   *packages.Inventory
	err   error
}

// inventory begins to read the packages, and says how far that is.
func (o *opened) inventory() *installed {
	p := &o.packages
	p.begin.Do(func() {
		defer p.begun.Store(true)
		p.done = make(chan struct{})
		go func() {
			defer close(p.done)
			o.using.Lock()
			defer o.using.Unlock()
			// It goes on when the request that asked is gone: the next one will ask again.
			p.inv, p.err = packages.Of(o.life, o.im)
		}()
	})
	return p
}

// patience is how long a page waits for what the script can ask for later.
const patience = 40 * time.Millisecond

// wait waits for the packages, not longer than that unless it is 0, and says whether they are there.
func (p *installed) wait(ctx context.Context, most time.Duration) bool {
	if most == 0 {
		select {
		case <-p.done:
			return true
		case <-ctx.Done():
			return false
		}
	}
	select {
	case <-p.done:
		return true
	case <-ctx.Done():
	case <-time.After(most):
	}
	return false
}

// rowPackages is what a row's layer did to the packages, and to what is known to be vulnerable of them.
type rowPackages struct {
	Image string
	Row   int
	// Wanted says that it is not known yet, Err why it cannot be.
	Wanted  bool
	Err     string
	Changes []layerpackages.Change
	// Brought are the vulnerabilities of packages that the layer brought, Cured those that it took away.
	Brought, Cured []vulnerability.Finding
}

// ofRow finds what a row's layer did to the packages; nil where all of it is known and there is nothing.
func (g *gallery) ofRow(ctx context.Context, o *opened, row int, most time.Duration) *rowPackages {
	index := o.im.Rows[row].Layer
	if index < 0 || o.isPartial() {
		return nil
	}
	r := &rowPackages{Image: o.im.Text, Row: row}
	if most > 0 && !o.packages.begun.Load() {
		r.Wanted = true // the first page comes first
		return r
	}
	p := o.inventory()
	switch {
	case !p.wait(ctx, most):
		r.Wanted = true
	case p.err != nil:
		r.Err = p.err.Error()
	default:
		for _, l := range p.inv.Layers {
			if l.Layer == index+1 {
				r.Changes = l.Changes
			}
		}
		// Where there are no advisories, or these cannot be read, the page of the vulnerabilities says so.
		if found, err := g.vulnerabilities(ctx, o, p.inv); err == nil {
			r.Brought, r.Cured = found.brought(index+1), found.cured[index+1]
		}
		if len(r.Changes)+len(r.Brought)+len(r.Cured) == 0 {
			return nil
		}
	}
	return r
}

// isPartial says that of some layers nothing is known but what moves.
func (o *opened) isPartial() bool {
	t, _ := o.timeline()
	return t.Layers() < o.im.Layers()
}

// rowPackages answers with the part of a row that its page had no time for.
func (s *Server) rowPackages(r *http.Request) (*document, error) {
	o, err := s.gallery.open(r.Context(), r.FormValue("image"))
	if err != nil {
		return nil, err
	}
	row, err := number(r, "row", 0, len(o.im.Rows)-1)
	if err != nil {
		return nil, err
	}
	return &document{Title: "Packages", View: "row-packages", Data: s.gallery.ofRow(r.Context(), o, row, 0)}, nil
}

// packagesView lists the packages of an image.
type packagesView struct {
	*packages.Inventory
	Contained bool
	Kinds     []kindOfPackages
	Shown     []packageLine
	Filter    string
	Kind      string
	Mine      string // "mine", "base" or ""
	More      int
}

type kindOfPackages struct {
	Name  string
	Count int
}

// packageLine is a package with the row that brought it.
type packageLine struct {
	packages.Package
	Row int
}

// newPackagesView lists those packages that a filter lets through, at most so many.
func newPackagesView(o *opened, inv *packages.Inventory, v *packagesView, most int) *packagesView {
	v.Inventory = inv
	words := strings.Fields(strings.ToLower(v.Filter))
	for _, p := range inv.Packages {
		at := slices.IndexFunc(v.Kinds, func(k kindOfPackages) bool { return k.Name == p.Manager })
		if at < 0 {
			at = len(v.Kinds)
			v.Kinds = append(v.Kinds, kindOfPackages{Name: p.Manager})
		}
		v.Kinds[at].Count++
		text := strings.ToLower(p.Name + " " + p.Version + " " + p.Licence)
		if v.Kind != "" && v.Kind != p.Manager || v.Mine == "mine" && p.Layer.Base || v.Mine == "base" && !p.Layer.Base ||
			slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			continue
		}
		if len(v.Shown) == most {
			v.More++
			continue
		}
		v.Shown = append(v.Shown, packageLine{p, o.im.RowOf(p.Layer.Layer - 1)})
	}
	return v
}

// maxPackages is how many packages are in the HTML: more than any image of a distribution has.
const maxPackages = 5000

// packagesPage lists the packages of an image.
func (s *Server) packagesPage(r *http.Request) (*document, error) {
	o, err := s.gallery.open(r.Context(), r.FormValue("image"))
	if err != nil {
		return nil, err
	}
	if o.isPartial() {
		return nil, errPartial
	}
	p := o.inventory()
	if !p.wait(r.Context(), 0) {
		return nil, r.Context().Err()
	}
	if p.err != nil {
		return nil, p.err
	}
	v := newPackagesView(o, p.inv, &packagesView{Filter: r.FormValue("filter"), Kind: r.FormValue("kind"), Mine: r.FormValue("mine")}, maxPackages)
	h := o.header()
	return &document{Title: o.im.Text, View: "packages", Tab: "packages", Image: &h, Data: v}, nil
}
