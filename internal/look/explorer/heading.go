package explorer

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/style"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/look/timeline"
)

// title names the image and says what can be said of it in one line; of what has no room the least important part goes
// first.
func (m *model) title() string {
	layers := "layers"
	if m.im.Layers() == 1 {
		layers = "layer"
	}
	name, id := clean(m.im.Text), "  "+image.ShortID(m.im.ID)
	size := fmt.Sprintf("  %d %s  %s", m.im.Layers(), layers, human.Size(m.waste.Stored))
	wasted := fmt.Sprintf("  wasted %s", human.Size(m.waste.Bytes))
	percent := fmt.Sprintf(" (%.0f %% efficient)", 100*m.waste.Efficiency())
	numbers := firstFit(m.width-1-ansi.StringWidth(name), id+size+wasted+percent, id+size+wasted, size+wasted, size)
	if room := m.width - 1 - ansi.StringWidth(numbers); room >= m.width/2 {
		name = ansi.Truncate(name, room, "…")
	}
	return m.paint(style.Reverse, fit(" "+name+numbers, m.width))
}

// firstFit is the first of the texts that fits a width, or the last one.
func firstFit(width int, texts ...string) string {
	for _, t := range texts {
		if ansi.StringWidth(t) <= width {
			return t
		}
	}
	return texts[len(texts)-1]
}

// heading is the first line of a pane, marked where the keys go.
func (m *model) heading(p pane, text string, width int) string {
	if m.focus == p || p == treePane && m.focus == detailPane {
		return m.paint(style.Bold, fit("▌"+text, width))
	}
	return m.paint(style.Faint, fit(" "+text, width))
}

// treeHeading says what the tree shows. Where there is little room, what a person has set stays.
func (m *model) treeHeading(width int) string {
	long, short := "Changes of this layer", "Changes"
	switch r := m.current(); {
	case m.all:
		long, short = "All files up to this layer", "All files"
	case r != nil && r.Layer < 0:
		return "Changes of the configuration"
	}
	count, unit := fmt.Sprintf("  %s in %d", human.Size(m.tree.sizes[timeline.Root]), m.tree.total), " paths"
	if m.tree.total == 1 {
		unit = " path"
	}
	set := ""
	if m.filter != "" {
		set += "  filter: " + clean(m.filter)
	}
	for _, k := range []timeline.Kind{timeline.Added, timeline.Changed, timeline.Removed, timeline.Kept} {
		if m.hide[k] {
			set += "  no " + string(k)
		}
	}
	if m.bySize {
		set += "  by size"
	}
	return firstFit(width-1, long+count+unit+set, long+count+set, short+count+set, short+set)
}

// detailHeading is the title, how to go back, and where in the text this is.
func (m *model) detailHeading(width int) string {
	d := &m.detail
	where := ""
	if len(d.lines) > m.body() {
		where = fmt.Sprintf("  %d-%d of %d", d.top+1, min(len(d.lines), d.top+m.body()), len(d.lines))
	}
	if d.left > 0 {
		where += fmt.Sprintf("  column %d", d.left+1)
	}
	back := "  (esc: back)"
	text := firstFit(width-1, d.title+where+back, d.title+where)
	if room := width - 1 - ansi.StringWidth(where); room > 0 {
		text = firstFit(width-1, text, ansi.Truncate(d.title, room, "…")+where)
	}
	return text
}

// bottom is the last line: a prompt, a word about what was done, or the keys.
func (m *model) bottom() string {
	switch {
	case m.prompt != nil:
		return m.promptLine()
	case m.status != "":
		return fit(" "+clean(m.status), m.width)
	}
	var words []string
	used := 0
	for _, a := range actions() {
		if a.help == "" {
			continue
		}
		word := a.keys[0] + " " + a.help
		if used += len(word) + 2; used > m.width-len("? keys  q quit")-2 && a.keys[0] != "?" && a.keys[0] != "q" {
			continue
		}
		words = append(words, m.paint(style.Bold, a.keys[0])+" "+a.help)
	}
	return fit(" "+strings.Join(words, "  "), m.width)
}

// promptLine is what is asked and the answer so far, whose end is seen if there is no room for all of it.
func (m *model) promptLine() string {
	label, text := m.prompt.label, clean(m.prompt.text)
	if over := ansi.StringWidth(label) + ansi.StringWidth(text) + 1 - m.width; over > 0 {
		text = ansi.TruncateLeft(text, over+1, "…")
	}
	return fit(m.paint(style.Bold, label)+text+m.paint(style.Reverse, " ")+"  "+m.paint(style.Faint, "enter: do it, esc: leave it"), m.width)
}
