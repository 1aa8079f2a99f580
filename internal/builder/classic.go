package builder

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/export"
	"github.com/strata-build/strata/internal/builder/solver"
	"github.com/strata-build/strata/internal/builder/source/remote"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/event/progress"
)

// Classic shows a build of the classic engine as Docker's first builder did. Steps come one after the other.
type Classic struct {
	out       *progress.Classic
	plan      *dockerfile.Plan
	container string
	running   bool
}

// NewClassic returns a display on out.
func NewClassic(out *progress.Classic) *Classic { return &Classic{out: out} }

// Phase implements Display. The classic engine shows steps only.
func (c *Classic) Phase(string) func(error) { return func(error) {} }

// Plan implements Display: it shows the ARGs before the first FROM, which are steps for the classic engine.
func (c *Classic) Plan(p *dockerfile.Plan) {
	c.plan = p
	for _, s := range p.Global {
		c.out.Step(s.Position, p.Steps, s.Text)
	}
}

// StartStage implements solver.Reporter.
func (c *Classic) StartStage(s *dockerfile.Stage) {
	c.out.Step(s.Position, c.plan.Steps, s.Text)
}

// DoneStage implements solver.Reporter.
func (c *Classic) DoneStage(_ *dockerfile.Stage, st *solver.State, err error) {
	if err != nil {
		return
	}
	if st.ID == "" {
		c.out.Layer("") // FROM scratch: an arrow without an ID
		return
	}
	c.out.Layer(st.ID.String())
}

// Start implements solver.Reporter.
func (c *Classic) Start(s *dockerfile.Step) {
	c.running = false
	c.out.Step(s.Position, c.plan.Steps, s.Text)
}

// Running implements solver.Reporter. The ID is one of Docker's containers; ours need none, but the line is
// what people look for.
func (c *Classic) Running(s *dockerfile.Step) {
	if s.Run == nil {
		return
	}
	var id [6]byte
	if _, err := rand.Read(id[:]); err != nil {
		return
	}
	c.container, c.running = hex.EncodeToString(id[:]), true
	c.out.RunningIn(c.container)
}

// Output implements solver.Reporter.
func (c *Classic) Output(_ *dockerfile.Step, stream int, data []byte) { c.out.Output(stream, data) }

// Done implements solver.Reporter.
func (c *Classic) Done(_ *dockerfile.Step, st *solver.State, record *cache.Record, ran bool) {
	switch {
	case c.running:
		c.out.Removed(c.container)
	case record != nil && !ran:
		c.out.UsingCache()
	}
	c.running = false
	c.out.Layer(st.ID.String())
}

// Failed implements solver.Reporter.
func (c *Classic) Failed(*dockerfile.Step, error) { c.running = false }

// Transfer implements Display.
func (c *Classic) Transfer(blob digest.Digest, status string, _, _ int64) {
	if status != "Downloading" {
		c.out.Output(1, fmt.Appendf(nil, "%s: %s\n", blob.Encoded()[:12], status))
	}
}

// Fetch implements Display: it says nothing.
func (c *Classic) Fetch(string) remote.Transfer { return silent{} }

// Exporting implements export.Display: the result is all that Docker shows.
func (c *Classic) Exporting(string) export.Output { return silent{} }

type silent struct{}

func (silent) Item(string, int64, int64, string) {}
func (silent) Bytes(int64, int64)                {}
func (silent) Done(error)                        {}

// Built implements Display.
func (c *Classic) Built(id digest.Digest, tags []string) {
	c.out.Built(id.String())
	for _, t := range tags {
		c.out.Tagged(t)
	}
}

// Note implements Display: it says nothing, since Docker's output has no place for it.
func (c *Classic) Note(*dockerfile.Step, string) {}

// Warning implements Display.
func (c *Classic) Warning(line string) { fmt.Fprintln(os.Stderr, line) }

// Found implements Display. Docker's first builder knew no checks, only what is no rule of them.
func (c *Classic) Found(w dockerfile.Warning) {
	if w.Rule == "" {
		c.Warning(w.String())
	}
}

func isCanceled(err error) bool { return errors.Is(err, context.Canceled) }

// cause is a step's error without the place in the Dockerfile, which is shown once, at the end.
func cause(err error) error {
	if e := (*dockerfile.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

var _ Display = (*Classic)(nil)
