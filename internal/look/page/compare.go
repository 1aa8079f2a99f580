package page

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/look/inventory"
	"github.com/strata-build/strata/internal/look/packages"
	"github.com/strata-build/strata/internal/look/view"
	"github.com/strata-build/strata/internal/look/vulnerability"
)

// comparison is how two images differ.
type comparison struct {
	Before, After string
	Names         []string // of images here, to choose from
	Filter        string
	Diff          *view.Diff              // nil until two are named
	Worse, Better []vulnerability.Finding // vulnerabilities that only the one after has, and only the one before
	Added         int
	Changed       int
	Removed       int
	Files         []view.DiffEntry // a page of those that the filter lets through
	Found, More   int
	Next          int
}

// pair is the last comparison that was made, which its pages and filters go through.
type pair struct {
	before, after *opened
	diff          *view.Diff
}

// compare compares two images, or finds that it did.
func (g *gallery) compare(ctx context.Context, before, after *opened) (*view.Diff, error) {
	g.comparing.Lock()
	defer g.comparing.Unlock()
	if g.compared.before == before && g.compared.after == after {
		return g.compared.diff, nil
	}
	d, err := difference(ctx, before, after, nil)
	if err == nil {
		err = fillPackages(ctx, d, before, after)
	}
	if err != nil {
		return nil, err
	}
	g.compared = pair{before, after, d}
	return d, nil
}

// fillPackages fills in how the packages of two images differ.
func fillPackages(ctx context.Context, d *view.Diff, before, after *opened) error {
	var both [2]*packages.Inventory
	for i, o := range []*opened{before, after} {
		p := o.inventory()
		if !p.wait(ctx, 0) {
			return ctx.Err()
		}
		if p.err != nil {
			return p.err
		}
		both[i] = p.inv
	}
	packages.Fill(d, both[0], both[1])
	return nil
}

// difference compares two images, or paths of them. Nobody else holds the locks of two.
func difference(ctx context.Context, before, after *opened, paths []string) (*view.Diff, error) {
	before.using.Lock()
	defer before.using.Unlock()
	if after != before {
		after.using.Lock()
		defer after.using.Unlock()
	}
	for _, o := range []*opened{before, after} {
		if o.isPartial() {
			return nil, fmt.Errorf("%s: %w", o.im.Text, errPartial)
		}
	}
	return view.NewDiff(ctx, before.im, after.im, paths)
}

// both opens the two images of an address.
func (s *Server) both(r *http.Request) (before, after *opened, err error) {
	if before, err = s.gallery.open(r.Context(), r.FormValue("image")); err == nil {
		after, err = s.gallery.open(r.Context(), r.FormValue("with"))
	}
	return before, after, err
}

// comparePage shows how two images differ.
func (s *Server) comparePage(r *http.Request) (*document, error) {
	c := &comparison{Before: r.FormValue("image"), After: r.FormValue("with"), Filter: r.FormValue("filter")}
	images, err := inventory.List(s.gallery.Mover.Store, false, nil)
	if err != nil {
		return nil, err
	}
	for _, img := range images {
		for _, n := range img.Names {
			c.Names = append(c.Names, n.String())
		}
	}
	slices.Sort(c.Names)
	if s.gallery.Image != "" && !slices.Contains(c.Names, s.gallery.Image) {
		c.Names = append(c.Names, s.gallery.Image)
	}
	o, err := s.gallery.open(r.Context(), c.Before)
	if err != nil {
		return nil, err
	}
	if c.After != "" {
		if err := s.fillComparison(r, c); err != nil {
			return nil, err
		}
	}
	h := o.header()
	return &document{Title: c.Before, View: "compare", Tab: "compare", Image: &h, Data: c}, nil
}

func (s *Server) fillComparison(r *http.Request, c *comparison) error {
	before, after, err := s.both(r)
	if err != nil {
		return err
	}
	if c.Diff, err = s.gallery.compare(r.Context(), before, after); err != nil {
		return err
	}
	c.Added, c.Changed, c.Removed = c.Diff.Counts()
	if a, err := s.gallery.findings(r.Context(), before); err == nil {
		if b, err := s.gallery.findings(r.Context(), after); err == nil {
			c.Worse, c.Better = differing(b, a), differing(a, b)
		}
	}
	from, err := number(r, "from", 0, len(c.Diff.Files))
	if err != nil {
		return err
	}
	words := strings.Fields(strings.ToLower(c.Filter))
	for _, f := range c.Diff.Files {
		path := strings.ToLower(f.Path)
		if slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(path, w) }) {
			continue
		}
		if c.Found++; c.Found <= from {
			continue
		}
		if len(c.Files) < listed {
			c.Files = append(c.Files, f)
		} else {
			c.More++
		}
	}
	c.Next = from + len(c.Files)
	return nil
}

// patch is the lines in which a file differs.
type patch struct {
	Path  string
	Lines []patchLine
	More  int
}

type patchLine struct{ Kind, Text string }

// maxLines is how many lines of a patch are shown.
const maxLines = 2000

// patchPage shows in which lines a text file of two images differs.
func (s *Server) patchPage(r *http.Request) (*document, error) {
	before, after, err := s.both(r)
	if err != nil {
		return nil, err
	}
	path := r.FormValue("path")
	s.gallery.comparing.Lock()
	defer s.gallery.comparing.Unlock()
	d, err := difference(r.Context(), before, after, []string{path})
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	printer := view.NewPrinter(&text)
	if err := d.Patch(r.Context(), printer); err != nil {
		return nil, err
	}
	if err := printer.Flush(); err != nil {
		return nil, err
	}
	p := &patch{Path: human.Quoted(path)}
	for line := range strings.Lines(text.String()) {
		if len(p.Lines) == maxLines {
			p.More++
			continue
		}
		kind := ""
		switch {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"), strings.HasPrefix(line, "diff "):
			kind = "head"
		case strings.HasPrefix(line, "+"):
			kind = "added"
		case strings.HasPrefix(line, "-"):
			kind = "removed"
		case strings.HasPrefix(line, "@"):
			kind = "place"
		}
		p.Lines = append(p.Lines, patchLine{kind, shown(strings.TrimRight(line, "\n"))})
	}
	h := before.header()
	return &document{Title: p.Path, View: "patch", Tab: "compare", Image: &h, Data: p}, nil
}

// configPage shows the configuration that containers of an image get.
func (s *Server) configPage(r *http.Request) (*document, error) {
	o, err := s.gallery.open(r.Context(), r.FormValue("image"))
	if err != nil {
		return nil, err
	}
	h := o.header()
	return &document{Title: o.im.Text, View: "settings", Tab: "settings", Image: &h, Data: view.CompareConfigs(nil, o.im.Config)}, nil
}
