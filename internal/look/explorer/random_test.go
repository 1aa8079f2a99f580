package explorer

import (
	"fmt"
	"math/rand/v2"
	"testing"

	tea "charm.land/bubbletea/v2"

	"github.com/strata-build/strata/internal/look/timeline"
)

// step does something that a person may do, and says what it was. Nothing is written to the disk.
func (s *session) step(action, where byte) string {
	sizes := [][2]int{{20, 6}, {80, 24}, {300, 100}, {31, 7}, {1, 1}, {100, 30}}
	keys := []string{"left", "right", "0", "enter", "esc", "tab", "j", "k", "backspace"}
	for _, a := range actions() {
		if a.keys[0] != "q" {
			keys = append(keys, a.keys...)
		}
	}
	switch n := int(action); {
	case n < 8:
		size := sizes[int(where)%len(sizes)]
		s.send(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		return fmt.Sprint(size)
	case n < 20:
		s.send(tea.MouseClickMsg{X: int(where), Y: int(action)})
		return "click"
	case n < 28:
		s.send(tea.MouseWheelMsg{X: int(where), Button: tea.MouseWheelUp + tea.MouseButton(n%2)})
		return "wheel"
	case n < 50:
		text := string([]rune{'a', 'd', '/', '[', '^', 'い', '.', '\u0301'}[int(where)%8])
		s.send(tea.PasteMsg{Content: text})
		return "paste " + text
	default:
		k := keys[int(where)%len(keys)]
		if s.m.prompt != nil && s.m.prompt.label == "extract to: " && k == "enter" {
			k = "esc"
		}
		s.send(keyOf(k))
		return k
	}
}

// sane holds the model against what must always be true.
func sane(t testing.TB, s *session, what string) {
	t.Helper()
	check(t, s, what)
	m := s.m
	if n := m.node(); len(m.tree.lines) > 0 && n == timeline.None {
		t.Errorf("%s: no line is selected", what)
	}
	if m.height >= 6 && m.focus != detailPane && len(m.tree.lines) > 0 && (m.cursor < m.treeTop || m.cursor >= m.treeTop+m.body()) {
		t.Errorf("%s: line %d is selected, and %d to %d are seen", what, m.cursor, m.treeTop, m.treeTop+m.body())
	}
}

// TestRandomWalks does what nobody would do on purpose.
func TestRandomWalks(t *testing.T) {
	s := start(t, sample(t))
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		for i := range 150 {
			what := s.step(byte(r.IntN(256)), byte(r.IntN(256)))
			sane(t, s, fmt.Sprintf("seed %d, step %d, %s", seed, i, what))
			if t.Failed() {
				return
			}
		}
	}
}

// FuzzExplorer drives the explorer with two bytes for each thing that a person does.
func FuzzExplorer(f *testing.F) {
	f.Add([]byte("\x80\x05\xff\x10\x00\x00\x90\x21"))
	f.Add([]byte("\xc0\x0b\x80\x03\x00\x04\x00\x01"))
	s := start(f, sample(f))
	m := s.m
	f.Fuzz(func(t *testing.T, data []byte) {
		s.t, s.m = t, newModel(m.ctx, m.options, m.timeline)
		for i := 0; i+1 < len(data) && i < 400; i += 2 {
			sane(t, s, s.step(data[i], data[i+1]))
		}
	})
}
