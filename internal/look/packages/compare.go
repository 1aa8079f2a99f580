package packages

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/layer/packages"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/view"
)

// Diff compares two states as view.NewDiff does and, without paths, their packages, which read, List or Of, reads of both at the same
// time. They are not read where no file differs; then the inventories are nil.
func Diff(ctx context.Context, before, after *anatomy.Image, paths []string, read func(context.Context, *anatomy.Image) (*Inventory, error)) (*view.Diff, [2]*Inventory, error) {
	var both [2]*Inventory
	d, err := view.NewDiff(ctx, before, after, paths)
	if err != nil || len(paths) > 0 || len(d.Files) == 0 {
		return d, both, err
	}
	g, ctx := errgroup.WithContext(ctx)
	for i, im := range []*anatomy.Image{before, after} {
		g.Go(func() (err error) {
			both[i], err = read(ctx, im)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, both, err
	}
	Fill(d, both[0], both[1])
	return d, both, nil
}

// Fill fills in how the packages of the two sides differ.
func Fill(d *view.Diff, before, after *Inventory) {
	d.Packages = packages.Compare(before.listing(), after.listing())
	for _, inv := range []*Inventory{before, after} {
		for i := range inv.Unread {
			d.Unread = append(d.Unread, inv.Image+": "+inv.Unread[i].String())
		}
	}
}

// listing is the inventory as packages.Compare takes it: what is in several places once.
func (inv *Inventory) listing() packages.Listing {
	var l packages.Listing
	for i := range inv.Packages {
		p := &inv.Packages[i]
		l.Packages = append(l.Packages, packages.Package{Manager: p.Manager, Name: p.Name, Version: p.Version})
	}
	l.Packages = slices.Compact(l.Packages)
	for i := range inv.Unread {
		l.Unread = append(l.Unread, packages.Unread{Manager: inv.Unread[i].Manager})
	}
	return l
}
