// Package explorer is the terminal program in which a person looks through an image: its layers on the left, the file tree
// at the selected one on the right.
package explorer

import (
	"context"
	"os"
	"os/exec"
	"sync"

	tea "charm.land/bubbletea/v2"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/anatomy"
	"github.com/strata-build/strata/internal/timeline"
	"github.com/strata-build/strata/internal/waste"
)

// Options are what the explorer shows, and what it may do.
type Options struct {
	Image    *anatomy.Image
	Timeline *timeline.Timeline
	// Shell makes the command that enters the state of an ID.
	Shell func(id digest.Digest) *exec.Cmd
	// NoColor leaves colours out (no-color.org); signs say the same.
	NoColor bool
}

// Run shows the explorer on a terminal until the person leaves it.
func Run(ctx context.Context, o Options, in, out *os.File) error {
	m := newModel(ctx, o)
	_, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out)).Run()
	if ctx.Err() != nil {
		return context.Canceled
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
	ctx     context.Context
	options Options
	im      *anatomy.Image
	reading *sync.Mutex // an Image is used by one goroutine at a time, and previews are read beside this one

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
	waste  *waste.Report
}

// detail is what takes the place of the tree: a file, a blame, the keys.
type detail struct {
	title string
	lines []string
	top   int
	from  pane // where to go back to
}

// prompt asks for a text in the last line.
type prompt struct {
	label, text string
	// typed is called after every key, if it is not nil; done with the text, unless the person changed their mind.
	typed, done func(*model, string) tea.Cmd
	cancel      func(*model)
}

func newModel(ctx context.Context, o Options) *model {
	m := &model{
		ctx: ctx, options: o, im: o.Image, reading: &sync.Mutex{}, tree: newTree(o.Timeline), hide: map[timeline.Kind]bool{},
		width: 80, height: 24,
	}
	m.waste = waste.Find(o.Timeline)
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
		msg.from = m.focus
		if m.focus == detailPane {
			msg.from = m.detail.from
		}
		m.detail, m.focus = msg, detailPane
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
	v := tea.NewView(m.draw())
	v.AltScreen = true
	v.MouseMode = tea.MouseModeCellMotion
	v.WindowTitle = "strata explore " + m.im.Text
	return v
}
