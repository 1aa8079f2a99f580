package page

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/timeline"
	"github.com/strata-build/strata/internal/look/view"
)

// maxPreview is how much of a file is shown, in bytes.
const maxPreview = 64 << 10

// preview is a file as a page shows it.
type preview struct {
	Image  string
	Number int
	Layer  int
	Path   string
	Size   int64
	Mode   string
	Owner  string
	Text   string
	// Binary says that it is none that can be shown as text, Cut how many bytes are left out.
	Binary bool
	Cut    int64
	Events []past // what layers did to it, the oldest first
}

// past is what a layer did to a path.
type past struct {
	Row    int
	Kind   string
	Text   string // of the row's instruction
	Detail string
}

// node reads which path of an image an address means, at which layer, and finds its event there.
func (s *Server) node(r *http.Request) (*opened, timeline.Node, timeline.Event, error) {
	o, err := s.gallery.open(r.Context(), r.FormValue("image"))
	if err != nil {
		return nil, 0, timeline.Event{}, err
	}
	t, order := o.timeline()
	n, err := number(r, "node", 0, len(order)-1)
	if err != nil {
		return nil, 0, timeline.Event{}, err
	}
	top, err := number(r, "layer", t.Layers()-1, t.Layers()-1)
	if err != nil {
		return nil, 0, timeline.Event{}, err
	}
	e, ok := t.At(order[n], top)
	if !ok || e.Type != layer.File || e.Kind == timeline.Removed {
		return nil, 0, timeline.Event{}, &fs.PathError{Op: "open", Path: human.Quoted("/" + t.Path(order[n])), Err: fmt.Errorf("no file of this layer: %w", fs.ErrNotExist)}
	}
	return o, order[n], e, nil
}

// contents opens a file as the layer of its event has it.
func (o *opened) contents(ctx context.Context, n timeline.Node, e timeline.Event) (io.ReadCloser, error) {
	t, _ := o.timeline()
	o.using.Lock()
	defer o.using.Unlock()
	return o.im.Open(ctx, e.Layer, t.Path(n))
}

// file shows a file.
func (s *Server) file(r *http.Request) (*document, error) {
	o, n, e, err := s.node(r)
	if err != nil {
		return nil, err
	}
	t, _ := o.timeline()
	p := &preview{
		Image: o.im.Text, Layer: e.Layer, Path: human.Quoted("/" + t.Path(n)), Size: e.Size, Mode: view.Mode(e.Type, e.Mode),
		Owner: fmt.Sprintf("%d:%d", e.UID, e.GID), Cut: max(0, e.Size-maxPreview),
	}
	p.Number, _ = strconv.Atoi(r.FormValue("node"))
	for _, b := range view.BlameOf(o.im, t, n, t.Layers()-1).Events {
		p.Events = append(p.Events, past{o.im.RowOf(b.Layer - 1), b.Change, human.Shorten(oneLine(clip(b.Instruction, 300)), 100), b.Detail})
	}
	in, err := o.contents(r.Context(), n, e)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	data, err := io.ReadAll(io.LimitReader(in, maxPreview))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", p.Path, err)
	}
	if p.Cut > 0 {
		data = []byte(strings.ToValidUTF8(string(data), "")) // a character may be cut in two
	}
	if p.Binary = bytes.IndexByte(data, 0) >= 0 || !utf8.Valid(data); !p.Binary {
		p.Text = shown(strings.ReplaceAll(string(data), "\r\n", "\n"))
	}
	header := o.header()
	return &document{Title: path.Base(p.Path), View: "file", Image: &header, Data: p}, nil
}

// raw sends a file as it is. A browser stores it, and runs or shows nothing of it.
func (s *Server) raw(w http.ResponseWriter, r *http.Request) {
	o, n, e, err := s.node(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	in, err := o.contents(r.Context(), n, e)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer in.Close()
	t, _ := o.timeline()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", "attachment; filename=\""+fileName(t.Name(n))+"\"")
	w.Header().Set("Content-Length", strconv.FormatInt(e.Size, 10))
	io.Copy(w, in) // what is damaged ends before its length, which a browser takes for a failure
}

// fileName is a name for a header and for a person's disk: other characters than letters, digits and some signs are
// "_".
func fileName(name string) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-+", r) {
			return r
		}
		return '_'
	}, name)
	if strings.Trim(safe, "._") == "" {
		return "file"
	}
	return safe
}
