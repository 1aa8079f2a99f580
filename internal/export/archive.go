package export

import (
	"context"
	"io"

	"github.com/distribution/reference"

	"github.com/strata-build/strata/internal/transfer"
)

// archive is type=oci and type=docker with a file.
func (x *exporter) archive(ctx context.Context, s *Spec, out Output) error {
	if err := x.checkImages(); err != nil {
		return err
	}
	format := transfer.OCIArchive
	if s.Kind == Docker {
		format = transfer.DockerArchive
	}
	var saved []transfer.Saved
	for _, img := range x.images {
		one := transfer.Saved{ID: img.ID}
		for _, ref := range x.namesOf(s) {
			one.Names = append(one.Names, reference.FamiliarString(ref))
		}
		saved = append(saved, one)
	}
	return x.o.File(s.Dest, func(w io.Writer) error {
		n := &counting{w: w, report: func(n int64) { out.Item("sending tarball", n, 0, "") }}
		if err := x.Save(ctx, n, format, saved); err != nil {
			return err
		}
		out.Item("sending tarball", n.n, 0, "done")
		return nil
	})
}
