package page

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/look/packages"
	"github.com/strata-build/strata/internal/look/vulnerability"
)

// vulnerable is what is known of an image's vulnerabilities, by the advisories that are on this machine.
type vulnerable struct {
	report *vulnerability.Report
	cured  map[int][]vulnerability.Finding // by layer, what it took away by changing or removing a package
	of     string                          // which advisories these are
}

// vulnerabilities compares an image's packages, which are there, with the advisories of this machine. The error is
// vulnerability.ErrEmpty where there are none. What was found is kept as long as nothing is imported.
func (g *gallery) vulnerabilities(ctx context.Context, o *opened, inv *packages.Inventory) (*vulnerable, error) {
	o.mu.Lock()
	known := o.vulnerable
	o.mu.Unlock()
	if known != nil && g.contained {
		return known, nil
	}
	d, err := vulnerability.OpenReadOnly(vulnerability.Path(g.Mover.Store.Root()))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	sources, err := d.Sources()
	if err != nil {
		return nil, err
	}
	of := ""
	for _, s := range sources {
		of += s.Name + " " + s.Imported.String() + "\n"
	}
	if known != nil && known.of == of {
		return known, nil
	}
	found := &vulnerable{of: of}
	if found.report, err = d.Scan(ctx, inv); err != nil {
		return nil, err
	}
	if found.cured, err = cured(ctx, d, inv, found.report); err != nil {
		return nil, err
	}
	o.mu.Lock()
	o.vulnerable = found
	o.mu.Unlock()
	return found, nil
}

// cured finds the vulnerabilities of packages that layers changed or removed, and which the image does not have any
// more.
func cured(ctx context.Context, d *vulnerability.Database, inv *packages.Inventory, now *vulnerability.Report) (map[int][]vulnerability.Finding, error) {
	ecosystems := map[string]string{} // of managers: what a removed package was of
	same := map[[2]string]packages.Package{}
	for _, p := range inv.Packages {
		if p.Ecosystem != "" {
			ecosystems[p.Manager] = p.Ecosystem
		}
		same[[2]string{p.Manager, p.Name}] = p
	}
	before := &packages.Inventory{Image: inv.Image, ID: inv.ID, Distribution: inv.Distribution}
	for _, l := range inv.Layers {
		for _, c := range l.Changes {
			if c.Before == "" {
				continue
			}
			p := same[[2]string{c.Manager, c.Name}]
			p.Manager, p.Name, p.Version, p.Layer = c.Manager, c.Name, c.Before, l.Origin
			p.SourceVersion, p.Owner = "", ""
			if p.Ecosystem == "" {
				p.Ecosystem = ecosystems[c.Manager]
			}
			before.Packages = append(before.Packages, p)
		}
	}
	if len(before.Packages) == 0 {
		return nil, nil
	}
	then, err := d.Scan(ctx, before)
	if err != nil {
		return nil, err
	}
	still := map[[2]string]bool{}
	for i := range now.Findings {
		still[named(&now.Findings[i])] = true
	}
	gone := map[int][]vulnerability.Finding{}
	for i := range then.Findings {
		f := &then.Findings[i]
		if !still[named(f)] {
			gone[f.Package.Layer.Layer] = append(gone[f.Package.Layer.Layer], *f)
		}
	}
	return gone, nil
}

// named tells the findings of an image apart.
func named(f *vulnerability.Finding) [2]string { return [2]string{f.Name(), f.Package.Name} }

// brought are the findings of a layer's packages, counted from 1 as Origin does.
func (v *vulnerable) brought(layer int) []vulnerability.Finding {
	var all []vulnerability.Finding
	for _, f := range v.report.Findings {
		if f.Package.Layer.Layer == layer {
			all = append(all, f)
		}
	}
	return all
}

// mark says of a row how many known vulnerabilities it brought, and how severe the worst is.
type mark struct {
	Row   int    `json:"row"`
	Count int    `json:"count"`
	Level string `json:"level"`
}

// Title is the mark in words.
func (m *mark) Title() string {
	return count(m.Count, "known vulnerability") + ", the worst is " + m.Level
}

// marks are those of all rows that have any, by row.
func (o *opened) marks(known *vulnerable) map[int]*mark {
	all := map[int]*mark{}
	if known == nil {
		return all
	}
	for _, f := range known.report.Findings { // the most severe first
		row := o.im.RowOf(f.Package.Layer.Layer - 1)
		if all[row] == nil {
			all[row] = &mark{Row: row, Level: f.Severity.Level.String()}
		}
		all[row].Count++
	}
	return all
}

// rowMarks answers with the marks that the page had no time for.
func (s *Server) rowMarks(w http.ResponseWriter, r *http.Request) {
	o, err := s.gallery.open(r.Context(), r.FormValue("image"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	list := []*mark{}
	// Without advisories there are no marks, as the page of the vulnerabilities says.
	if known, err := s.gallery.findings(r.Context(), o); err == nil {
		list = slices.AppendSeq(list, maps.Values(o.marks(known)))
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(list)
}

// vulnerabilitiesView lists what is known of an image's vulnerabilities.
type vulnerabilitiesView struct {
	Image     string
	Contained bool
	Empty     bool // there are no advisories on this machine
	Total     int
	Levels    []levelCount
	Shown     []findingLine
	More      int
	Unmatched []vulnerability.Unmatched
	Advisory  age
	Filter    string
	Severity  string
	Mine      string // "mine", "base" or ""
}

// age is how old the advisories are.
type age struct {
	Name, Text string
	Old        bool
}

type levelCount struct {
	Level string
	Count int
}

// findingLine is a vulnerability with the row that brought it.
type findingLine struct {
	vulnerability.Finding
	Row int
}

// newVulnerabilitiesView lists those findings that a filter lets through.
func newVulnerabilitiesView(o *opened, found *vulnerable, v *vulnerabilitiesView) *vulnerabilitiesView {
	v.Image, v.Total, v.Unmatched = o.im.Text, len(found.report.Findings), found.report.Unmatched
	least, err := vulnerability.ParseLevel(v.Severity)
	if err != nil {
		least = vulnerability.Unknown
	}
	now := time.Now()
	if oldest := found.report.Oldest(now); oldest != nil {
		v.Advisory = age{oldest.Name, strings.ToLower(human.Since(now.Add(-oldest.Age(now)))), oldest.Age(now) > vulnerability.Old}
	}
	words := strings.Fields(strings.ToLower(v.Filter))
	for _, f := range found.report.Findings {
		at := slices.IndexFunc(v.Levels, func(l levelCount) bool { return l.Level == f.Severity.Level.String() })
		if at < 0 {
			at = len(v.Levels)
			v.Levels = append(v.Levels, levelCount{Level: f.Severity.Level.String()})
		}
		v.Levels[at].Count++
		text := strings.ToLower(f.ID + " " + f.Name() + " " + f.Package.Name + " " + f.Summary)
		base := f.Package.Layer.Base
		if f.Severity.Level < least || v.Mine == "mine" && base || v.Mine == "base" && !base ||
			slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			continue
		}
		if len(v.Shown) == maxPackages {
			v.More++
			continue
		}
		v.Shown = append(v.Shown, findingLine{f, o.im.RowOf(f.Package.Layer.Layer - 1)})
	}
	return v
}

// vulnerabilitiesPage lists the vulnerabilities of an image.
func (s *Server) vulnerabilitiesPage(r *http.Request) (*document, error) {
	o, err := s.gallery.open(r.Context(), r.FormValue("image"))
	if err != nil {
		return nil, err
	}
	v := &vulnerabilitiesView{Image: o.im.Text, Filter: r.FormValue("filter"), Severity: r.FormValue("severity"), Mine: r.FormValue("mine")}
	found, err := s.gallery.findings(r.Context(), o)
	switch {
	case errors.Is(err, vulnerability.ErrEmpty):
		v.Empty = true
	case err != nil:
		return nil, err
	default:
		v = newVulnerabilitiesView(o, found, v)
	}
	h := o.header()
	return &document{Title: o.im.Text, View: "vulnerabilities", Tab: "vulnerabilities", Image: &h, Data: v}, nil
}

// findings is vulnerabilities for who does not have the packages yet.
func (g *gallery) findings(ctx context.Context, o *opened) (*vulnerable, error) {
	if o.isPartial() {
		return nil, errPartial
	}
	p := o.inventory()
	if !p.wait(ctx, 0) {
		return nil, ctx.Err()
	}
	if p.err != nil {
		return nil, p.err
	}
	return g.vulnerabilities(ctx, o, p.inv)
}

// differing are the findings that one of two images has and the other has not.
func differing(a, b *vulnerable) []vulnerability.Finding {
	known := map[[2]string]bool{}
	for i := range b.report.Findings {
		known[named(&b.report.Findings[i])] = true
	}
	var only []vulnerability.Finding
	for i := range a.report.Findings {
		if f := &a.report.Findings[i]; !known[named(f)] {
			only = append(only, *f)
		}
	}
	return only
}
