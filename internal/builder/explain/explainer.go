package explain

import (
	"context"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/local"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/human/redact"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store"
)

// Explainer finds out why steps of a build under way run. It reads the store when the first one does.
type Explainer struct {
	store *store.Store
	// build is what is known of the build. It does not change.
	build   *Build
	history *history
}

// history is what a build under way is compared with, for all its Explainers.
type history struct {
	once sync.Once
	// past are the builds that this one is compared with, the last first: more than one only where the last failed.
	past []pastBuild
}

// pastBuild has the stage of an earlier build that each stage of this build was.
type pastBuild map[stageKey]*pastStage

// pastStage is what a stage was in an earlier build.
type pastStage struct {
	*Stage
	build *Build
	of    pastBuild
	pairs []int // index of an instruction now → index then, -1 for none
}

// Miss is a step that runs.
type Miss struct {
	Stage *Stage
	Step  *Step
	Key   *cache.Key
	// Instruction is the step's whole text.
	Instruction string
	// Forced is the flag that asked for it, "" if none did.
	Forced string
	// BuildArgs are those in scope of a RUN, as NAME=VALUE.
	BuildArgs []string
	// Copied is what a COPY or ADD copies, nil for others.
	Copied *event.Copied
	// Mounts are those of a RUN that count by content.
	Mounts []event.Mount
	// Read is which of the files that the step read when it last ran has changed, "" if that is not known.
	Read string
	// Rejected says what third-party images had that cannot serve as the step's cache: "me/app:1: its row 3 has another
	// text".
	Rejected []string

	near *cache.Record // what the step was compared with
}

// Reasons says why a step runs. What a COPY or ADD found changed is not among them: nameFiles tells.
func (e *Explainer) Reasons(ctx context.Context, m *Miss) []Reason {
	reasons := e.reasons(ctx, m)
	// What it read says more than what it could have read.
	couldRead := []Kind{EarlierStep, OtherLayers, Mounted}
	if m.Read != "" && !slices.ContainsFunc(reasons, func(r Reason) bool { return !slices.Contains(couldRead, r.Kind) }) {
		reasons = []Reason{{Kind: ReadFile, Text: redact.Mask(m.Read)}}
	}
	var refused []Reason
	for _, r := range m.Rejected {
		refused = append(refused, Reason{Kind: Refused, Text: "not from " + redact.Mask(r)})
	}
	if len(refused) > 0 && len(reasons) == 1 && reasons[0].Kind == New {
		return refused // that there is nothing here goes without saying
	}
	return append(reasons, refused...)
}

func (e *Explainer) reasons(ctx context.Context, m *Miss) []Reason {
	if m.Forced != "" {
		return []Reason{{Kind: Forced, Text: m.Forced}}
	}
	if at, err := e.store.PrunedAt(m.Step.Key); err == nil && !at.IsZero() {
		return []Reason{{Kind: Pruned, Text: "its record was pruned", At: at}}
	}
	e.history.once.Do(e.findPast)
	var last *pastStage // of the last build that came to the step
	for _, b := range e.history.past {
		past := b[m.Stage.key()]
		if past == nil {
			continue
		}
		step := past.step(m.Step)
		if step == nil || step.Key == "" {
			continue
		}
		if step.Key == m.Step.Key {
			if step.Status == Failed || step.Status == Canceled {
				return []Reason{{Kind: FailedLast, Text: "it did not come to its end when it last ran"}}
			}
			return []Reason{{Kind: Lost, Text: "its record is gone"}}
		}
		if last == nil {
			last = past
		}
		near := e.peek(step.Key)
		if near == nil {
			continue
		}
		if reasons := e.compare(ctx, m, near, past); len(reasons) > 0 {
			m.near = near
			return reasons
		}
	}
	if reasons := e.compareLike(ctx, m); len(reasons) > 0 {
		return reasons
	}
	if last != nil {
		return e.compareRemembered(m, last)
	}
	return []Reason{{Kind: New, Text: "nothing like it was built here"}}
}

// compareRemembered tells what differs from an earlier build of which the step's record is gone.
func (e *Explainer) compareRemembered(m *Miss, past *pastStage) []Reason {
	step := past.step(m.Step)
	var reasons []Reason
	if step.Text != m.Step.Text {
		reasons = append(reasons, changed(Instruction, "the instruction was", step.Text, m.Step.Text))
	}
	if r, ok := e.stageCause(m.Stage, m.Step, past); ok {
		reasons = append(reasons, r)
	}
	if len(reasons) > 0 {
		return reasons
	}
	if at, err := e.store.PrunedAt(step.Key); err == nil && !at.IsZero() {
		return []Reason{{Kind: Pruned, Text: "what it could be compared with was pruned", At: at}}
	}
	return []Reason{{Kind: Lost, Text: "what it could be compared with is gone"}}
}

func (e *Explainer) peek(key digest.Digest) *cache.Record {
	r, err := local.Peek(e.store, key)
	if err != nil {
		return nil
	}
	return r
}

// step is what a step was in the earlier build; nil if it had none.
func (p *pastStage) step(now *Step) *Step {
	for i, s := range p.Steps {
		if now.Index < 0 {
			if isTrigger(p, i) && s.Text == now.Text {
				return s
			}
			continue
		}
		if now.Index < len(p.pairs) && p.pairs[now.Index] >= 0 && i == p.pairs[now.Index]+p.triggers() {
			return s
		}
	}
	return nil
}

// triggers is how many steps of a stage are triggers of the base image, which come first. Triggers have no line of
// their own in the Dockerfile and no position.
func (p *pastStage) triggers() int {
	n := slices.IndexFunc(p.Steps, func(s *Step) bool { return s.Position > 0 })
	if n < 0 {
		return len(p.Steps)
	}
	return n
}

func isTrigger(p *pastStage, i int) bool { return i < p.triggers() }

// maxSearch is how many builds are looked at to find one of a Dockerfile like this one, which was elsewhere then.
const maxSearch = 30

// alike is the share of instructions that two builds must have in common to be taken for the same.
const alike = 0.6

// maxFailed is how many failed builds are passed over to find one that says more.
const maxFailed = 5

// findPast chooses what this build is compared with: the last build of the same context, Dockerfile, target and
// engine, where it failed also those before it, else the one of the last few that is most like it.
func (e *Explainer) findPast() {
	b := e.build
	if b.Context != "-" {
		rows, err := e.store.BuildsOf(b.Context, b.Dockerfile, b.Target, b.Engine, maxFailed)
		if err != nil {
			return
		}
		for _, row := range rows {
			old, err := Read(row)
			if err != nil {
				continue
			}
			e.addPast(old)
			if old.Error == "" {
				return
			}
		}
	}
	if len(e.history.past) == 0 {
		if old := e.findAlike(); old != nil {
			e.addPast(old)
		}
	}
}

func (e *Explainer) addPast(old *Build) {
	past := pastBuild{}
	for _, st := range e.build.Stages {
		was := sameStage(old, st)
		if was == nil {
			continue
		}
		p := &pastStage{Stage: was, build: old, of: past}
		p.pairs = align(p.said(), st.texts)
		past[st.key()] = p
	}
	e.history.past = append(e.history.past, past)
}

// said are the stage's instructions as far as it came, without triggers.
func (p *pastStage) said() []string {
	var texts []string
	for _, s := range p.Steps[p.triggers():] {
		texts = append(texts, s.Text)
	}
	return texts
}

func (e *Explainer) findAlike() *Build {
	rows, err := e.store.Builds(maxSearch)
	if err != nil {
		return nil
	}
	var now []string
	for _, st := range e.build.Stages {
		now = append(now, st.texts...)
	}
	var best *Build
	most := alike
	for _, row := range rows {
		if row.Engine != e.build.Engine || row.Target != e.build.Target {
			continue
		}
		b, err := Read(row)
		if err != nil {
			continue
		}
		var then []string
		for _, st := range b.Stages {
			then = append(then, (&pastStage{Stage: st}).said()...)
		}
		if l := likeness(then, now); l > most || l == most && best == nil {
			best, most = b, l
		}
	}
	return best
}

// sameStage is the stage of an earlier build with the same name, or the same place if it is nobody else's: that for the
// same platforms if there is one.
func sameStage(b *Build, st *Stage) *Stage {
	for _, old := range b.Stages {
		if old.Name == st.Name && old.Platform == st.Platform {
			return old
		}
	}
	for _, old := range b.Stages {
		if old.Name == st.Name {
			return old
		}
	}
	for _, old := range b.Stages {
		if old.Index == st.Index {
			return old
		}
	}
	return nil
}

// maxLike is how many records that say the same as a step are compared with it.
const maxLike = 20

// compareLike compares a step with the records whose instruction says the same, from whichever build. Text alone
// says little (every other Dockerfile has a COPY . .), so only one that differs in a single thing counts.
func (e *Explainer) compareLike(ctx context.Context, m *Miss) []Reason {
	like, err := local.Like(e.store, m.Key, m.Instruction, maxLike)
	if err != nil {
		return nil
	}
	for _, r := range like {
		if r.Key == m.Step.Key {
			continue
		}
		if reasons := e.compare(ctx, m, r.Record, nil); len(reasons) == 1 {
			m.near = r.Record
			return reasons
		}
	}
	return nil
}

// layerOf is a step's layer. An empty one is as good as none: whether there is one depends on the engine only.
func layerOf(s *Step) digest.Digest {
	if s.Layer == layer.EmptyDiffID {
		return ""
	}
	return s.Layer
}
