package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// Classic writes what Docker's classic engine (DOCKER_BUILDKIT=0) prints. Its methods may be called from many
// goroutines. IDs may be given whole, with or without "sha256:"; 12 digits are shown.
type Classic struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool // instructions are made harmless
	color    bool // stderr of steps in red
	open     bool // a step's output ended without a line end
}

// NewClassic returns a writer to out; a quiet one prints nothing.
func NewClassic(out *os.File, quiet bool) *Classic {
	if quiet {
		return &Classic{out: io.Discard}
	}
	terminal := isTerminal(out)
	return &Classic{out: out, terminal: terminal, color: terminal && useColor()}
}

// Step prints "Step 3/7 : COPY . .".
func (c *Classic) Step(i, n int, text string) {
	if c.terminal {
		text = oneLine(text)
	}
	c.line("Step %d/%d : %s", i, n, text)
}

// UsingCache prints " ---> Using cache".
func (c *Classic) UsingCache() { c.line(" ---> Using cache") }

// RunningIn names the container that a step runs in.
func (c *Classic) RunningIn(id string) { c.line(" ---> Running in %s", shortID(id)) }

// Removed says that the container of a step is gone.
func (c *Classic) Removed(id string) { c.line("Removing intermediate container %s", shortID(id)) }

// Layer prints the step ID that a step gave.
func (c *Classic) Layer(id string) { c.line(" ---> %s", shortID(id)) }

// Built names the image.
func (c *Classic) Built(id string) { c.line("Successfully built %s", shortID(id)) }

// Tagged names a tag that the image got.
func (c *Classic) Tagged(name string) { c.line("Successfully tagged %s", name) }

// Output passes on output of a step as it is: stream 1 is stdout; 2, stderr, is red on a terminal.
func (c *Classic) Output(stream int, data []byte) {
	if len(data) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = data[len(data)-1] != '\n'
	if stream == 2 && c.color {
		fmt.Fprintf(c.out, "\x1b[91m%s\x1b[0m", data)
		return
	}
	c.out.Write(data)
}

func (c *Classic) line(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open {
		fmt.Fprintln(c.out)
		c.open = false
	}
	fmt.Fprintf(c.out, format+"\n", args...)
}
