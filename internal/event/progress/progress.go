// Package progress prints what a build, a pull or a push is doing: BuildKit's two looks and its JSON for the
// graph engine (Printer), Docker's old output for the classic one (Classic), and one line per layer (Layers).
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
)

// Status is what became of a step.
type Status int

// The states of a step. Started is the only one that is not final.
const (
	Started  Status = iota
	Cached          // its layer came from a record
	Done            // it ran
	Failed          // it ran, or tried to, and gave an error
	Canceled        // it was stopped because another failed or the person asked
)

// Warning is what a step warns of.
type Warning struct {
	Short  string // one line
	Detail string // the reason
	URL    string // of its documentation
	Range  any    // where, in rawjson
}

// Printer takes the events of one graph build. All methods may be called from many goroutines at once and
// return without waiting for the terminal. Events of an id that was never started are dropped, and so is
// everything after Close.
type Printer interface {
	// Start says that a vertex begins. Starting one again restarts its clock.
	Start(id int, name string)
	// Log takes raw output of a running step: stream 1 is stdout, 2 stderr. data is not kept.
	Log(id int, stream int, data []byte)
	// Note puts one line beside a step: why it missed, how old its record is.
	Note(id int, text string)
	// Warn puts a warning below a step, which may have ended: what is wrong with the Dockerfile below its reading.
	Warn(id int, w Warning)
	// Transfer reports the progress of one item of a step, in bytes; total is 0 where unknown. status is ""
	// while bytes arrive, a verb for what happens to them next ("extracting"), and "done" at the end.
	Transfer(id int, item string, current, total int64, status string)
	// Finish ends a step. err is shown for Failed only.
	Finish(id int, s Status, err error)
	// Cached ends a step whose layer came from a record, with a remark about that record, or "".
	Cached(id int, remark string)
	// Close ends the display once everything is written: steps still open count as canceled if err is not nil,
	// else as done, and the last lines of each failed step are shown. err itself is the caller's to report.
	Close(err error)
}

// ErrMode says that New was asked for a way of printing that does not exist.
var ErrMode = errors.New("unknown progress mode")

// New returns a printer that writes to out as mode says: "tty" redraws in place, "plain" prints one line after
// the other, "rawjson" one JSON object per line (see rawjson.go), "quiet" nothing but the output of steps that
// failed. "auto" and "" mean tty on a terminal that can move its cursor, else plain. Any other mode gives
// ErrMode; tty without a terminal is an error too.
func New(mode string, out *os.File) (Printer, error) {
	terminal := isTerminal(out)
	switch mode {
	case "", "auto":
		if terminal && os.Getenv("TERM") != "dumb" {
			return newTTY(out, fileSize(out), useColor(), time.Now), nil
		}
		return newPlain(out, terminal, time.Now), nil
	case "tty":
		if !terminal {
			return nil, errors.New("progress mode tty needs a terminal: use --progress=plain")
		}
		return newTTY(out, fileSize(out), useColor(), time.Now), nil
	case "plain":
		return newPlain(out, terminal, time.Now), nil
	case "rawjson":
		return newRawJSON(out, time.Now), nil
	case "quiet":
		return newQuiet(out, time.Now), nil
	}
	return nil, fmt.Errorf("%w %q: use auto, tty, plain, rawjson, quiet or none", ErrMode, mode)
}

// step is what every printer knows of a vertex.
type step struct {
	index   int // from 1, in the order of start
	name    string
	started time.Time
	ended   time.Time
	status  Status
	tail    tail
}

// begin sets or resets the step's clock.
func (s *step) begin(name string, now time.Time) {
	s.name, s.started, s.ended, s.status = oneLine(name), now, time.Time{}, Started
}

func (s *step) end(status Status, now time.Time) {
	if status == Started {
		status = Done
	}
	s.status, s.ended = status, now
}

// elapsed is how long the step took, or has taken so far.
func (s *step) elapsed(now time.Time) time.Duration {
	if s.status != Started {
		now = s.ended
	}
	return now.Sub(s.started)
}

// closeAs is the status of a step that nobody finished when the build ended with err.
func closeAs(err error) Status {
	if err != nil {
		return Canceled
	}
	return Done
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
