package progress

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/style"
)

// Classic shows a build as Docker's classic engine (DOCKER_BUILDKIT=0) does: steps, one after the other, and nothing else.
type Classic struct {
	mu       sync.Mutex
	out      io.Writer
	warnings io.Writer
	terminal bool // instructions are made harmless
	color    bool // stderr of steps in red
	open     bool // a step's output ended without a line end

	positions int // the N of Step i/N
	// container is the ID of the one that the step under way runs in, "" for none.
	container    string
	newContainer func() string
	// last is the ID of the last step until it is known under which one the image is stored, which has more in its config;
	// "" where nothing is held back.
	last digest.Digest
}

// NewClassic returns a display on out, with warnings on another file. A quiet one shows warnings only.
// It writes at once, without a spool: what steps and the display of errors print to two files stays in its order.
func NewClassic(out, warnings human.File, quiet bool) *Classic {
	c := &Classic{out: out, warnings: warnings, newContainer: containerID}
	if quiet {
		c.out = io.Discard
		return c
	}
	c.terminal = human.IsTerminal(out)
	c.color = c.terminal && style.Wanted()
	return c
}

// containerID makes an ID of one of Docker's containers. Steps need none here, but the line is what people look for.
func containerID() string {
	var id [6]byte
	rand.Read(id[:]) // never fails (crypto/rand)
	return hex.EncodeToString(id[:])
}

// Send implements event.Sink.
func (c *Classic) Send(e event.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e := e.(type) {
	case event.Planned:
		c.plan(e)
	case event.Started:
		c.start(e.Vertex)
	case event.Running:
		if e.Vertex.Kind == event.Run {
			c.container = c.newContainer()
			c.line(" ---> Running in %s", c.container)
		}
	case event.Output:
		c.output(e.Stream, e.Data)
	case event.Layer:
		if e.Status != "Downloading" {
			c.output(1, fmt.Appendf(nil, "%s: %s\n", e.ID.Encoded()[:12], e.Status))
		}
	case event.Finished:
		c.finish(e)
	case event.Built:
		if c.last != "" {
			c.last = e.ID // the ID that history and run know, as with Docker
		}
		c.line("Successfully built %s", short(e.ID))
		for _, name := range e.Tags {
			c.line("Successfully tagged %s", name)
		}
	case event.Warning:
		fmt.Fprintln(c.warnings, e.Text)
	case event.Finding:
		if e.Rule == "" { // Docker's first builder knew no checks, only what is no rule of them
			fmt.Fprintln(c.warnings, e.Text)
		}
	}
}

// Close implements Display.
func (c *Classic) Close(error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release()
}

// release shows the last step's ID.
func (c *Classic) release() {
	if id := c.last; id != "" {
		c.last = ""
		c.line(" ---> %s", short(id))
	}
}

// plan shows the ARGs before the first FROM, which are steps for the classic engine.
func (c *Classic) plan(e event.Planned) {
	c.positions = e.Positions
	for _, i := range e.Globals {
		c.step(i.Position, i.Text)
	}
}

func (c *Classic) start(v *event.Vertex) {
	if v.Kind == event.From || v.Kind.IsStep() {
		c.container = ""
		c.step(v.Position, v.Text)
	}
}

func (c *Classic) step(position int, text string) {
	if c.terminal {
		text = oneLine(text)
	}
	c.line("Step %d/%d : %s", position, c.positions, text)
}

func (c *Classic) finish(e event.Finished) {
	container := c.container
	switch {
	case e.Vertex.Kind != event.From && !e.Vertex.Kind.IsStep():
		return
	case e.Status == event.Failed || e.Status == event.Canceled:
		c.container = ""
		return
	case container != "":
		c.line("Removing intermediate container %s", container)
	case e.Record != nil && e.Status == event.Cached:
		c.line(" ---> Using cache")
	}
	c.container = ""
	if e.Vertex.Position == c.positions && e.State != "" {
		c.release() // that of another platform
		c.last = e.State
		return
	}
	c.line(" ---> %s", short(e.State)) // FROM scratch has an arrow without an ID
}

// output passes on output of a step as it is: stream 1 is stdout; 2, stderr, is red on a terminal.
func (c *Classic) output(stream int, data []byte) {
	if len(data) == 0 {
		return
	}
	c.release()
	c.open = data[len(data)-1] != '\n'
	if stream == 2 && c.color {
		fmt.Fprintf(c.out, "%s%s%s", style.BrightRed.Start(), data, style.Reset)
		return
	}
	c.out.Write(data)
}

func (c *Classic) line(format string, args ...any) {
	c.release()
	if c.open {
		fmt.Fprintln(c.out)
		c.open = false
	}
	fmt.Fprintf(c.out, format+"\n", args...)
}

// short is the first 12 digits of a digest.
func short(id digest.Digest) string { return shortID(id.String()) }
