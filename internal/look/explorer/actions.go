package explorer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/timeline"
	"github.com/strata-build/strata/internal/look/view"
)

// What a preview shows at most, in bytes of a text and of what is not one.
const (
	maxText   = 256 << 10
	maxBinary = 4 << 10
)

// version is the newest event at the selected layer in which a path was there: of one that the layer removed, what it was.
func (m *model) version(n timeline.Node) (timeline.Event, bool) {
	for e := range m.timeline.Events(n) {
		if e.Layer <= m.top() && e.Kind != timeline.Removed {
			return e, true
		}
	}
	return timeline.Event{}, false
}

// preview shows the selected file. It is read beside the screen, which goes on meanwhile.
func (m *model) preview() tea.Cmd {
	n := m.node()
	if n == timeline.None {
		return nil
	}
	e, ok := m.version(n)
	name := m.timeline.Path(n)
	switch {
	case !ok || e.Type == layer.Dir:
		return nil
	case e.Type == layer.Symlink:
		return say(m, "a symbolic link to "+clean(e.Link))
	case e.Type != layer.File:
		return say(m, "it has no contents")
	}
	m.status = "reading /" + clean(name) + " …"
	return func() tea.Msg {
		data, err := m.beginning(e.Layer, name, maxText)
		if err != nil {
			return statusMsg(err.Error())
		}
		return detail{title: fmt.Sprintf("/%s  %s  at layer %d", clean(name), human.Size(e.Size), e.Layer+1), text: previewLines(data, e.Size)}
	}
}

// beginning returns the first bytes of a file.
func (m *model) beginning(index int, name string, limit int64) ([]byte, error) {
	m.reading.Lock()
	defer m.reading.Unlock()
	r, err := m.im.Open(m.ctx, index, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, limit))
}

// previewLines are the lines of a text, or those of hexdump -C of anything else.
func previewLines(data []byte, size int64) []string {
	if len(data) == 0 {
		return []string{"(empty)"}
	}
	if bytes.IndexByte(data[:min(len(data), 8000)], 0) >= 0 {
		shown := data[:min(len(data), maxBinary)]
		lines := strings.Split(strings.TrimSuffix(hex.Dump(shown), "\n"), "\n")
		return more(lines, size-int64(len(shown)))
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	for i, l := range lines {
		lines[i] = clean(strings.ReplaceAll(strings.TrimSuffix(l, "\r"), "\t", "    "))
	}
	return more(lines, size-int64(len(data)))
}

func more(lines []string, left int64) []string {
	if left > 0 {
		lines = append(lines, "", fmt.Sprintf("… and %s more; e extracts the file", human.Size(left)))
	}
	return lines
}

// clean takes out what could do something to the terminal.
func clean(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// text prints a view into lines.
func text(print func(*view.Printer) error) []string {
	var b bytes.Buffer
	p := view.NewPrinter(&b)
	if err := errors.Join(print(p), p.Flush()); err != nil {
		return []string{err.Error()}
	}
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
}

func (m *model) showBlame() tea.Cmd {
	n := m.node()
	if n == timeline.None {
		return nil
	}
	b := view.BlameOf(m.im, m.timeline, n, m.timeline.Layers()-1)
	lines := text(b.Print)
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return m.open(detail{title: "Who put it there", text: lines, wrap: true})
}

// open shows a detail.
func (m *model) open(d detail) tea.Cmd { return func() tea.Msg { return d } }

// maxWaste is how many files the list of waste has.
const maxWaste = 500

func (m *model) showWaste() tea.Cmd {
	r := m.waste
	lines := []string{fmt.Sprintf("%s of %s are hidden by later layers: %.1f %% of the image can be seen.", human.Size(r.Bytes), human.Size(r.Stored), 100*r.Efficiency())}
	for i, it := range r.Items {
		if i == maxWaste {
			lines = append(lines, fmt.Sprintf("… and %d more files", len(r.Items)-maxWaste))
			break
		}
		verb := "written again"
		if it.Kind == timeline.Removed {
			verb = "removed"
		}
		lines = append(lines, fmt.Sprintf("%9s  /%s  of layer %d, %s by layer %d", human.Size(it.Size), clean(m.timeline.Path(it.Node)), it.Layer+1, verb, it.By+1))
	}
	return m.open(detail{title: "Wasted space", text: lines, wrap: true})
}

func (m *model) showKeys() tea.Cmd {
	var lines []string
	for _, a := range actions() {
		lines = append(lines, fmt.Sprintf("%-22s %s", strings.Join(a.keys, ", "), a.long))
	}
	lines = append(lines, "", "left, right            in a file: scroll sideways; 0: back to the beginning of the lines",
		"mouse                  select a layer, a path or a pane; the wheel scrolls", "",
		"+ added   ~ changed   - removed   = written again with the same contents")
	return m.open(detail{title: "Keys", text: lines, wrap: true})
}

// shell leaves the screen to a shell in the selected state.
func (m *model) shell() tea.Cmd {
	r := m.current()
	if r == nil || m.options.Shell == nil {
		return say(m, "there is nothing to enter")
	}
	return tea.ExecProcess(m.options.Shell(r.ID), func(err error) tea.Msg {
		if err != nil {
			return statusMsg(fmt.Sprintf("the shell in %s ended with: %v", image.ShortID(r.ID), err))
		}
		return statusMsg("")
	})
}

func (m *model) askExtract() {
	n := m.node()
	if n == timeline.None {
		return
	}
	e, ok := m.version(n)
	if !ok || e.Type != layer.File {
		m.status = "only files can be extracted; strata export writes a whole image as a tar"
		return
	}
	name := m.timeline.Path(n)
	m.prompt = &prompt{label: "extract to: ", text: path.Base(name), done: func(m *model, to string) tea.Cmd {
		return func() tea.Msg { return statusMsg(m.extract(e, name, to)) }
	}}
}

// extract writes a file and says what came of it. Nothing that is there already is written over.
func (m *model) extract(e timeline.Event, name, to string) string {
	m.reading.Lock()
	defer m.reading.Unlock()
	r, err := m.im.Open(m.ctx, e.Layer, name)
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, os.FileMode(e.Mode&0o777))
	if errors.Is(err, os.ErrExist) {
		return to + " is there already: choose another name"
	}
	if err != nil {
		return err.Error()
	}
	n, err := io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return err.Error()
	}
	return fmt.Sprintf("wrote %s to %s", human.Size(n), clean(to))
}
