package packages

import (
	"context"
	"io"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/packages"
	"github.com/strata-build/strata/internal/look/timeline"
)

// licences reads the licences of dpkg's packages, which its list does not have, out of their copyright files.
func (f *finder) licences(ctx context.Context, t *timeline.Timeline, inv *Inventory) error {
	of := map[string][]int{} // packages by the path of the file; several may share one through a link
	layers := map[string]int{}
	top := t.Layers() - 1
	for i := range inv.Packages {
		p := &inv.Packages[i]
		if p.Manager != "dpkg" || p.Licence != "" {
			continue
		}
		n, err := t.Follow("/usr/share/doc/"+p.Name+"/copyright", top)
		if err != nil {
			continue
		}
		path := t.Path(n)
		e, _ := t.At(n, top)
		of[path], layers[path] = append(of[path], i), e.Layer
	}
	if len(of) == 0 {
		return nil
	}
	for i := range f.im.Layers() {
		wanted := func(e *layer.Entry) bool {
			at, ok := layers[e.Path]
			return ok && at == i
		}
		err := f.im.Read(ctx, i, wanted, func(paths []string, _ *layer.Entry, r io.Reader) error {
			licence, err := packages.DebianLicence(r)
			for _, path := range paths {
				for _, at := range of[path] {
					inv.Packages[at].Licence = licence
				}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
