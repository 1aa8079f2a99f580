// Package explorer is the terminal program in which a person looks through an image: its layers on the left, the file
// tree at the selected one on the right.
package explorer

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/timeline"
)

// Options are what the explorer shows, and what it may do.
type Options struct {
	Image *anatomy.Image
	// Shell makes the command that enters the state of an ID.
	Shell func(id digest.Digest) *exec.Cmd
	// Fetching, if not nil, hears of what is fetched for Image.
	Fetching *Fetching
	// NoColor leaves colours out (no-color.org); signs say the same.
	NoColor bool
}

// patience is how long the first screen may take before another one says what it is waiting for.
const patience = 150 * time.Millisecond

// Run shows the explorer on a terminal until the person leaves it. What has to be read or fetched for the first screen
// is shown meanwhile.
func Run(ctx context.Context, o Options, in, out *os.File) error {
	ctx, cancel := context.WithCancel(ctx)
	r := read(ctx, o.Image)
	defer func() { // the image is used until its timeline is complete
		cancel()
		<-r.done
	}()
	var first tea.Model
	select {
	case <-r.done:
		if r.err != nil {
			return r.err
		}
		first = newModel(ctx, o, r.timeline)
	case <-time.After(patience):
		first = newLoader(ctx, o, r)
	}
	last, err := tea.NewProgram(first, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out)).Run()
	if ctx.Err() != nil {
		return context.Canceled
	}
	if l, ok := last.(*loader); ok && err == nil {
		return l.err
	}
	return err
}

// pane is a part of the screen that keys go to.
type pane int

const (
	layersPane pane = iota
	treePane
	detailPane
)

// model is the state of the screen. Update changes it and View draws it, both in one goroutine.
type model struct {
	ctx      context.Context
	options  Options
	timeline *timeline.Timeline
	im       *anatomy.Image
	reading  *sync.Mutex // an Image is used by one goroutine at a time, and previews are read beside this one

	width, height int
	focus         pane

	rows    []int // the rows of the image that are listed, the oldest first
	row     int   // index in rows
	rowTop  int   // first one on the screen
	configs bool  // rows that only change the configuration are listed too

	tree       *tree
	all        bool
	hide       map[timeline.Kind]bool
	filter     string
	bySize     bool
	attributes bool
	cursor     int // index in tree.lines
	treeTop    int

	detail detail
	prompt *prompt
	search string
	status string // a word about what was just done, until the next key
	waste  *timeline.Waste
}

// prompt asks for a text in the last line.
type prompt struct {
	label, text string
	// typed is called after every key, if it is not nil; done with the text, unless the person changed their mind.
	typed, done func(*model, string) tea.Cmd
	cancel      func(*model)
}

func newModel(ctx context.Context, o Options, t *timeline.Timeline) *model {
	m := &model{
		ctx: ctx, options: o, timeline: t, im: o.Image, reading: &sync.Mutex{}, tree: newTree(t), hide: map[timeline.Kind]bool{},
		width: 80, height: 24,
	}
	m.waste = timeline.FindWaste(t)
	m.listRows()
	m.row = max(0, len(m.rows)-1)
	m.selected(true)
	return m
}

// listRows lists those rows that are to be seen, and keeps the selected one or the nearest before it.
func (m *model) listRows() {
	current := -1
	if len(m.rows) > 0 {
		current = m.rows[m.row]
	}
	m.rows, m.row = m.rows[:0], 0
	for i, r := range m.im.Rows {
		if r.Layer < 0 && !m.configs {
			continue
		}
		if i <= current {
			m.row = len(m.rows)
		}
		m.rows = append(m.rows, i)
	}
}

// current is the selected row; nil of an image without rows.
func (m *model) current() *anatomy.Row {
	if len(m.rows) == 0 {
		return nil
	}
	return &m.im.Rows[m.rows[m.row]]
}

// top is the highest layer of the selected row's state.
func (m *model) top() int {
	if len(m.rows) == 0 {
		return -1
	}
	for i := m.rows[m.row]; i >= 0; i-- {
		if l := m.im.Rows[i].Layer; l >= 0 {
			return l
		}
	}
	return -1
}

// selected shows the tree of the selected row; with unfold the directories are opened and closed anew.
func (m *model) selected(unfold bool) {
	r := m.current()
	m.tree.show(selection{
		top: m.top(), all: m.all, own: r != nil && r.Layer >= 0, hide: m.hide, filter: compile(m.filter), bySize: m.bySize,
	})
	if unfold {
		m.tree.unfold()
		m.cursor, m.treeTop = 0, 0
	}
	m.cursor = clamp(m.cursor, 0, len(m.tree.lines)-1)
}

// node is the selected path; timeline.None if there is none.
func (m *model) node() timeline.Node {
	if m.cursor >= len(m.tree.lines) {
		return timeline.None
	}
	return m.tree.lines[m.cursor].node
}

func clamp(n, least, most int) int { return max(least, min(n, most)) }

// Init implements tea.Model.
func (m *model) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		cmd = m.key(msg)
	case tea.PasteMsg:
		if m.prompt != nil {
			cmd = m.prompt.insert(m, msg.Content)
		}
	case tea.MouseClickMsg:
		m.click(msg.X, msg.Y)
	case tea.MouseWheelMsg:
		m.wheel(msg)
	case detail:
		m.showDetail(msg)
	case statusMsg:
		m.status = string(msg)
	}
	m.scroll()
	return m, cmd
}

// statusMsg is a word in the last line.
type statusMsg string

// View implements tea.Model.
func (m *model) View() tea.View {
	return screen(m.draw(), m.im)
}

// screen is a tea.View with what both screens have in common.
func screen(text string, im *anatomy.Image) tea.View {
	v := tea.NewView(text)
	v.AltScreen = true
	v.MouseMode = tea.MouseModeCellMotion
	v.WindowTitle = "strata explore " + clean(im.Text)
	return v
}
