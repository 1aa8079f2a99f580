package export

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/layer"
)

// files is the tree that an output of files has: the image's, or of several platforms one in a folder for each, as
// linux_amd64.
type files struct {
	toc  *layer.TOC
	open layer.OpenFunc
}

// files merges the trees of the images. Times are SOURCE_DATE_EPOCH where there is one, as in BuildKit.
func (x *exporter) files(ctx context.Context, s *Spec) (*files, error) {
	split := x.several()
	if s.Split != nil {
		split = *s.Split
	}
	type origin struct {
		open layer.OpenFunc
		e    *layer.Entry
		of   *Image
	}
	from := map[string]origin{}
	var all []*layer.Entry
	epoch := s.Packing.epochOr(x.o.Epoch)
	for i := range x.images {
		img := &x.images[i]
		t, open, err := x.tree(ctx, img)
		if err != nil {
			return nil, err
		}
		attested, err := x.attestationFiles(s, img, t)
		if err != nil {
			return nil, err
		}
		folder := ""
		if split {
			folder = strings.ReplaceAll(platform.Format(img.Platform), "/", "_")
			all = append(all, &layer.Entry{Path: folder, Type: layer.Dir, Mode: 0o755})
		}
		for _, e := range t.Entries {
			if e.Path == "" {
				continue
			}
			placed := *e
			placed.Path = path.Join(folder, e.Path)
			if e.Type == layer.Hardlink {
				placed.Link = path.Join(folder, e.Link)
			}
			if epoch != nil {
				placed.ModTime = epoch.Unix()
			}
			if other, ok := from[placed.Path]; ok {
				if e.Type == layer.Dir && other.e.Type == layer.Dir {
					continue
				}
				return nil, fmt.Errorf("%s is in the results for %s and for %s; leave out platform-split=false",
					placed.Path, platform.Format(other.of.Platform), platform.Format(img.Platform))
			}
			from[placed.Path] = origin{open, e, img}
			all = append(all, &placed)
		}
		for _, f := range attested {
			f.entry.Path = path.Join(folder, f.entry.Path)
			if other, ok := from[f.entry.Path]; ok {
				return nil, fmt.Errorf("%s is in the result for %s; name the attestation's file otherwise with attestation-prefix=",
					f.entry.Path, platform.Format(other.of.Platform))
			}
			from[f.entry.Path] = origin{f.open, f.entry, img}
			all = append(all, f.entry)
		}
	}
	t, err := layer.NewTOC(all)
	if err != nil {
		return nil, err
	}
	return &files{t, func(ctx context.Context, e *layer.Entry) (io.ReadCloser, error) {
		o := from[e.Path]
		return o.open(ctx, o.e)
	}}, nil
}

// tarball is type=tar.
func (x *exporter) tarball(ctx context.Context, s *Spec, out *output) error {
	f, err := x.files(ctx, s)
	if err != nil {
		return err
	}
	return x.o.File(s.Dest, func(w io.Writer) error {
		n := &counting{w: w, report: func(n int64) { out.item("sending tarball", n, 0, "") }}
		if err := layer.WriteTar(ctx, n, f.toc, f.open); err != nil {
			return err
		}
		out.item("sending tarball", n.n, 0, "done")
		return nil
	})
}

// directory is type=local.
func (x *exporter) directory(ctx context.Context, s *Spec, out *output) error {
	f, err := x.files(ctx, s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.Dest, 0o755); err != nil {
		return err
	}
	d, err := openDirectory(s.Dest)
	if err != nil {
		return err
	}
	defer d.close()
	total := f.toc.Size()
	d.report = func(n int64) { out.item("copying files", n, total, "") }
	if err := d.write(ctx, f); err != nil {
		return fmt.Errorf("writing to %s: %w", s.Dest, err)
	}
	if s.Delete {
		if err := d.removeOthers(f.toc); err != nil {
			return fmt.Errorf("removing from %s what the result does not have: %w", s.Dest, err)
		}
	}
	if err := d.finish(); err != nil {
		return fmt.Errorf("writing to %s: %w", s.Dest, err)
	}
	if n := len(d.devices); n > 0 {
		x.o.Events.Send(event.Warning{Text: fmt.Sprintf("--output type=local leaves device nodes out: /%s%s; type=tar has them", d.devices[0], andMore(n-1))})
	}
	out.item("copying files", d.written, 0, "done")
	return nil
}

// andMore counts what a message does not name.
func andMore(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}

// counting reports how much was written.
type counting struct {
	w      io.Writer
	n      int64
	report func(n int64)
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	c.report(c.n)
	return n, err
}
