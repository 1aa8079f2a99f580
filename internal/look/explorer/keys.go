package explorer

import (
	"slices"
	"strings"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"github.com/strata-build/strata/internal/look/timeline"
)

// action is something that a key does.
type action struct {
	keys []string // as tea.KeyPressMsg.String gives them; the first is shown
	help string   // in the last line, "" for what is only in the list of all keys
	long string
	do   func(*model) tea.Cmd
}

func say(m *model, text string) tea.Cmd {
	m.status = text
	return nil
}

// only makes an action of what needs no command.
func only(do func(*model)) func(*model) tea.Cmd {
	return func(m *model) tea.Cmd {
		do(m)
		return nil
	}
}

// actions are the keys: those of dive with Ctrl, those of vim, and a letter for everything. What stands first is shown
// first where the last line is short.
func actions() []action {
	return []action{
		{[]string{"tab", "shift+tab"}, "pane", "go to the other pane", only((*model).nextPane)},
		{[]string{"a"}, "all/changes", "show the whole tree at this layer, or this layer's changes only", only(func(m *model) { m.setAll(!m.all) })},
		{[]string{"ctrl+a"}, "", "show the whole tree at this layer", only(func(m *model) { m.setAll(true) })},
		{[]string{"ctrl+l"}, "", "show this layer's changes only", only(func(m *model) { m.setAll(false) })},
		{[]string{"enter"}, "open", "open or close a directory, show a file", (*model).enter},
		{[]string{"f", "ctrl+f"}, "filter", "show only paths that match", only((*model).askFilter)},
		{[]string{"/"}, "search", "go to the next path that matches; n and N go on", only((*model).askSearch)},
		{[]string{"b"}, "blame", "show who put the selected file there", (*model).showBlame},
		{[]string{"x"}, "shell", "enter the selected layer with a shell", (*model).shell},
		{[]string{"e", "ctrl+e"}, "extract", "write the selected file to this machine", only((*model).askExtract)},
		{[]string{"w"}, "waste", "list the bytes that later layers hide", (*model).showWaste},
		{[]string{"s", "ctrl+o"}, "sort", "sort by size, or by name", only(func(m *model) { m.bySize = !m.bySize; m.reshow() })},
		{[]string{"c"}, "config", "list rows that only change the configuration, or fold them", only(func(m *model) { m.configs = !m.configs; m.listRows(); m.selected(true) })},
		{[]string{"o", "ctrl+b"}, "owners", "show permissions and owners", only(func(m *model) { m.attributes = !m.attributes })},
		{[]string{"?", "f1"}, "keys", "list all keys", (*model).showKeys},
		{[]string{"q", "ctrl+c"}, "quit", "leave", func(*model) tea.Cmd { return tea.Quit }},
		{[]string{"v"}, "", "show the selected file", (*model).preview},
		{[]string{"up", "k", "ctrl+p"}, "", "up", only(func(m *model) { m.move(-1) })},
		{[]string{"down", "j", "ctrl+n"}, "", "down", only(func(m *model) { m.move(1) })},
		{[]string{"pgup", "u"}, "", "a page up", only(func(m *model) { m.move(-m.page()) })},
		{[]string{"pgdown", "d", "ctrl+d"}, "", "a page down", only(func(m *model) { m.move(m.page()) })},
		{[]string{"g", "home"}, "", "to the beginning", only(func(m *model) { m.move(-1 << 30) })},
		{[]string{"G", "end"}, "", "to the end", only(func(m *model) { m.move(1 << 30) })},
		{[]string{"h", "left"}, "", "close the directory, or go to the one above", only((*model).left)},
		{[]string{"l", "right"}, "", "open the directory", only((*model).right)},
		{[]string{"space"}, "", "open or close the directory", only(func(m *model) { m.toggle() })},
		{[]string{"E"}, "", "open all directories", only(func(m *model) { m.refold(m.tree.openAll) })},
		{[]string{"C", "ctrl+space", "ctrl+@"}, "", "close all directories", only(func(m *model) { m.refold(m.tree.closeAll) })},
		{[]string{"n"}, "", "the next match", only(func(m *model) { m.again(false) })},
		{[]string{"N"}, "", "the match before", only(func(m *model) { m.again(true) })},
		{[]string{"+"}, "", "show or hide what was added", only(func(m *model) { m.toggleKind(timeline.Added) })},
		{[]string{"~", "m"}, "", "show or hide what was changed", only(func(m *model) { m.toggleKind(timeline.Changed) })},
		{[]string{"-", "ctrl+r"}, "", "show or hide what was removed", only(func(m *model) { m.toggleKind(timeline.Removed) })},
		{[]string{"=", "ctrl+u"}, "", "show or hide what did not change", only(func(m *model) { m.toggleKind(timeline.Kept) })},
		{[]string{"esc"}, "", "back; take the filter away", only((*model).back)},
	}
}

// key does what a key means where the focus is.
func (m *model) key(k tea.KeyPressMsg) tea.Cmd {
	m.status = ""
	if m.prompt != nil {
		return m.prompt.key(m, k)
	}
	name := k.String()
	if m.focus == detailPane && m.detailKey(name) {
		return nil
	}
	for _, a := range actions() {
		if slices.Contains(a.keys, name) {
			return a.do(m)
		}
	}
	return nil
}

func (m *model) nextPane() {
	if m.focus == layersPane {
		m.focus = treePane
	} else {
		m.focus = layersPane
	}
}

func (m *model) setAll(all bool) {
	at := m.node()
	m.all = all
	m.selected(true)
	if at != timeline.None && m.tree.shown[at] {
		m.goTo(at)
	}
}

// reshow applies what was changed of the selection, and stays where the person is.
func (m *model) reshow() {
	at := m.node()
	m.selected(false)
	m.cursor = m.tree.at(at)
}

func (m *model) refold(fold func()) {
	at := m.node()
	fold()
	m.cursor = m.tree.at(at)
}

func (m *model) toggleKind(k timeline.Kind) {
	m.hide[k] = !m.hide[k]
	m.reshow()
	word := "shown"
	if m.hide[k] {
		word = "hidden"
	}
	m.status = map[timeline.Kind]string{
		timeline.Added: "added (+)", timeline.Changed: "changed (~)", timeline.Removed: "removed (-)", timeline.Kept: "unchanged (=)",
	}[k] + ": " + word
}

func (m *model) move(by int) {
	switch m.focus {
	case layersPane:
		if row := clamp(m.row+by, 0, len(m.rows)-1); row != m.row {
			m.row = max(row, 0)
			m.selected(true)
		}
	case treePane:
		m.cursor = clamp(m.cursor+by, 0, len(m.tree.lines)-1)
	case detailPane:
		m.detail.top += by
	}
	m.cursor = max(m.cursor, 0)
}

// page is how far a page goes.
func (m *model) page() int {
	if m.focus == layersPane {
		return max(1, m.layersHeight()-1)
	}
	return max(1, m.body()-1)
}

func (m *model) enter() tea.Cmd {
	switch n := m.node(); {
	case m.focus == layersPane:
		m.focus = treePane
	case n == timeline.None:
	case m.tree.isDir(n):
		m.toggle()
	default:
		return m.preview()
	}
	return nil
}

func (m *model) toggle() {
	if n := m.node(); m.focus == treePane && n != timeline.None {
		m.tree.toggle(n)
	}
}

// left closes the directory, and goes to the one that it is in if it is closed.
func (m *model) left() {
	n := m.node()
	if m.focus != treePane || n == timeline.None {
		m.focus = layersPane
		return
	}
	if m.tree.open[n] {
		m.tree.toggle(n)
		return
	}
	if parent := m.timeline.Parent(n); parent != timeline.Root {
		m.cursor = m.tree.at(parent)
		return
	}
	m.focus = layersPane
}

func (m *model) right() {
	n := m.node()
	switch {
	case m.focus == layersPane:
		m.focus = treePane
	case m.focus == treePane && n != timeline.None && !m.tree.open[n]:
		m.tree.toggle(n)
	}
}

// back leaves what was opened last.
func (m *model) back() {
	switch {
	case m.focus == detailPane:
		m.focus, m.detail = m.detail.from, detail{}
	case m.filter != "":
		m.filter = ""
		m.reshow()
	}
}

func (m *model) goTo(n timeline.Node) {
	m.tree.reveal(n)
	m.cursor = m.tree.at(n)
}

func (m *model) askFilter() {
	before := m.filter
	m.prompt = &prompt{label: "filter: ", text: m.filter,
		typed: func(m *model, text string) tea.Cmd {
			m.filter = text
			m.selected(true)
			return nil
		},
		done: func(m *model, text string) tea.Cmd {
			m.focus = treePane
			return nil
		}}
	m.prompt.cancel = func(m *model) {
		m.filter = before
		m.selected(true)
	}
}

func (m *model) askSearch() {
	m.prompt = &prompt{label: "/", done: func(m *model, text string) tea.Cmd {
		m.search = text
		m.again(false)
		return nil
	}}
}

// again goes to the next match of the search.
func (m *model) again(back bool) {
	if m.search == "" {
		return
	}
	n := m.tree.find(m.search, m.node(), back)
	if n == timeline.None {
		m.status = "nothing here matches " + m.search
		return
	}
	m.focus = treePane
	m.goTo(n)
}

// key changes the text of a prompt.
func (p *prompt) key(m *model, k tea.KeyPressMsg) tea.Cmd {
	switch k.String() {
	case "enter":
		m.prompt = nil
		return p.done(m, p.text)
	case "esc", "ctrl+c":
		m.prompt = nil
		if p.cancel != nil {
			p.cancel(m)
		}
		return nil
	case "backspace":
		_, n := utf8.DecodeLastRuneInString(p.text)
		p.text = p.text[:len(p.text)-n]
	case "ctrl+u":
		p.text = ""
	case "ctrl+w":
		p.text = p.text[:strings.LastIndexAny(strings.TrimRight(p.text, " /"), " /")+1]
	default:
		return p.insert(m, k.Text)
	}
	return p.changed(m)
}

func (p *prompt) insert(m *model, text string) tea.Cmd {
	p.text += strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, text)
	return p.changed(m)
}

func (p *prompt) changed(m *model) tea.Cmd {
	if p.typed == nil {
		return nil
	}
	return p.typed(m, p.text)
}
