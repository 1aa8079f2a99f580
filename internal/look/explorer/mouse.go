package explorer

import tea "charm.land/bubbletea/v2"

// click selects what is under the mouse; a second click on a directory opens or closes it.
func (m *model) click(x, y int) {
	y -= 2 // the title and the heading
	switch {
	case m.prompt != nil:
	case x < m.leftWidth():
		if m.focus == detailPane {
			m.back()
		}
		m.focus = layersPane
		if i := m.rowTop + y; y >= 0 && y < m.layersHeight() && i < len(m.rows) && i != m.row {
			m.row = i
			m.selected(true)
		}
	case m.focus == detailPane:
	default:
		i := m.treeTop + y
		if y >= 0 && i < len(m.tree.lines) {
			if m.focus == treePane && m.cursor == i {
				m.tree.toggle(m.tree.lines[i].node)
			}
			m.cursor = i
		}
		m.focus = treePane
	}
}

// wheel scrolls the pane under the mouse.
func (m *model) wheel(w tea.MouseWheelMsg) {
	by := 3
	if w.Button == tea.MouseWheelUp {
		by = -3
	}
	if m.focus != detailPane {
		if m.focus = treePane; w.X < m.leftWidth() {
			m.focus, by = layersPane, by/3
		}
	}
	m.move(by)
}
