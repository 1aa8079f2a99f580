// Package explain tells what became of each step of a build and why: which came from the cache, from where and what
// that saved, and what was different about those that ran.
//
// A reason is found by comparing the parts of the step's key with those of the nearest earlier record: that of the
// same step in the last build of the same context, or one of a step that says the same. Only a miss costs
// something; a build whose steps are all cached adds one row to the store.
package explain

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/human/redact"
	"github.com/strata-build/strata/internal/store"
)

// Status is what became of a step.
type Status string

// The states that a step ends in. Config is a step that only changes the configuration, which needs no cache.
// Waiting and Running are states of a build under way, which Live finds.
const (
	Hit      Status = "hit"
	Ran      Status = "ran"
	Failed   Status = "failed"
	Canceled Status = "canceled"
	Config   Status = "config"

	Waiting Status = "waiting" // for what it needs: another build of the same step, its layers
	Running Status = "running"
)

// Build is a past build. Durations are in milliseconds.
type Build struct {
	ID         string        `json:"id"`
	Started    time.Time     `json:"started"`
	Took       int64         `json:"took"`
	Name       string        `json:"name,omitempty"` // that the person gave it
	Dir        string        `json:"dir,omitempty"`  // that it was started in
	Context    string        `json:"context"`
	Dockerfile string        `json:"dockerfile"`
	Target     string        `json:"target,omitempty"`
	Engine     string        `json:"engine"`
	Image      digest.Digest `json:"image,omitempty"`
	Tags       []string      `json:"tags,omitempty"`
	Error      string        `json:"error,omitempty"`
	Counts
	Positions int      `json:"positions"` // the N of the classic engine's Step i/N
	Stages    []*Stage `json:"stages"`
}

// Stage is a stage that was built.
type Stage struct {
	Name  string `json:"name,omitempty"` // as progress shows it, "" for the only one
	Index int    `json:"index"`
	// Platform is what progress shows before the name where a build is for several platforms: "linux/amd64->arm64".
	Platform string `json:"platform,omitempty"`
	From     string `json:"from"` // image, "scratch", or the name of a stage
	// Base is the ID of the image that the stage starts from, "" for another stage or scratch.
	Base digest.Digest `json:"base,omitempty"`
	// Chain is the chainID of what the stage starts from.
	Chain digest.Digest `json:"chain,omitempty"`
	Steps []*Step       `json:"steps,omitempty"`

	plan  string   // the platform that the stage's plan is for
	texts []string // its instructions, those to come included
}

// Step is a step of a stage.
type Step struct {
	Number   int    `json:"number,omitempty"`   // of the graph engine's [number/total], 0 if it shows none
	Total    int    `json:"total,omitempty"`    //
	Position int    `json:"position,omitempty"` // of the classic engine's Step i/N
	Line     int    `json:"line,omitempty"`
	Index    int    `json:"-"` // among the instructions of its stage, -1 for a trigger of the base image
	Text     string `json:"text"`
	Status   Status `json:"status"`
	// Key is what it was looked up by, "" for a step that needs no cache.
	Key   digest.Digest `json:"key,omitempty"`
	State digest.Digest `json:"state,omitempty"` // step ID
	Layer digest.Digest `json:"layer,omitempty"`
	Known
	// Made is when the step ran.
	Made time.Time `json:"made,omitzero"`
	// Took is how long it ran, now or when it was recorded.
	Took    int64    `json:"took,omitempty"`
	Span    Span     `json:"span,omitzero"`
	Reasons []Reason `json:"reasons,omitempty"`
}

// Span is when a step was under way, in milliseconds since the build began. It is zero in what older versions
// remember.
type Span struct {
	Began int64 `json:"began,omitempty"`
	// Ran is when all was there that it needs, and it ran; 0 for a step that did not.
	Ran   int64 `json:"ran,omitempty"`
	Ended int64 `json:"ended,omitempty"` // 0 while it is under way
}

// Known is what is known of a step's record.
type Known struct {
	// Origin is the image or cache that the record came from, "" for this machine.
	Origin string `json:"origin,omitempty"`
	// Fetches says how it is known that the step fetches from the network, "" if it does not as far as is known.
	Fetches string `json:"fetches,omitempty"`
	// Source says from where, and how that is known, on one line.
	Source string `json:"source,omitempty"`
	// Read says what a step read that was a hit since none of it has changed: "read 3 of 214 copied files, none
	// changed".
	Read string `json:"read,omitempty"`
	// Host is the machine that ran the step while this one waited, "" where none did; Waited is for how long, in
	// milliseconds.
	Host   string `json:"host,omitempty"`
	Waited int64  `json:"waited,omitempty"`
}

// Reason is one of the things that made a step run.
type Reason struct {
	Kind Kind `json:"kind"`
	// Text says it on one line.
	Text string `json:"text"`
	// Before and After are the values that differ, where there are such.
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	// At is when it happened, of a record that was pruned.
	At    time.Time `json:"at,omitzero"`
	Files []File    `json:"files,omitempty"`
	// More is how many files there are beside Files.
	More int `json:"more,omitempty"`
}

// Kind tells reasons apart.
type Kind string

// The kinds of reasons.
const (
	Forced      Kind = "forced"       // a flag asked for it
	New         Kind = "new"          // nothing like it was ever built here
	Pruned      Kind = "pruned"       // its record was pruned
	Lost        Kind = "lost"         // its record is gone, nobody knows why
	FailedLast  Kind = "failed"       // it failed when it last ran
	Instruction Kind = "instruction"  // its text changed
	Files       Kind = "files"        // what it copies changed
	Mounted     Kind = "mounted"      // what it mounts changed
	Remote      Kind = "remote"       // a URL or repository that it adds changed
	Variable    Kind = "variable"     // a variable of its environment changed
	BuildArg    Kind = "build-arg"    // a build argument changed
	Setting     Kind = "setting"      // user, directory, network, platform, owner, mode, destination, shell
	BaseImage   Kind = "base"         // the base image is another
	EarlierStep Kind = "earlier-step" // a step before it gave something else
	ReadFile    Kind = "read"         // a file that it read changed
	OtherLayers Kind = "other-layers" // it ran on other layers, which no build that is remembered made
	Refused     Kind = "refused"      // a cache from elsewhere had something like it that could not be taken
)

// File is a file that a COPY or ADD found changed.
type File struct {
	Path string `json:"path"` // in the context or stage where it is known, else in the image with a "/" before it
	// Context is the named context that it is in, "" for the build's own and for stages.
	Context string `json:"context,omitempty"`
	Change  string `json:"change"`
	Detail  string `json:"detail,omitempty"`
	// Lines are the first that differ of a small text, with "-" before those that went and "+" before those that
	// came.
	Lines []string `json:"lines,omitempty"`
	Line  int      `json:"line,omitempty"` // number of the first
}

// newStep is a step that has just begun.
func newStep(v *event.Vertex) *Step {
	return &Step{
		Number: v.Number, Total: v.Total, Position: v.Position, Line: v.Line, Index: v.Index, Text: clipText(redact.Mask(v.Text)),
		Status: Canceled,
	}
}

// newStage is a stage of which nothing was built yet.
func newStage(s *event.Stage) *Stage {
	st := &Stage{Name: s.Name, Index: s.Index, From: s.From, Platform: s.Shown, plan: s.StageID.Platform}
	for _, t := range s.Instructions {
		st.texts = append(st.texts, clipText(redact.Mask(t)))
	}
	return st
}

// Counts are what the cache was good for in a build.
type Counts struct {
	Saved int64 `json:"saved"` // milliseconds that the cached steps took when they ran
	Hits  int   `json:"hits"`
	Total int   `json:"total"` // steps that have a place in the cache
}

// stageKey tells the stages of a build apart.
type stageKey struct {
	plan, name string
	index      int
}

// Target is the platform of the image that the stage was built for, as event.StageID has it.
func (s *Stage) Target() string { return s.plan }

func (s *Stage) key() stageKey { return stageKey{s.plan, s.Name, s.Index} }

// stored is what the store keeps as a build's data.
type stored struct {
	Name      string   `json:"name,omitempty"`
	Dir       string   `json:"dir,omitempty"`
	Tags      []string `json:"tags,omitempty"`
	Positions int      `json:"positions,omitempty"`
	Stages    []*Stage `json:"stages"`
}

// Save remembers a build and what its steps printed, both or neither.
func Save(s *store.Store, b *Build, logs []*Log) error {
	data, err := json.Marshal(stored{b.Name, b.Dir, b.Tags, b.Positions, b.Stages})
	if err != nil {
		return fmt.Errorf("remembering the build: %w", err)
	}
	packed, err := pack(logs)
	if err != nil {
		return fmt.Errorf("remembering what the build printed: %w", err)
	}
	return s.PutBuild(&store.Build{
		ID: b.ID, Started: b.Started, Took: ms(b.Took), Context: b.Context, Dockerfile: b.Dockerfile, Target: b.Target,
		Engine: b.Engine, Image: b.Image, Error: b.Error, Saved: ms(b.Saved), Hits: b.Hits, Total: b.Total, Data: data, Logs: packed,
	})
}

// Read makes a build of what the store remembers.
func Read(row *store.Build) (*Build, error) {
	var d stored
	if err := json.Unmarshal(row.Data, &d); err != nil {
		return nil, fmt.Errorf("reading what is remembered of build %s: %w", row.ID, err)
	}
	return &Build{
		ID: row.ID, Name: d.Name, Dir: d.Dir, Started: row.Started, Took: row.Took.Milliseconds(), Context: row.Context, Dockerfile: row.Dockerfile,
		Target: row.Target, Engine: row.Engine, Image: row.Image, Error: row.Error,
		Counts: Counts{Saved: row.Saved.Milliseconds(), Hits: row.Hits, Total: row.Total}, Tags: d.Tags, Positions: d.Positions, Stages: d.Stages,
	}, nil
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// Count sums up what became of the steps.
func (b *Build) Count() {
	b.Hits, b.Total, b.Saved = 0, 0, 0
	for _, st := range b.Stages {
		for _, s := range st.Steps {
			switch s.Status {
			case Hit:
				b.Hits++
				b.Saved += s.Took
			case Config:
				continue
			}
			b.Total++
		}
	}
}

// Fail says why the build failed, in one line.
func (b *Build) Fail(err error) {
	line, _, _ := strings.Cut(err.Error(), "\n")
	b.Error = clipText(redact.Mask(line))
	b.Tags = nil
}

// Label names a step as progress does: "[build 2/5] RUN make", or "Step 3/8 : RUN make" with the classic engine.
func (b *Build) Label(st *Stage, s *Step) string { return b.place(st, s) + s.Text }

func (b *Build) place(st *Stage, s *Step) string {
	switch {
	case dialect.Of(b.Engine).Output.StepLines && s.Position > 0:
		return "Step " + strconv.Itoa(s.Position) + "/" + strconv.Itoa(b.Positions) + " : "
	case s.Number == 0:
		return ""
	case st.Name == "" && st.Platform == "":
		return fmt.Sprintf("[%d/%d] ", s.Number, s.Total)
	}
	return fmt.Sprintf("[%s %d/%d] ", strings.TrimSpace(st.Platform+" "+st.Name), s.Number, s.Total)
}
