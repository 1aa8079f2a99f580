package packages

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/packages"
)

// OfTree reads of which packages the files of a tree without layers tell, such as a build context: what is installed in it, and
// what its lock files would bring. name is the Image of the inventory, which has no ID.
func OfTree(ctx context.Context, name string, tree layer.Tree) (*Inventory, error) {
	inv := &Inventory{Image: name, Packages: []Package{}}
	if err := inv.addDirectory(ctx, tree, ""); err != nil {
		return nil, fmt.Errorf("reading the packages of %s: %w", name, err)
	}
	inv.Sort()
	return inv, nil
}

func (inv *Inventory) addDirectory(ctx context.Context, tree layer.Tree, dir string) error {
	entries, err := tree.ReadDir(ctx, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch e.Type {
		case layer.Dir:
			err = inv.addDirectory(ctx, tree, e.Path)
		case layer.File:
			err = inv.addFile(ctx, tree, e)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// addFile adds the packages that a file tells of, if it does.
func (inv *Inventory) addFile(ctx context.Context, tree layer.Tree, e *layer.Entry) error {
	form, ok := packages.FormOf(e.Path, e.Mode, e.Size)
	if !ok {
		form, ok = packages.LockOf(e.Path)
	}
	if !ok {
		return nil
	}
	r, err := tree.Open(ctx, e)
	if err != nil {
		return err
	}
	defer r.Close()
	list, unread, err := form.Read(e.Path, r, e.Size)
	if err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	for _, p := range list {
		inv.add(p, e.Path, Origin{})
	}
	if unread != nil {
		inv.Unread = append(inv.Unread, Unread{Manager: unread.Manager, Path: path.Join("/", unread.Path), Reason: unread.Err.Error(), Files: 1})
	}
	return nil
}

// Sort brings the packages into their order.
func (inv *Inventory) Sort() {
	slices.SortFunc(inv.Packages, func(a, b Package) int {
		return cmp.Or(packages.Compared(a.Package, b.Package), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Architecture, b.Architecture))
	})
}
