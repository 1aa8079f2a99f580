package dockerfile

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/image"
)

// buildkitAnswers is what BuildKit's own frontend (dockerfile2llb v0.32.1) makes of some Dockerfiles when every image
// has the config Base: written down from a run of it.
type buildkitAnswers struct {
	Args   map[string]string
	Base   image.Runtime
	Builds []buildkitAnswer
}

type buildkitAnswer struct {
	Source   []string // lines
	Config   image.Runtime
	History  []historyRow
	Names    []string // of vertices, sorted; cut behind FROM, since the rest is the image's full name
	Runs     []string // argv, environment, directory and user of every RUN, joined with |, sorted
	Warnings []string // sorted
}

type historyRow struct {
	CreatedBy  string
	EmptyLayer bool
}

func TestAsBuildKit(t *testing.T) {
	raw, err := os.ReadFile("testdata/buildkit-v0.32.1.json")
	if err != nil {
		t.Fatal(err)
	}
	var answers buildkitAnswers
	if err := json.Unmarshal(raw, &answers); err != nil {
		t.Fatal(err)
	}
	for _, want := range answers.Builds {
		source := strings.Join(want.Source, "\n")
		got := ourAnswer(t, source, answers)
		got.Source = want.Source
		for i, w := range want.Warnings { // package suggest is stricter than BuildKit
			want.Warnings[i] = strings.Replace(w, "'$N' (did you mean $B?)", "'$N'", 1)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s\n(-BuildKit +ours) %s", source, diff)
		}
	}
}

func ourAnswer(t *testing.T, source string, given buildkitAnswers) buildkitAnswer {
	p := mustPlan(t, source, Options{Args: given.Args, Allow: []Entitlement{AllowNetworkHost}})
	names, runs, warnings := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, w := range p.Warnings {
		if w.Rule != "" {
			warnings[w.Rule+": "+w.Message] = true
		}
	}
	ends, rows := map[*Stage]image.Runtime{}, map[*Stage][]historyRow{}
	for _, s := range p.Stages {
		from, row := ends[s.Base.Stage], slices.Clone(rows[s.Base.Stage])
		if s.Base.Image != "" {
			from = given.Base
			names[strings.TrimSuffix(s.FromVertex(""), " ")] = true
		}
		w, err := s.Walk(from)
		if err != nil {
			t.Fatalf("%s\n%v", source, err)
		}
		for {
			step, err := w.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s\n%v", source, err)
			}
			if name := step.Vertex(); name != "" {
				names[name] = true
			}
			if text := step.CreatedBy(""); text != "" {
				row = append(row, historyRow{text, step.EmptyLayer})
			}
			if r := step.Run; r != nil {
				runs[strings.Join(slices.Concat(r.Args, r.Env, []string{r.Dir, r.User}), "|")] = true
			}
		}
		for _, found := range w.Warnings() {
			warnings[found.Rule+": "+found.Message] = true
		}
		ends[s], rows[s] = w.Config(), row
	}
	var config image.Runtime // through JSON, as the wanted one
	raw, err := json.Marshal(ends[p.Target])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	return buildkitAnswer{Config: config, History: rows[p.Target], Names: sortedKeys(names), Runs: sortedKeys(runs), Warnings: sortedKeys(warnings)}
}
