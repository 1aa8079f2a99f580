package page

import (
	"context"
	"encoding/base64"
	"errors"
	"html/template"
	"io"
	"strings"

	"github.com/strata-build/strata/internal/look/view"
	"github.com/strata-build/strata/internal/look/vulnerability"
)

// contained is all of an image in one file.
type contained struct {
	Layers   *imageView
	Bytes    *bytesView
	Packages *packagesView
	Failure  string // why there are no packages
	// Vulnerabilities is nil where the packages, or advisories, are not known.
	Vulnerabilities *vulnerabilitiesView
	Settings        []view.ConfigChange
}

// Export writes all of an image as one file, which a browser opens without a server: its rows, each in detail, its
// paths and packages, and where its bytes are. Contents of files are not in it. Of an image in a registry, the
// layers are fetched.
func Export(ctx context.Context, o Options, w io.Writer) error {
	g := newGallery(o)
	g.contained = true
	defer g.close()
	im, err := g.load(ctx, o.Image)
	if err != nil {
		return err
	}
	if err := im.fetch(ctx, im.im.Layers()-1); err != nil {
		return err
	}
	known, unknown := g.findings(ctx, im) // there may be no advisories, or no packages: said below
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	all := &contained{Layers: newImageView(im, im.firstSelected(), known), Settings: view.CompareConfigs(nil, im.im.Config)}
	all.Layers.Contained = true
	for i := range im.im.Rows {
		d, err := g.newDetail(ctx, im, i, 0, 0)
		if err != nil {
			return err
		}
		d.Contained = true
		all.Layers.Details = append(all.Layers.Details, d)
	}
	if all.Bytes, err = im.account(); err != nil {
		return err
	}
	all.Bytes.Contained = true
	p := im.inventory()
	p.wait(ctx, 0)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case p.err != nil:
		all.Failure = p.err.Error()
	default:
		all.Packages = newPackagesView(im, p.inv, &packagesView{Contained: true}, maxPackages)
		if unknown == nil {
			all.Vulnerabilities = newVulnerabilitiesView(im, known, &vulnerabilitiesView{Contained: true})
		} else if !errors.Is(unknown, vulnerability.ErrEmpty) {
			return unknown
		}
	}
	packed, err := im.compressed()
	if err != nil {
		return err
	}
	var table strings.Builder
	table.WriteString(`<script type="application/gzip" id="table">`)
	table.WriteString(base64.StdEncoding.EncodeToString(packed))
	table.WriteString(`</script>`)
	d := &document{
		Title: o.Image, View: "contained", Tab: "image", Image: &all.Layers.header, Data: all, Table: template.HTML(table.String()), Version: o.Version,
	}
	html, err := render("page", d)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, string(html))
	return err
}
