package explorer

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/style"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/timeline"
	"github.com/strata-build/strata/internal/look/view"
)

// The screen: a title, two panes with a heading each, and a last line with the keys.
//
//	 IMAGE  n layers  size  wasted
//	 Layers             │ Changes of this layer
//	 …                  │ …
//	 ── the selected    │
//	 …                  │
//	 keys

// body is the height of a pane without its heading.
func (m *model) body() int { return max(1, m.height-3) }

// infoHeight is how many lines the selected row's description has, its heading included.
func (m *model) infoHeight() int { return clamp(m.body()/3, 0, 9) }

func (m *model) layersHeight() int { return max(1, m.body()-m.infoHeight()) }

// leftWidth is the width of the layers' pane.
func (m *model) leftWidth() int { return clamp(m.width*2/5, min(30, m.width/2), 60) }

func (m *model) rightWidth() int { return m.width - m.leftWidth() - 1 }

// scroll moves what is seen so that the selected lines are in it.
func (m *model) scroll() {
	m.rowTop = keep(m.row, m.rowTop, m.layersHeight(), len(m.rows))
	m.treeTop = keep(m.cursor, m.treeTop, m.body(), len(m.tree.lines))
	if m.focus == detailPane {
		m.detail.scroll(m.rightWidth()-1, m.body())
	}
}

// keep returns the first of height lines so that line at is among them.
func keep(at, top, height, n int) int {
	top = clamp(top, at-height+1, at)
	return clamp(top, 0, max(0, n-height))
}

// paint gives a text a style; without colours only one that is none.
func (m *model) paint(s style.Style, text string) string {
	if m.options.NoColor && s.HasColor() {
		return text
	}
	return s.Paint(text)
}

// fit makes a text exactly width columns wide.
func fit(text string, width int) string {
	if width <= 0 {
		return ""
	}
	text = ansi.Truncate(text, width, "…")
	return text + strings.Repeat(" ", max(0, width-ansi.StringWidth(text)))
}

// draw makes the screen.
func (m *model) draw() string {
	if m.width < 20 || m.height < 6 {
		return "the terminal is too small"
	}
	left, right := m.leftWidth(), m.rightWidth()
	l, r := m.drawLeft(left), m.drawRight(right)
	var b strings.Builder
	b.WriteString(m.title())
	for i := range m.body() + 1 {
		b.WriteByte('\n')
		b.WriteString(lineOf(l, i, left) + m.paint(style.Faint, "│") + lineOf(r, i, right))
	}
	b.WriteByte('\n')
	b.WriteString(m.bottom())
	return b.String()
}

func lineOf(lines []string, i, width int) string {
	if i < len(lines) {
		return lines[i]
	}
	return strings.Repeat(" ", width)
}

// drawLeft draws the layers, and the selected one's description.
func (m *model) drawLeft(width int) []string {
	heading := fmt.Sprintf("Layers %d/%d", m.row+1, len(m.rows))
	if folded := len(m.im.Rows) - len(m.rows); folded > 0 {
		heading += fmt.Sprintf("  (c: %d config rows)", folded)
	}
	out := []string{m.heading(layersPane, heading, width)}
	for i := m.rowTop; i < min(len(m.rows), m.rowTop+m.layersHeight()); i++ {
		out = append(out, m.layerLine(i, width))
	}
	for len(out) < m.layersHeight()+1 {
		out = append(out, strings.Repeat(" ", width))
	}
	return append(out, m.info(width)...)
}

func (m *model) layerLine(i, width int) string {
	r := m.im.Rows[m.rows[i]]
	size := "config"
	if r.Layer >= 0 {
		size = human.Size(m.timeline.Stats(r.Layer).Stored)
	}
	base := " "
	if m.rows[i] <= m.im.BaseRow() {
		base = "░" // of the base image
	}
	text := fmt.Sprintf("%s%7s %s", base, size, clean(view.Instruction(&r)))
	return m.choose(i == m.row, m.focus == layersPane, text, "", width)
}

// choose draws a line, and marks the one that is selected.
func (m *model) choose(selected, focused bool, text string, color style.Style, width int) string {
	mark := " "
	if selected {
		mark = ">"
	}
	text = fit(mark+text, width)
	switch {
	case selected && focused:
		return m.paint(style.Reverse, text)
	case selected:
		return m.paint(style.Bold, text)
	case color != "":
		return m.paint(color, text)
	}
	return text
}

// info describes the selected row.
func (m *model) info(width int) []string {
	height := m.infoHeight()
	r := m.current()
	if height == 0 || r == nil {
		return nil
	}
	out := []string{m.paint(style.Faint, fit(strings.Repeat("─", width), width))}
	add := func(text string) { out = append(out, fit(" "+text, width)) }
	head := "step " + image.ShortID(r.ID)
	if r.Layer >= 0 {
		head += "  layer " + image.ShortID(r.DiffID)
	}
	add(head)
	if r.Layer >= 0 {
		s := m.timeline.Stats(r.Layer)
		out = append(out, " "+m.counts(s)+strings.Repeat(" ", max(0, width-1-ansi.StringWidth(m.counts(s)))))
	}
	if len(r.Base) > 0 {
		add(clean(strings.Join(r.Base, ", ")))
	}
	for _, l := range strings.Split(ansi.Wrap(clean(view.Instruction(r)), width-2, ""), "\n") {
		add(l)
	}
	return out[:min(len(out), height)]
}

func (m *model) counts(s timeline.Stats) string {
	return fmt.Sprintf("%s %s %s files", m.paint(style.Green, fmt.Sprintf("+%d", s.Added)), m.paint(style.Yellow, fmt.Sprintf("~%d", s.Changed)), m.paint(style.Red, fmt.Sprintf("-%d", s.Removed)))
}

// drawRight draws the tree, or what is in its place.
func (m *model) drawRight(width int) []string {
	if m.focus == detailPane {
		return append([]string{m.heading(detailPane, m.detailHeading(width), width)}, m.detail.draw(width, m.body())...)
	}
	out := []string{m.heading(treePane, m.treeHeading(width), width)}
	if len(m.tree.lines) == 0 {
		return append(out, m.nothing(width)...)
	}
	for i := m.treeTop; i < min(len(m.tree.lines), m.treeTop+m.body()); i++ {
		out = append(out, m.treeLine(i, width))
	}
	return out
}

// nothing says why the tree is empty: a row that only changes the configuration shows what it changed.
func (m *model) nothing(width int) []string {
	r := m.current()
	if m.filter != "" {
		return []string{fit(" (nothing matches the filter; esc takes it away)", width)}
	}
	if r == nil || r.Layer >= 0 || m.all {
		return []string{fit(" (nothing)", width)}
	}
	var out []string
	for _, c := range m.configChanges() {
		for i, l := range strings.Split(ansi.Wrap(c, width-4, ""), "\n") {
			sign, rest := l, ""
			if i > 0 {
				sign, rest = "  ", l
			}
			out = append(out, fit("  "+sign+rest, width))
		}
	}
	if out == nil {
		out = []string{fit(" (this row changes nothing)", width)}
	}
	return out
}

// configChanges tells how the selected row changes the configuration.
func (m *model) configChanges() []string {
	at := m.rows[m.row]
	after, err := image.Parse(m.im.Rows[at].Config)
	if err != nil {
		return []string{err.Error()}
	}
	var before *image.Config
	if at > 0 {
		if before, err = image.Parse(m.im.Rows[at-1].Config); err != nil {
			return []string{err.Error()}
		}
	}
	var out []string
	for _, c := range view.CompareConfigs(before, after) {
		name := strings.TrimSpace(c.Field + " " + c.Key)
		if c.Change != "added" {
			out = append(out, clean("- "+name+"="+c.Before))
		}
		if c.Change != "removed" {
			out = append(out, clean("+ "+name+"="+c.After))
		}
	}
	return out
}

func (m *model) treeLine(i, width int) string {
	n, depth := m.tree.lines[i].node, m.tree.lines[i].depth
	e, _ := m.version(n)
	sign := m.tree.sign(n)
	size := ""
	switch {
	case e.Type == layer.Dir || e.Type == layer.File && m.tree.sizes[n] > 0:
		size = human.Size(m.tree.sizes[n])
	case e.Type == layer.File:
		size = human.Size(e.Size)
	}
	fold := "  "
	if e.Type == layer.Dir {
		fold = "▸ "
		if m.tree.open[n] {
			fold = "▾ "
		}
	}
	name := clean(m.timeline.Name(n))
	if e.Type == layer.Dir {
		name += "/"
	}
	if e.Link != "" {
		name += " → " + clean(e.Link)
	}
	text := fmt.Sprintf("%c %7s ", sign, size)
	if m.attributes || width >= 90 {
		text = fmt.Sprintf("%c %s %9s %7s ", sign, view.Mode(e.Type, e.Mode), fmt.Sprintf("%d:%d", e.UID, e.GID), size)
	}
	text += strings.Repeat("  ", min(depth, max(0, width/4))) + fold + name
	color := map[byte]style.Style{'+': style.Green, '~': style.Yellow, '-': style.Red}[sign]
	return m.choose(i == m.cursor, m.focus == treePane, text, color, width)
}
