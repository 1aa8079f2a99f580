package page

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/event/progress"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/look/inputs"
	"github.com/strata-build/strata/internal/store"
)

// buildsView is the list of builds.
type buildsView struct {
	Running []buildLine
	Past    []buildLine
	More    bool // there are older ones
	Changes bool // they can be forgotten
	Last    int  // how many are listed
}

// buildLine is a build as a line of the list.
type buildLine struct {
	ID, Name, Context string
	Started, Age      string
	Took, Saved       string
	Hits, Total       int
	Result            string
	Failed            bool
	Changes           bool // it can be forgotten
}

// buildView is one build as a timeline.
type buildView struct {
	buildLine
	Dockerfile, Target, Engine string
	Image                      string // its name or ID, "" without one
	Error                      string
	Live                       bool
	Printed                    string // the end of what a build under way printed, for who has no script
	Stages                     []stageView
	Ticks                      []tick
	Inputs                     []inputs.Step
}

// tick is a mark of the time axis.
type tick struct {
	At   float64 // percent
	Text string
}

type stageView struct {
	Name, From string
	Steps      []stepView
}

// stepView is a step in the timeline. Places are in percent of the build's time.
type stepView struct {
	Number      string
	Name        string
	Text        string
	Status      string
	Timed       bool
	Wait, Waits float64 // where it begins, and how long it waited
	Run, Runs   float64 // where it ran, and how long
	Took        string
	Remark      remark
	Read        string
	Reasons     []explain.Reason
	State       string
	Log         *logView // nil for what printed nothing, or nothing that is kept
}

// remark says where a cached step came from, or what one fetched.
type remark struct {
	Text  string
	Build string // in which a cached step ran, "" where that is not known
}

// logView is what a step of a past build printed, or the end of it.
type logView struct {
	Build string
	Step  int // among all steps of the build
	Name  string
	Text  string
	Lines int
	Left  int64 // bytes before Text that are on a page of their own
	Open  bool
}

// maxInline is how much of what a step printed is on the page of its build, in bytes.
const maxInline = 16 << 10

func newLogView(b *explain.Build, step int, l *explain.Log) *logView {
	text := shown(progress.CleanText(l.Text()))
	return &logView{Build: b.ID, Step: step, Text: text, Lines: strings.Count(strings.TrimSuffix(text, "\n"), "\n") + 1}
}

// end leaves the last lines of a log.
func (l *logView) end() {
	if from := len(l.Text) - maxInline; from > 0 {
		if i := strings.IndexByte(l.Text[from:], '\n'); i >= 0 {
			from += i + 1
		}
		l.Text, l.Left = l.Text[from:], int64(from)
	}
}

func newBuildLine(b *explain.Build) buildLine {
	name := filepath.Base(b.Context)
	if b.Target != "" {
		name += " (" + b.Target + ")"
	}
	l := buildLine{
		ID: b.ID, Name: cmp.Or(b.Name, name), Context: b.Context, Started: b.Started.UTC().Format("2006-01-02 15:04:05"), Age: human.Since(b.Started),
		Took: milliseconds(b.Took), Hits: b.Hits, Total: b.Total, Failed: b.Error != "",
	}
	if b.Saved > 0 {
		l.Saved = milliseconds(b.Saved)
	}
	switch {
	case l.Failed:
		l.Result = "failed"
	case len(b.Tags) > 0:
		l.Result = strings.Join(b.Tags, ", ")
	default:
		l.Result = image.ShortID(b.Image)
	}
	return l
}

func milliseconds(n int64) string { return duration(time.Duration(n) * time.Millisecond) }

// newBuildView makes the timeline of a build, and of one that has ended what its steps printed.
func newBuildView(b *explain.Build, live bool, logs map[int]*explain.Log) *buildView {
	v := &buildView{buildLine: newBuildLine(b), Dockerfile: b.Dockerfile, Target: b.Target, Engine: b.Engine, Error: b.Error, Live: live}
	if len(b.Tags) > 0 && b.Error == "" {
		v.Image = b.Tags[0]
	} else {
		v.Image = string(b.Image)
	}
	whole := float64(max(1, b.Took))
	v.Ticks = ticks(b.Took)
	at := 0
	for _, st := range b.Stages {
		x := stageView{Name: strings.TrimSpace(st.Platform + " " + st.Name), From: st.From}
		for _, s := range st.Steps {
			step := newStepView(b, st, s, whole)
			if l := logs[at]; l != nil {
				step.Log = newLogView(b, at, l)
				step.Log.end()
				step.Log.Open = s.Status == explain.Failed
			}
			x.Steps = append(x.Steps, step)
			at++
		}
		v.Stages = append(v.Stages, x)
	}
	return v
}

func newStepView(b *explain.Build, st *explain.Stage, s *explain.Step, whole float64) stepView {
	x := stepView{Status: string(s.Status), Read: s.Read, Reasons: s.Reasons, State: string(s.State)}
	x.Name, x.Text = splitInstruction(s.Text)
	x.Number = strings.TrimSpace(strings.TrimSuffix(b.Label(st, s), s.Text))
	if span := s.Span; span.Began > 0 {
		end := span.Ended
		if end == 0 {
			end = b.Took
		}
		ran := span.Ran
		if ran == 0 {
			ran = end
		}
		x.Timed = true
		x.Wait, x.Waits = 100*float64(span.Began)/whole, 100*float64(max(0, ran-span.Began))/whole
		x.Run, x.Runs = 100*float64(ran)/whole, 100*float64(max(0, end-ran))/whole
	}
	switch s.Status {
	case explain.Hit:
		x.Took, x.Remark.Text = milliseconds(s.Took)+" saved", s.Recorded()
	case explain.Ran, explain.Failed, explain.Canceled:
		if s.Took > 0 {
			x.Took = milliseconds(s.Took)
		}
		if s.Source != "" {
			x.Remark.Text = "fetched " + s.Source
		}
	case explain.Running:
		x.Took = milliseconds(b.Took - s.Span.Ran)
	}
	return x
}

// ticks are four or so marks at round times.
func ticks(took int64) []tick {
	step := int64(10)
	for i := 0; took/step > 5; i++ {
		step = []int64{1, 2, 5}[(i+1)%3] * step / []int64{1, 2, 5}[i%3]
		if i%3 == 2 {
			step *= 10
		}
	}
	var all []tick
	for at := step; at < took; at += step {
		text := fmt.Sprintf("%d ms", at)
		if at >= 1000 {
			text = strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", float64(at)/1000), "0"), ".") + " s"
		}
		if at >= 60_000 {
			text = fmt.Sprintf("%d:%02d min", at/60_000, at/1000%60)
		}
		all = append(all, tick{100 * float64(at) / float64(took), text})
	}
	return all
}

// builds lists builds, those under way first.
func (s *Server) builds(r *http.Request) (*document, error) {
	v := &buildsView{Changes: s.gallery.Changes}
	var err error
	if v.Last, err = number(r, "last", 50, 1_000_000); err != nil {
		return nil, err
	}
	if v.Running, err = s.running(); err != nil {
		return nil, err
	}
	rows, err := s.gallery.Mover.Store.Builds(v.Last + 1)
	if err != nil {
		return nil, err
	}
	for i, row := range rows {
		if i == v.Last {
			v.More = true
			break
		}
		b, err := explain.Read(row)
		if err != nil {
			return nil, err
		}
		line := newBuildLine(b)
		line.Changes = v.Changes
		v.Past = append(v.Past, line)
	}
	return &document{Title: "Builds", View: "builds", Tab: "builds", Data: v}, nil
}

func (s *Server) running() ([]buildLine, error) {
	live, err := explain.Live(s.gallery.Mover.Store)
	var lines []buildLine
	for _, b := range live {
		lines = append(lines, newBuildLine(b))
	}
	return lines, err
}

// build shows one build, past or under way.
func (s *Server) build(r *http.Request) (*document, error) {
	st, id := s.gallery.Mover.Store, r.FormValue("build")
	live, err := explain.Live(st)
	if err != nil {
		return nil, err
	}
	for _, b := range live {
		if b.ID == id {
			v := newBuildView(b, true, nil)
			if v.Printed, err = printedUntilNow(st, id); err != nil {
				return nil, err
			}
			return &document{Title: "Build " + id, View: "build", Tab: "builds", Data: v}, nil
		}
	}
	b, logs, err := s.pastBuild(id)
	if err != nil {
		return nil, err
	}
	v := newBuildView(b, false, logs)
	v.Inputs = s.inputsOf(r.Context(), b)
	if err := s.nameOrigins(b, v); err != nil {
		return nil, err
	}
	return &document{Title: "Build " + id, View: "build", Tab: "builds", Data: v}, nil
}

// printedUntilNow is the end of what the steps of a build under way printed.
func printedUntilNow(st *store.Store, id string) (string, error) {
	f, err := explain.FollowLive(st, id)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil // it has just ended
	}
	if err != nil {
		return "", err
	}
	_, printed, err := f.Next()
	var text strings.Builder
	step := ""
	for _, p := range printed {
		if p.Step != step {
			step = p.Step
			text.WriteString("\n" + step + "\n")
		}
		text.WriteString(p.Text)
	}
	l := &logView{Text: strings.TrimPrefix(shown(progress.CleanText(text.String())), "\n")}
	l.end()
	return l.Text, err
}

// nameOrigins finds the builds in which the cached steps of one ran, among the last of which logs are kept.
func (s *Server) nameOrigins(b *explain.Build, v *buildView) error {
	missing := map[digest.Digest][]*remark{}
	for i, st := range b.Stages {
		for k, step := range st.Steps {
			if step.Status == explain.Hit && step.Origin == "" && step.Key != "" {
				missing[step.Key] = append(missing[step.Key], &v.Stages[i].Steps[k].Remark)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	rows, err := s.gallery.Mover.Store.Builds(store.MaxLogged)
	if err != nil {
		return err
	}
	for _, row := range rows {
		past, err := explain.Read(row)
		if err != nil {
			return err
		}
		for _, st := range past.Stages {
			for _, step := range st.Steps {
				if step.Status != explain.Ran || past.Started.After(b.Started) {
					continue
				}
				for _, r := range missing[step.Key] {
					r.Build = past.ID
				}
				delete(missing, step.Key)
			}
		}
	}
	return nil
}

// pastBuild finds a past build, and what its steps printed.
func (s *Server) pastBuild(id string) (*explain.Build, map[int]*explain.Log, error) {
	st := s.gallery.Mover.Store
	row, err := st.BuildByID(id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, fmt.Errorf("build %s: %w", id, err)
	}
	if err != nil {
		return nil, nil, err
	}
	b, err := explain.Read(row)
	if err != nil {
		return nil, nil, err
	}
	logs, err := explain.Logs(st, b)
	return b, logs, err
}

// log shows all that is kept of what a step of a past build printed.
func (s *Server) log(r *http.Request) (*document, error) {
	b, logs, err := s.pastBuild(r.FormValue("build"))
	if err != nil {
		return nil, err
	}
	at := 0
	for _, st := range b.Stages {
		for _, step := range st.Steps {
			if l := logs[at]; l != nil && strconv.Itoa(at) == r.FormValue("step") {
				v := newLogView(b, at, l)
				v.Name = b.Label(st, step)
				return &document{Title: "Build " + b.ID, View: "log", Tab: "builds", Data: v}, nil
			}
			at++
		}
	}
	return nil, fmt.Errorf("what step %q of build %s printed: %w", r.FormValue("step"), b.ID, store.ErrNotFound)
}

// inputsOf is what the steps of a build's image read, as far as that is known. An image that is gone took it along.
func (s *Server) inputsOf(ctx context.Context, b *explain.Build) []inputs.Step {
	if b.Image == "" {
		return nil
	}
	c, err := s.gallery.Mover.Store.Config(b.Image)
	if err != nil {
		return nil
	}
	config, err := image.Parse(c.Data)
	if err != nil {
		return nil
	}
	steps, err := inputs.Of(ctx, s.gallery.Mover.Store, config)
	if err != nil {
		return nil
	}
	return steps
}

// How often a page that is open is told of what is new.
const (
	followInterval = 250 * time.Millisecond
	listInterval   = time.Second
)

// follow tells of a build under way by server-sent events: "state" has the HTML of its timeline, "output" what its
// steps print, and "end" comes last. Without a build it tells of the list of those under way.
func (s *Server) follow(w http.ResponseWriter, r *http.Request) {
	id := r.FormValue("build")
	next, interval := s.nextOfList(), listInterval
	if id != "" {
		f, err := explain.FollowLive(s.gallery.Mover.Store, id)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		next, interval = nextOfBuild(f), followInterval
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	if err := out.SetReadDeadline(time.Time{}); err != nil {
		s.fail(w, r, err)
		return
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		events, err := next()
		if err != nil {
			return // the browser asks again
		}
		last := false
		for _, e := range events {
			if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", e.name, e.data); err != nil {
				return
			}
			last = last || e.name == "end"
		}
		if out.Flush() != nil || last {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.closing.Done():
			return
		case <-tick.C:
		}
	}
}

// told is a server-sent event. Its data is JSON, which has one line.
type told struct {
	name string
	data []byte
}

func newTold(name string, v any) (told, error) {
	data, err := json.Marshal(v)
	return told{name, data}, err
}

func nextOfBuild(f *explain.Follow) func() ([]told, error) {
	return func() ([]told, error) {
		b, printed, err := f.Next()
		if err != nil {
			return nil, err
		}
		if b == nil {
			e, err := newTold("end", "")
			return []told{e}, err
		}
		html, err := render("timeline", newBuildView(b, true, nil))
		if err != nil {
			return nil, err
		}
		state, err := newTold("state", html)
		if err != nil || len(printed) == 0 {
			return []told{state}, err
		}
		for i := range printed {
			printed[i].Text, printed[i].Step = shown(progress.CleanText(printed[i].Text)), oneLine(printed[i].Step)
		}
		output, err := newTold("output", printed)
		return []told{state, output}, err
	}
}

func (s *Server) nextOfList() func() ([]told, error) {
	before := ""
	return func() ([]told, error) {
		lines, err := s.running()
		if err != nil {
			return nil, err
		}
		html, err := render("running", lines)
		if err != nil || string(html) == before {
			return nil, err
		}
		before = string(html)
		e, err := newTold("state", html)
		return []told{e}, err
	}
}
