package dockerfile

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/image"
)

const selectSource = `ARG V=1
FROM debian:12 AS build
ENV A=1
RUN make  all
COPY a b /
FROM debian:12
WORKDIR /app
COPY --from=build /a /
RUN pip install \
    a,b
CMD ["x"]
`

func TestSelect(t *testing.T) {
	for _, test := range []struct {
		filters []string
		graph   []string // steps by the beginning of their text; nil if it is an error
		classic []string // the same where nil; "-" if it is an error
	}{
		{filters: []string{"build"}, graph: []string{"ENV", "RUN make", "COPY a"}},
		{filters: []string{"BUILD"}, graph: []string{"ENV", "RUN make", "COPY a"}},
		{filters: []string{"stage-1"}, graph: []string{"WORKDIR", "COPY --from", "RUN pip", "CMD"}},
		{filters: []string{"stage-0"}, graph: []string{"ENV", "RUN make", "COPY a"}},
		{filters: []string{"build,stage-1"}, graph: []string{"ENV", "RUN make", "COPY a", "WORKDIR", "COPY --from", "RUN pip", "CMD"}},
		{filters: []string{"3"}, graph: []string{"COPY --from"}, classic: []string{"ENV"}},
		{filters: []string{"4"}, graph: []string{"RUN pip"}, classic: []string{"RUN make"}},
		{filters: []string{"9"}, classic: []string{"RUN pip"}},
		{filters: []string{"build:2"}, graph: []string{"RUN make"}, classic: []string{"ENV"}},
		{filters: []string{"0:3"}, graph: []string{"COPY a"}, classic: []string{"RUN make"}},
		{filters: []string{"stage-1:2", "build:3"}, graph: []string{"COPY a", "WORKDIR"}, classic: []string{"RUN make", "WORKDIR"}},
		{filters: []string{"make all"}, graph: []string{"RUN make"}},
		{filters: []string{"install a,b"}, graph: []string{"RUN pip"}},
		{filters: []string{"COPY"}, graph: []string{"COPY a", "COPY --from"}},
		{filters: []string{"RUN make,WORKDIR"}, graph: []string{"RUN make", "WORKDIR"}},
		{filters: []string{"ENV"}, classic: []string{"ENV"}},
		{filters: []string{"1"}, classic: []string{"-"}},
		{filters: []string{"-1"}, classic: []string{"-"}},
		{filters: []string{"99"}, classic: []string{"-"}},
		{filters: []string{"other:2"}, classic: []string{"-"}},
		{filters: []string{"build:1"}, classic: []string{"-"}},
		{filters: []string{"nothing"}, classic: []string{"-"}},
		{filters: []string{"build,nothing"}, classic: []string{"-"}},
		{filters: []string{""}, classic: []string{"-"}},
		{filters: []string{" "}, classic: []string{"-"}},
	} {
		for _, engine := range []dialect.Dialect{dialect.Graph(), dialect.Classic()} {
			want := test.graph
			if engine == dialect.Classic() && test.classic != nil {
				want = test.classic
			}
			if len(want) == 1 && want[0] == "-" {
				want = nil
			}
			p := mustPlan(t, selectSource, Options{Dialect: engine})
			s, err := p.Select(test.filters)
			var unknown *UnknownFilterError
			if (want == nil) != errors.As(err, &unknown) {
				t.Errorf("%s %q: %v", engine, test.filters, err)
				continue
			}
			var got []string
			if err == nil {
				got = selected(t, p, s)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s %q (-want +got):\n%s", engine, test.filters, diff)
			}
		}
	}
}

// selected are the steps of a selection, each by its first two words, one of them for those without files.
func selected(t *testing.T, p *Plan, s *Selection) []string {
	t.Helper()
	var got []string
	for _, stage := range p.Stages {
		w, err := stage.Walk(image.Runtime{})
		if err != nil {
			t.Fatal(err)
		}
		for {
			step, err := w.Next()
			if err != nil {
				break
			}
			if s.Has(step) {
				words := strings.Fields(step.Text)
				name := words[0]
				if name == "RUN" || name == "COPY" {
					name += " " + strings.Split(words[1], "=")[0]
				}
				got = append(got, name)
			}
		}
	}
	return got
}

func TestSelectTriggers(t *testing.T) {
	p := mustPlan(t, "FROM base\nRUN a\n", Options{})
	s, err := p.Select([]string{"RUN a"})
	if err != nil {
		t.Fatal(err)
	}
	var base image.Runtime
	base.OnBuild = []string{"RUN a trigger", "RUN another"}
	w, err := p.Target.Walk(base)
	if err != nil {
		t.Fatal(err)
	}
	var got []bool
	for {
		step, err := w.Next()
		if err != nil {
			break
		}
		got = append(got, s.Has(step))
	}
	if diff := cmp.Diff([]bool{true, true, true}, got); diff != "" {
		t.Error(diff)
	}
	if (*Selection)(nil).Has(&Step{}) {
		t.Error("a nil selection has a step")
	}
}

func TestUnknownFilter(t *testing.T) {
	for engine, want := range map[dialect.Dialect]string{
		dialect.Graph(): `"zzz" is no stage, no number of a step and no part of an instruction; give one of these:
  stages: build, stage-1
  [build 2/3] RUN make  all
  [build 3/3] COPY a b /
  [stage-1 2/4] WORKDIR /app
  [stage-1 3/4] COPY --from=build /a /
  [stage-1 4/4] RUN pip install     a,b`,
		dialect.Classic(): `"zzz" is no stage, no number of a step and no part of an instruction; give one of these:
  stages: build, stage-1
  Step 3/10 : ENV A=1
  Step 4/10 : RUN make  all
  Step 5/10 : COPY a b /
  Step 7/10 : WORKDIR /app
  Step 8/10 : COPY --from=build /a /
  Step 9/10 : RUN pip install     a,b
  Step 10/10 : CMD ["x"]`,
	} {
		_, err := mustPlan(t, selectSource, Options{Dialect: engine}).Select([]string{"zzz"})
		if err == nil {
			t.Fatal("no error")
		}
		if diff := cmp.Diff(blanks(want), blanks(err.Error())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", engine, diff)
		}
	}
}
