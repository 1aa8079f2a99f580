package main

import (
	"context"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
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

// TestAskedOnce has a builder that took long at a row asked no more, and strata in each round.
func TestAskedOnce(t *testing.T) {
	slow, quick := &scenario{name: "slow"}, &scenario{name: "quick"}
	ours, other := contender{&strata{label: "strata", binary: "true"}, []*scenario{slow, quick}}, contender{&fake{"other", "true"}, []*scenario{slow, quick}}
	r := results{}
	for _, c := range []contender{ours, other} {
		r.add(slow, c, measurement{elapsed: time.Minute})
		r.add(quick, c, measurement{elapsed: time.Second})
	}
	if err := r.measureRound(t.Context(), []contender{ours, other}, 1, options{runs: 2}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		s     *scenario
		c     contender
		times int
	}{{slow, ours, 2}, {slow, other, 1}, {quick, ours, 2}, {quick, other, 2}} {
		if got := len(r[key(want.s, want.c)]); got != want.times {
			t.Errorf("%s has %d measurements at the %s row and not %d", want.c.name(), got, want.s.name, want.times)
		}
	}
}

// TestMemoryOfSmallProcess has a process keep nothing of what the bench needed before.
func TestMemoryOfSmallProcess(t *testing.T) {
	large := make([]byte, 300e6)
	for i := 0; i < len(large); i += 4096 {
		large[i] = 1
	}
	runtime.KeepAlive(large)
	m, err := measure(exec.CommandContext(t.Context(), "true"))
	if err != nil || m.memory > 200e6 {
		t.Errorf("true needed %d bytes, %v", m.memory, err)
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
