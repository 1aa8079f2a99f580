package main

import (
	"context"
	"os/exec"
	"strings"
	"testing"
)

// fake is a builder that runs a command of the host.
type fake struct{ label, command string }

func (f *fake) name() string                         { return f.label }
func (f *fake) version(context.Context) string       { return "1" }
func (f *fake) forget(context.Context, string) error { return nil }
func (f *fake) close()                               {}
func (f *fake) build(ctx context.Context, _ *scenario) *exec.Cmd {
	return exec.CommandContext(ctx, f.command)
}

func TestMeasureRound(t *testing.T) {
	able, other, broken := &fake{"able", "true"}, &fake{"other", "true"}, &fake{"broken", "false"}
	contenders := []contender{
		{able, []*scenario{{name: "row"}, {name: "one's own"}}}, {broken, []*scenario{{name: "row"}}}, {other, []*scenario{{name: "row"}}},
	}
	r := results{}
	for round := range 2 {
		if err := r.measureRound(t.Context(), contenders, round, options{runs: 2}); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range strings.Split(report(t.Context(), contenders, r), "\n") {
		if strings.HasPrefix(line, "| row |") && !strings.Contains(line, " | fails | 0.0") || strings.HasPrefix(line, "| one's own |") && !strings.Contains(line, " s | | | ") {
			t.Errorf("the table has the line %s", line)
		}
	}
	r = results{}
	contenders[0], contenders[1] = contenders[1], contenders[0]
	contenders[0].scenarios[0] = &scenario{name: "row"}
	if err := r.measureRound(t.Context(), contenders, 0, options{runs: 1}); err == nil || !strings.Contains(err.Error(), "row: broken") {
		t.Errorf("error %v", err)
	}
}

func TestTurns(t *testing.T) {
	all := []contender{{builder: &fake{label: "a"}}, {builder: &fake{label: "b"}}}
	for round, first := range []string{"a", "b", "a"} {
		if got := turns(all, round)[0].name(); got != first {
			t.Errorf("round %d begins with %s", round, got)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, o := range []options{
		{runs: 0},
		{runs: 5, compare: "v1", against: "strata"},
		{runs: 4, compare: "v1"},
		{runs: 5, compare: "v1", fleet: true},
		{runs: 5, graph: "x.svg", files: 2_000_000, steps: 1},
		{runs: 5, graph: "x.svg", files: 1000, steps: 0},
	} {
		if o.check() == nil {
			t.Errorf("%+v can be measured", o)
		}
	}
	for _, o := range []options{{runs: 1}, {runs: 5, compare: "v1"}, {runs: 1, graph: "x.svg", files: 200_000, steps: 1000}} {
		if err := o.check(); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
