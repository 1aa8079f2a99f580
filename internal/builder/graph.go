package builder

import (
	"path"
	"strings"
	"sync"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/export"
	"github.com/strata-build/strata/internal/builder/solver"
	"github.com/strata-build/strata/internal/builder/source/remote"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/event/progress"
)

// Graph shows a build of the graph engine as BuildKit does.
type Graph struct {
	out progress.Printer

	mu         sync.Mutex
	next       int
	steps      map[*dockerfile.Step]int
	stages     map[*dockerfile.Stage]int
	definition int // vertex of the Dockerfile's reading
	fetching   int // vertex of the layers that are fetched, 0 before the first
}

// NewGraph returns a display on out, which the caller closes.
func NewGraph(out progress.Printer) *Graph {
	return &Graph{out: out, steps: map[*dockerfile.Step]int{}, stages: map[*dockerfile.Stage]int{}}
}

func (g *Graph) id() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.next++
	return g.next
}

func (g *Graph) step(s *dockerfile.Step) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.steps[s]
}

func status(err error) progress.Status {
	if err != nil {
		return progress.Failed
	}
	return progress.Done
}

// Phase implements Display.
func (g *Graph) Phase(name string) func(error) {
	id := g.id()
	if g.definition == 0 || strings.HasPrefix(name, "load build definition") {
		g.definition = id
	}
	if !strings.HasPrefix(name, "[") {
		name = "[internal] " + name
	}
	g.out.Start(id, name)
	return func(err error) { g.out.Finish(id, status(err), err) }
}

// Plan implements Display.
func (g *Graph) Plan(*dockerfile.Plan) {}

// StartStage implements solver.Reporter. A FROM is shown once its image is known.
func (g *Graph) StartStage(*dockerfile.Stage) {}

// DoneStage implements solver.Reporter.
func (g *Graph) DoneStage(s *dockerfile.Stage, st *solver.State, err error) {
	if s.Base.Image == "" || err != nil {
		return
	}
	id := g.id()
	name := s.Base.Image
	if ref, err := reference.ParseNormalizedNamed(name); err == nil {
		name = reference.TagNameOnly(ref).String()
	}
	g.out.Start(id, s.FromVertex(name))
	g.out.Finish(id, progress.Cached, nil)
}

// Start implements solver.Reporter. Steps that only change the configuration are not shown, as in BuildKit.
func (g *Graph) Start(s *dockerfile.Step) {
	name := s.Vertex()
	if name == "" {
		return
	}
	id := g.id()
	g.mu.Lock()
	g.steps[s] = id
	g.mu.Unlock()
	g.out.Start(id, name)
}

// Running implements solver.Reporter.
func (g *Graph) Running(*dockerfile.Step) {}

// Output implements solver.Reporter.
func (g *Graph) Output(s *dockerfile.Step, stream int, data []byte) {
	g.out.Log(g.step(s), stream, data)
}

// Done implements solver.Reporter.
func (g *Graph) Done(s *dockerfile.Step, _ *solver.State, record *cache.Record, ran bool) {
	id := g.step(s)
	switch {
	case id == 0:
	case !ran:
		g.out.Cached(id, remark(record))
	default:
		if note := again(record); note != "" {
			g.out.Note(id, note)
		}
		g.out.Finish(id, progress.Done, nil)
	}
}

// Failed implements solver.Reporter.
func (g *Graph) Failed(s *dockerfile.Step, err error) {
	id := g.step(s)
	if id == 0 {
		return
	}
	if isCanceled(err) {
		g.out.Finish(id, progress.Canceled, nil)
		return
	}
	g.out.Finish(id, progress.Failed, cause(err))
}

// Transfer implements Display.
func (g *Graph) Transfer(blob digest.Digest, status string, current, total int64) {
	g.mu.Lock()
	if g.fetching == 0 {
		g.next++
		g.fetching = g.next
		g.out.Start(g.fetching, "[internal] fetch layers that a step runs on")
	}
	id := g.fetching
	g.mu.Unlock()
	switch status {
	case "Downloading":
		status = ""
	case "Download complete":
		status = "done"
	}
	g.out.Transfer(id, blob.String(), current, total, status)
}

// Fetch implements Display.
func (g *Graph) Fetch(what string) remote.Transfer {
	id := g.id()
	g.out.Start(id, "[internal] fetch "+what)
	return &graphFetch{out: g.out, id: id, item: path.Base(what)}
}

// graphFetch is a vertex for what is fetched.
type graphFetch struct {
	out  progress.Printer
	id   int
	item string
	came bool // there were bytes
}

func (f *graphFetch) Bytes(current, total int64) {
	f.came = true
	f.out.Transfer(f.id, f.item, current, total, "")
}

func (f *graphFetch) Done(err error) {
	if isCanceled(err) {
		f.out.Finish(f.id, progress.Canceled, nil)
		return
	}
	if err == nil && f.came {
		f.out.Transfer(f.id, f.item, 0, 0, "done")
	}
	f.out.Finish(f.id, status(err), err)
}

// Built implements Display.
func (g *Graph) Built(digest.Digest, []string) {
	if g.fetching != 0 {
		g.out.Finish(g.fetching, progress.Done, nil)
	}
}

// Exporting implements export.Display.
func (g *Graph) Exporting(name string) export.Output {
	id := g.id()
	g.out.Start(id, name)
	return &graphOutput{g.out, id}
}

// graphOutput is a vertex for an output.
type graphOutput struct {
	out progress.Printer
	id  int
}

func (o *graphOutput) Item(text string, current, total int64, status string) {
	o.out.Transfer(o.id, text, current, total, status)
}

func (o *graphOutput) Done(err error) { o.out.Finish(o.id, status(err), err) }

// Note implements Display.
func (g *Graph) Note(s *dockerfile.Step, text string) {
	if id := g.step(s); id != 0 {
		g.out.Note(id, "why: "+text)
	}
}

// Warning implements Display.
func (g *Graph) Warning(line string) {
	id := g.id()
	g.out.Start(id, "[internal] check the Dockerfile")
	g.out.Log(id, 2, []byte(strings.TrimRight(line, "\n")+"\n"))
	g.out.Finish(id, progress.Done, nil)
}

// Found implements Display: below the reading of the Dockerfile, as in BuildKit. What is no rule's is said at the end,
// when it is certain.
func (g *Graph) Found(w dockerfile.Warning) {
	if w.Rule == "" {
		return
	}
	g.out.Warn(g.definition, progress.Warning{Short: w.String(), Detail: w.Description, URL: w.URL, Range: w.Ranges})
}

var _ Display = (*Graph)(nil)
