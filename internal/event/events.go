package event

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/layer"
)

// Planned says what will be built for one platform, before any of it begins.
type Planned struct {
	Stages []*Stage
	// Globals are the ARGs before the first FROM, which are steps for the classic engine.
	Globals []Instruction
	// Positions is the N of the classic engine's Step i/N.
	Positions int
}

// Instruction is an instruction as written and its place, the i of Step i/N.
type Instruction struct {
	Position int
	Text     string
}

// Started is the first event of a vertex.
type Started struct{ Vertex *Vertex }

// LookedUp says what a step's result depends on. It is sent before the step's record is looked for, and again where
// that turns out to be otherwise.
type LookedUp struct {
	Vertex *Vertex
	Key    *cache.Key
	// Forced is the flag for which the step runs even if it is recorded: "--no-cache", "--no-cache-filter",
	// "--refresh". "" where its record counts.
	Forced string
	// BuildArgs are those in scope of a RUN, as NAME=VALUE.
	BuildArgs []string
	Mounts    []Mount // of a RUN, those that count by content
	Copied    *Copied // nil for what is no COPY or ADD
}

// Copied is what a COPY or ADD copies and where to.
type Copied struct {
	Dest    string // absolute and clean
	DestDir bool   // the destination can only be a directory
	Context string // the named context of the sources, "" for the build's own, a stage or an image
	Inline  []string
	Remote  []RemoteSource
	// Selection is what the other sources select.
	Selection Selection
}

// RemoteSource is a source of an ADD that is a URL or a git repository, in the order of their parts in the key.
type RemoteSource struct {
	Name string // "the URL http://…", "the branch main of https://…"
	Git  bool
}

// Selection lists what the sources of a COPY select. The list may be long, so it is made when somebody asks.
type Selection interface{ Selected() []Selected }

// Selected is a file or directory that a source stands for.
type Selected struct {
	Path string // in the tree that it was found in
	Name string // its last part
	Dir  bool   // what is below a directory is copied; else the file itself
	// Holds says of a path below the directory whether it is copied.
	Holds func(path string) bool
}

// Mount is a mount of a RUN whose content is part of the key.
type Mount struct {
	Target string
	// Source is what its files are named after: a path of the context, or a stage's or image's, as "stage:/path".
	Source string
	Files  Files
}

// Files lists the files of a tree. It may read a disk, and must not be called with a lock held.
type Files interface {
	List(ctx context.Context) (*layer.TOC, error)
}

// Rejected says that a third-party image had something in a step's place that cannot serve as its cache, and why.
type Rejected struct {
	Vertex *Vertex
	Source string // the image
	Reason string
}

// ReadChanged says that a step runs since something that it read has changed, and what.
type ReadChanged struct {
	Vertex *Vertex
	Text   string
}

// Running says that a step has no record, and runs now.
type Running struct{ Vertex *Vertex }

// Executing says that all that a running step needs is here: what it takes is counted from now on, without what was
// fetched for it.
type Executing struct{ Vertex *Vertex }

// Reason says on one line why a step runs.
type Reason struct {
	Vertex *Vertex
	Text   string
}

// Output is what a RUN printed: stream 1 is stdout, 2 stderr.
type Output struct {
	Vertex *Vertex
	Stream int
	Data   []byte
}

// Progress says how far an item of a vertex is, in bytes; Total is 0 where it is not known. Status is "" while bytes
// arrive, a verb for what happens to them next ("extracting"), and "done" at the end.
type Progress struct {
	Vertex         *Vertex
	Item           string
	Current, Total int64
	Status         string
}

// Downloading is the Status of a Layer that comes from a registry.
const Downloading = "Downloading"

// Layer says how far a layer is on its way between the store and a registry or archive, in bytes, 0 where there is
// nothing to count. ID is the digest of its blob where it comes and its diffID where it goes. Status is what docker
// pull and push print: "Downloading", "Pushed".
type Layer struct {
	ID             digest.Digest
	Status         string
	Current, Total int64
}

// Finished is the last event of a vertex.
type Finished struct {
	Vertex *Vertex
	Status Status
	Err    error // of Failed
	// State is the ID of the step, or of the image of a From; "" for FROM scratch.
	State digest.Digest
	// Chain is the chainID of what a From found.
	Chain digest.Digest
	// Record is what a step's layer came from or was recorded as, nil for a step that needs none.
	Record *cache.Record
}

// Warning is a line about what went wrong without failing the build.
type Warning struct{ Text string }

// Finding is something in the Dockerfile that is probably not meant.
type Finding struct {
	Vertex *Vertex // the reading of the Dockerfile
	Rule   string  // BuildKit's name of the rule, "" for what is not one of its rules
	Text   string
	Detail string // what the rule wants
	URL    string // of its documentation
	Ranges any    // the lines, as BuildKit's JSON has them
}

// Built says that the outputs are made.
type Built struct {
	ID   digest.Digest
	Tags []string
}

// VertexOf is the vertex that an event belongs to, nil for those that belong to none.
func VertexOf(e Event) *Vertex { return e.vertex() }

func (Planned) vertex() *Vertex       { return nil }
func (e Started) vertex() *Vertex     { return e.Vertex }
func (e LookedUp) vertex() *Vertex    { return e.Vertex }
func (e Rejected) vertex() *Vertex    { return e.Vertex }
func (e ReadChanged) vertex() *Vertex { return e.Vertex }
func (e Running) vertex() *Vertex     { return e.Vertex }
func (e Executing) vertex() *Vertex   { return e.Vertex }
func (e Reason) vertex() *Vertex      { return e.Vertex }
func (e Output) vertex() *Vertex      { return e.Vertex }
func (e Progress) vertex() *Vertex    { return e.Vertex }
func (Layer) vertex() *Vertex         { return nil }
func (e Finished) vertex() *Vertex    { return e.Vertex }
func (Warning) vertex() *Vertex       { return nil }
func (e Finding) vertex() *Vertex     { return e.Vertex }
func (Built) vertex() *Vertex         { return nil }
