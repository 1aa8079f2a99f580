package explorer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/anatomy/anatomytest"
)

// waiting is the screen of an archive of which nothing was read yet.
func waiting(t *testing.T) (*loader, *anatomy.Image) {
	m := anatomytest.Mover(t)
	im, err := anatomy.Open(t.Context(), m, anatomytest.Save(t, sample(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	return newLoader(t.Context(), Options{Image: im}, &reading{done: make(chan struct{})}), im
}

func TestLoader(t *testing.T) {
	l, im := waiting(t)
	for _, size := range [][2]int{{80, 24}, {20, 6}, {5, 1}} {
		l.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		lines := strings.Split(l.draw(), "\n")
		if len(lines) != size[1] {
			t.Errorf("%v: %d lines", size, len(lines))
		}
		for _, line := range lines {
			if ansi.StringWidth(line) != size[0] {
				t.Errorf("%v: %q", size, line)
			}
		}
	}
	l.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
	if text := l.draw(); !strings.Contains(text, "0 of 3") || !strings.Contains(text, "… ") || !strings.Contains(text, "COPY layer0 /") {
		t.Errorf("before:\n%s", text)
	}
	blob, size := im.Blob(0)
	l.options.Fetching = &Fetching{}
	l.options.Fetching.Send(event.Layer{ID: blob, Status: event.Downloading, Current: size / 2, Total: size})
	if text := l.draw(); !strings.Contains(text, fmt.Sprintf("… %7s ", fmt.Sprintf("%d%%", size/2*100/size))) || strings.Contains(text, "(0%)") {
		t.Errorf("while a layer comes:\n%s", text)
	}
	if err := im.Look(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	l.Update(tickMsg{})
	if text := l.draw(); !strings.Contains(text, "1 of 3") || !strings.Contains(text, "✔") {
		t.Errorf("with a layer:\n%s", text)
	}
	tl, err := im.Timeline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.reading.timeline = tl
	m, _ := l.Update(readMsg{})
	if m, ok := m.(*model); !ok || m.width != 80 || !strings.Contains(m.draw(), "COPY layer2") {
		t.Error("the explorer does not take its place")
	}
}

func TestLoaderEnds(t *testing.T) {
	l, _ := waiting(t)
	if _, cmd := l.Update(keyOf("ctrl+c")); cmd == nil || !errors.Is(l.err, context.Canceled) {
		t.Errorf("Ctrl-C: %v", l.err)
	}
	l, _ = waiting(t)
	l.reading.err = errors.New("the registry is gone")
	if _, cmd := l.Update(readMsg{}); cmd == nil || l.err == nil {
		t.Error("an error does not end it")
	}
}
