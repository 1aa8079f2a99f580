package export

import (
	"context"
	"io"

	"github.com/distribution/reference"

	"github.com/strata-build/strata/internal/transfer"
)

// archive is type=oci and type=docker with a file or a directory.
func (x *exporter) archive(ctx context.Context, s *Spec, out *output) error {
	events := newPushed(out)
	defer events.done()
	m := x.With(events)
	p, err := x.pack(ctx, m, s)
	if err != nil {
		return err
	}
	var names []string
	for _, ref := range x.namesOf(s) {
		names = append(names, reference.FamiliarString(ref))
	}
	if s.Directory {
		sent, err := m.SaveDirectory(ctx, s.Dest, p.bundle, names)
		if err == nil {
			x.result.image(p)
			x.result.describe(sent, p)
		}
		return err
	}
	format := transfer.OCIArchive
	if s.Kind == Docker {
		format = transfer.DockerArchive
	}
	return x.o.File(s.Dest, func(w io.Writer) error {
		n := &counting{w: w, report: func(n int64) { out.item("sending tarball", n, 0, "") }}
		sent, err := m.SaveBundle(ctx, n, format, p.bundle, names)
		if err != nil {
			return err
		}
		x.result.image(p)
		x.result.describe(sent, p)
		out.item("sending tarball", n.n, 0, "done")
		return nil
	})
}
