package explorer

import (
	"context"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/timeline"
	"github.com/strata-build/strata/internal/look/view"
)

// reading is a timeline that is being made. Its fields are there when done is closed.
type reading struct {
	done     chan struct{}
	timeline *timeline.Timeline
	err      error
}

func read(ctx context.Context, im *anatomy.Image) *reading {
	r := &reading{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.timeline, r.err = im.Timeline(ctx)
	}()
	return r
}

// loader is the screen that is seen while layers are read or fetched. The explorer takes its place.
type loader struct {
	ctx           context.Context
	options       Options
	reading       *reading
	started       time.Time
	width, height int
	blobs         []digest.Digest // of the layers as they are moved, "" where that is not known
	sizes         []int64         // of the blobs, -1 where that is not known
	known         []bool          // the layers that were read
	err           error
}

func newLoader(ctx context.Context, o Options, r *reading) *loader {
	l := &loader{ctx: ctx, options: o, reading: r, started: time.Now(), width: 80, height: 24}
	for i := range o.Image.Layers() {
		blob, size := o.Image.Blob(i)
		l.blobs, l.sizes = append(l.blobs, blob), append(l.sizes, size)
	}
	l.known = make([]bool, len(l.sizes))
	l.look()
	return l
}

// look finds out which layers were read meanwhile.
func (l *loader) look() {
	for i, known := range l.known {
		l.known[i] = known || l.options.Image.Known(i)
	}
}

type (
	readMsg struct{}
	tickMsg struct{}
)

func tick() tea.Cmd {
	return tea.Tick(200*time.Millisecond, func(time.Time) tea.Msg { return tickMsg{} })
}

// Init implements tea.Model.
func (l *loader) Init() tea.Cmd {
	wait := func() tea.Msg {
		<-l.reading.done
		return readMsg{}
	}
	return tea.Batch(wait, tick())
}

// Update implements tea.Model.
func (l *loader) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		l.width, l.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		if k := msg.String(); k == "ctrl+c" || k == "q" || k == "esc" {
			l.err = context.Canceled
			return l, tea.Quit
		}
	case tickMsg:
		l.look()
		return l, tick()
	case readMsg:
		if l.err = l.reading.err; l.err != nil {
			return l, tea.Quit
		}
		return newModel(l.ctx, l.options, l.reading.timeline).Update(tea.WindowSizeMsg{Width: l.width, Height: l.height})
	}
	return l, nil
}

// View implements tea.Model.
func (l *loader) View() tea.View { return screen(l.draw(), l.options.Image) }

func (l *loader) draw() string {
	im := l.options.Image
	lines := []string{
		fmt.Sprintf(" %s  %s", clean(im.Text), image.ShortID(im.ID)), "",
		fmt.Sprintf(" reading its layers: %s", l.progress()), "",
	}
	for i, known := range l.known {
		if len(lines) >= l.height-2 {
			break
		}
		word, size := "…", ""
		if l.sizes[i] >= 0 {
			size = human.Size(l.sizes[i])
		}
		if known {
			word = "✔"
		} else if n := l.fetched(i); n > 0 && l.sizes[i] > 0 {
			size = fmt.Sprintf("%d%%", n*100/l.sizes[i])
		}
		text := ""
		if row := im.RowOf(i); row >= 0 {
			text = clean(view.Instruction(&im.Rows[row]))
		}
		lines = append(lines, fmt.Sprintf(" %s %7s %s", word, size, text))
	}
	for len(lines) < l.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:max(0, l.height-1)], " q quit")
	for i := range lines {
		lines[i] = fit(lines[i], l.width)
	}
	return strings.Join(lines, "\n")
}

// fetched is how many bytes of a layer came from its registry so far.
func (l *loader) fetched(layer int) int64 {
	if l.options.Fetching == nil {
		return 0
	}
	return min(l.options.Fetching.of(l.blobs[layer]), max(0, l.sizes[layer]))
}

// progress says how many layers were read, and for how long that has gone on.
func (l *loader) progress() string {
	read, bytes, all := 0, int64(0), int64(0)
	for i, known := range l.known {
		if known {
			read++
			bytes += max(0, l.sizes[i])
		} else {
			bytes += l.fetched(i)
		}
		all += max(0, l.sizes[i])
	}
	text := fmt.Sprintf("%d of %d", read, len(l.known))
	if all > 0 {
		text += fmt.Sprintf(", %s of %s (%d%%)", human.Size(bytes), human.Size(all), bytes*100/all)
	}
	return fmt.Sprintf("%s, %d s", text, int(time.Since(l.started).Seconds()))
}
