package explain

import (
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/image"
)

// cause tells why a step starts from something else than it did in an earlier build: another base image, or the first
// step before it that gave something else, is new, or is gone.
func (e *Explainer) cause(m *Miss, past *pastStage) Reason {
	unknown := Reason{Kind: OtherLayers, Text: "it ran here before, but on top of something else"}
	if past == nil {
		return unknown
	}
	if r, ok := e.stageCause(m.Stage, m.Step, past); ok {
		return r
	}
	return unknown
}

// stageCause looks for the first difference between a stage, up to a step, and what it was. A nil step stands for the
// whole stage.
func (e *Explainer) stageCause(now *Stage, until *Step, past *pastStage) (Reason, bool) {
	if r, ok := e.baseCause(now, past); ok {
		return r, true
	}
	was := map[*Step]bool{} // steps of then that are there now
	for _, s := range now.Steps {
		if s == until {
			break
		}
		then := past.step(s)
		if then == nil {
			if e.byPosition() || layerOf(s) != "" {
				return Reason{Kind: EarlierStep, Text: e.build.Label(now, short(s)) + " is new"}, true
			}
			continue
		}
		was[then] = true
		if e.changed(s, then) {
			what := " gave another layer"
			if e.byPosition() && layerOf(s) == layerOf(then) {
				what = " changed"
			}
			return Reason{
				Kind: EarlierStep, Text: e.build.Label(now, short(s)) + what,
				Before: string(layerOf(then)), After: string(layerOf(s)),
			}, true
		}
	}
	end := (*Step)(nil)
	if until != nil {
		end = past.step(until)
	}
	for _, s := range past.Steps {
		if s == end {
			break
		}
		if !was[s] && (e.byPosition() || layerOf(s) != "") {
			return Reason{Kind: EarlierStep, Text: clipLabel(s.Text) + ", which stood before it, is gone"}, true
		}
	}
	return Reason{}, false
}

// byPosition says that all that came before a step is part of its key, not only the files that it left.
func (e *Explainer) byPosition() bool { return dialect.Of(e.build.Engine).Steps.KeyedByPosition }

// changed says that a step gave something else than then, as far as the next one's key tells.
func (e *Explainer) changed(now, then *Step) bool {
	if e.byPosition() {
		return now.State != then.State
	}
	return layerOf(now) != layerOf(then)
}

// baseCause compares what two stages start from.
func (e *Explainer) baseCause(now *Stage, past *pastStage) (Reason, bool) {
	switch {
	case now.From != past.From:
		return Reason{Kind: BaseImage, Text: "FROM changed: " + past.From + " → " + now.From, Before: past.From, After: now.From}, true
	case now.Base != past.Base && (e.byPosition() || now.Chain != past.Chain):
		before, after := e.digests(past.Base, now.Base)
		return Reason{
			Kind: BaseImage, Text: "base image " + now.From + " moved: " + shortDigest(before) + " → " + shortDigest(after),
			Before: string(before), After: string(after),
		}, true
	case now.Base != "" || now.Chain == past.Chain:
		return Reason{}, false
	}
	// The stage starts from another stage.
	for _, st := range e.build.Stages {
		p := past.of[st.key()]
		if p != nil && st.Name == now.From && st.plan == now.plan {
			if r, ok := e.stageCause(st, nil, p); ok {
				r.Text = "stage " + st.Name + ", which it starts from: " + r.Text
				return r, true
			}
		}
	}
	return Reason{}, false
}

// digests are those by which a registry knows two images, if it is known of both, else their IDs.
func (e *Explainer) digests(before, after digest.Digest) (digest.Digest, digest.Digest) {
	a, errA := e.store.ManifestsOf(before)
	b, errB := e.store.ManifestsOf(after)
	if errA != nil || errB != nil || len(a) != 1 || len(b) != 1 {
		return before, after
	}
	return a[0].Digest, b[0].Digest
}

func shortDigest(d digest.Digest) string {
	if d == "" {
		return "nothing"
	}
	return d.Algorithm().String() + ":" + image.ShortID(d)
}

// short is a step with a text that fits in a sentence.
func short(s *Step) *Step {
	c := *s
	c.Text = clipLabel(c.Text)
	return &c
}

func clipLabel(text string) string {
	const most = 40
	r := []rune(text)
	if len(r) <= most {
		return text
	}
	return string(r[:most-1]) + "…"
}
