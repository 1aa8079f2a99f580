package explain

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// stageOf makes a stage of "text=layer" steps, which ran on a base.
func stageOf(name, from, base string, steps ...string) *Stage {
	st := &Stage{Name: name, From: from, Chain: digest.Digest("chain of " + from + base)}
	if base != "" {
		st.Base = digest.FromString(base)
		st.Chain = digest.FromString(base)
	}
	for i, s := range steps {
		text, layer, _ := strings.Cut(s, "=")
		step := &Step{Text: text, Index: i, Number: i + 2, Total: len(steps) + 1, Position: i + 2, Key: "key"}
		if layer != "" {
			step.Layer = digest.FromString(layer)
		}
		step.State = digest.FromString(s)
		st.Steps = append(st.Steps, step)
	}
	return st
}

// pair sets up a build and the earlier one that it is compared with; stages correspond by their place.
func pair(engine string, now, then []*Stage) (*Explainer, pastBuild) {
	e := &Explainer{build: &Build{Engine: engine, Stages: now, Positions: 9}, history: &history{}}
	for _, st := range now {
		for _, s := range st.Steps {
			st.texts = append(st.texts, s.Text)
		}
	}
	e.addPast(&Build{Engine: engine, Stages: then})
	return e, e.history.past[0]
}

func TestCause(t *testing.T) {
	for _, test := range []struct {
		name      string
		engine    string
		now, then *Stage
		want      string
	}{
		{"base of another name", "graph", stageOf("", "b", "1", "RUN x=1"), stageOf("", "a", "2", "RUN x=1"), "FROM changed: a → b"},
		{"earlier layer", "graph", stageOf("", "b", "1", "COPY a=2", "ENV y", "RUN x"), stageOf("", "b", "1", "COPY a=1", "ENV y", "RUN x"), "[2/4] COPY a gave another layer"},
		{"the first of several", "graph", stageOf("", "b", "1", "COPY a=2", "RUN y=2", "RUN x"), stageOf("", "b", "1", "COPY a=1", "RUN y=1", "RUN x"), "[2/4] COPY a gave another layer"},
		{"new step", "graph", stageOf("", "b", "1", "COPY a=1", "RUN new=3", "RUN x"), stageOf("", "b", "1", "COPY a=1", "RUN x"), "[3/4] RUN new is new"},
		{"new step without a layer", "graph", stageOf("", "b", "1", "ENV new", "RUN x"), stageOf("", "b", "1", "RUN x"), ""},
		{"step that is gone", "graph", stageOf("", "b", "1", "COPY a=1", "RUN x"), stageOf("", "b", "1", "COPY a=1", "RUN old=3", "RUN x"), "RUN old, which stood before it, is gone"},
		{"a stage's name", "graph", stageOf("main", "b", "1", "COPY a=2", "RUN x"), stageOf("main", "b", "1", "COPY a=1", "RUN x"), "[main 2/3] COPY a gave another layer"},
		{"classic position", "classic", stageOf("", "b", "1", "ENV new", "RUN x"), stageOf("", "b", "1", "RUN x"), "Step 2/9 : ENV new is new"},
		{"classic configuration", "classic", stageOf("", "b", "1", "ENV a=", "ENV new", "RUN x"), stageOf("", "b", "1", "ENV a=", "ENV old", "RUN x"), "Step 3/9 : ENV new changed"},
		{"long text", "graph", stageOf("", "b", "1", "RUN "+strings.Repeat("y", 60)+"=2", "RUN x"), stageOf("", "b", "1", "RUN "+strings.Repeat("y", 60)+"=1", "RUN x"), "[2/3] RUN " + strings.Repeat("y", 35) + "… gave another layer"},
	} {
		e, past := pair(test.engine, []*Stage{test.now}, []*Stage{test.then})
		m := &Miss{Stage: test.now, Step: test.now.Steps[len(test.now.Steps)-1]}
		r, ok := e.stageCause(m.Stage, m.Step, past[m.Stage.key()])
		if ok != (test.want != "") || r.Text != test.want {
			t.Errorf("%s: %q, want %q", test.name, r.Text, test.want)
		}
	}
}

func TestCauseOfAStage(t *testing.T) {
	first := func(layer string) *Stage { return stageOf("first", "b", "1", "RUN one="+layer) }
	second := func(chain digest.Digest) *Stage {
		st := stageOf("second", "first", "", "RUN two")
		st.Chain = chain
		return st
	}
	now := []*Stage{first("2"), second("2")}
	e, past := pair("graph", now, []*Stage{first("1"), second("1")})
	r, _ := e.stageCause(now[1], now[1].Steps[0], past[now[1].key()])
	if want := "stage first, which it starts from: [first 2/2] RUN one gave another layer"; r.Text != want {
		t.Errorf("%q, want %q", r.Text, want)
	}
}
