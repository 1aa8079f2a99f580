// Package progress shows events: BuildKit's two looks and its JSON for the graph engine (Display), Docker's old output
// for the classic one (Classic), and one line per layer for a pull or push (Layers).
//
// Text that comes from outside (a step's output, names, errors) is made harmless before it reaches a terminal:
// nothing that a step prints can move the cursor, set the title or forge a line of ours.
package progress

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/suggest"
)

// Display shows the events of one graph build. Events of a vertex that was never started are dropped, and so is
// everything after Close.
type Display interface {
	event.Sink
	// Close ends the display once everything is written: vertices still open count as canceled if err is not nil, else as
	// done, and the last lines of each failed step are shown. err itself is the caller's to report.
	Close(err error)
}

// ErrMode says that New was asked for a way of printing that does not exist.
var ErrMode = errors.New("unknown progress mode")

// New returns a display that writes to out as mode says: "tty" redraws in place, "plain" prints one line after
// the other, "rawjson" one JSON object per line (see rawjson.go), "quiet" nothing but the output of steps that
// failed. "auto" and "" mean tty on a terminal that can move its cursor, else plain. Any other mode gives
// ErrMode; tty without a terminal is an error too.
func New(mode string, out *os.File) (Display, error) {
	d, err := newRenderer(mode, out)
	if err != nil {
		return nil, err
	}
	return &board{Display: d}, nil
}

func newRenderer(mode string, out *os.File) (Display, error) {
	terminal := human.IsTerminal(out)
	look := lookOf(os.Getenv)
	switch mode {
	case "", "auto":
		if terminal && os.Getenv("TERM") != "dumb" {
			return newTTY(out, fileSize(out), look, time.Now), nil
		}
		return newPlain(out, terminal, time.Now), nil
	case "tty":
		if !terminal {
			return nil, errors.New("progress mode tty needs a terminal: use --progress=plain")
		}
		return newTTY(out, fileSize(out), look, time.Now), nil
	case "plain":
		return newPlain(out, terminal, time.Now), nil
	case "rawjson":
		return newRawJSON(out, time.Now), nil
	case "quiet":
		return newQuiet(out, time.Now), nil
	}
	return nil, fmt.Errorf("%w %q%s: use auto, tty, plain, rawjson, quiet or none", ErrMode, mode,
		suggest.DidYouMean(mode, []string{"auto", "tty", "plain", "rawjson", "quiet", "none"}))
}

// step is what every display knows of a vertex.
type step struct {
	index   int // from 1, in the order of start
	name    string
	started time.Time
	ended   time.Time
	status  event.Status // "" while it runs
	tail    tail
}

// begin sets or resets the step's clock.
func (s *step) begin(name string, now time.Time) {
	s.name, s.started, s.ended, s.status = oneLine(name), now, time.Time{}, ""
}

func (s *step) running() bool { return s.status == "" }

func (s *step) end(status event.Status, now time.Time) {
	if status == event.Configured {
		status = event.Cached
	}
	s.status, s.ended = status, now
}

// elapsed is how long the step took, or has taken so far.
func (s *step) elapsed(now time.Time) time.Duration {
	if !s.running() {
		now = s.ended
	}
	return now.Sub(s.started)
}

// closeAs ends a step that nobody finished when the build ended with err.
func closeAs(err error) event.Finished {
	if err != nil {
		return event.Finished{Status: event.Canceled}
	}
	return event.Finished{Status: event.Done}
}

// errorText is a failed step's error on one line.
func errorText(err error) string {
	if err == nil {
		return "failed"
	}
	return oneLine(err.Error())
}

// writeTail prints the block with the last output of a failed step, as BuildKit does after its display.
func writeTail(w io.Writer, s *step, limit int) {
	fmt.Fprintf(w, "------\n > %s:\n", s.name)
	for _, l := range s.tail.last(limit) {
		fmt.Fprintf(w, "%s %s\n", seconds(l.at), l.text)
	}
	fmt.Fprint(w, "------\n")
}

// seconds formats the time of a log line since its step began, with BuildKit's precision: 0.312, 12.34, 123.4.
func seconds(d time.Duration) string {
	sec, precision := d.Seconds(), 1
	switch {
	case sec < 10:
		precision = 3
	case sec < 100:
		precision = 2
	}
	return fmt.Sprintf("%.*f", precision, sec)
}
