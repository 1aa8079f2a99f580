package main

import (
	"strings"
	"testing"
	"time"
)

// remembering is a fake builder with a daemon.
type remembering struct{ fake }

func (*remembering) forgetPeak() error    { return nil }
func (*remembering) peak() (int64, error) { return 5e6, nil }

func TestReport(t *testing.T) {
	row := &scenario{name: "row", reach: time.Second, limit: processStart("/bin/true")}
	ours, earlier := contender{&strata{label: "strata", binary: "true"}, []*scenario{row, {name: "one's own"}}}, contender{&strata{label: "before", binary: "true"}, []*scenario{row}}
	other := contender{&remembering{fake{"other", "true"}}, nil}
	r := results{}
	for range 3 {
		r.add(row, ours, measurement{2 * time.Second, 30e6})
		r.add(row, earlier, measurement{3 * time.Second, 40e6})
		r.add(row, other, measurement{time.Second, 5e6})
	}
	r[limitKey(row)] = times(500)
	want := `
| work | before | strata | other | limit | before from it | strata from it | to reach | peak memory, before | peak memory, strata | peak memory, other |
|---|---|---|---|---|---|---|---|---|---|---|
| row | 3.0 s (×1.50) | 2.0 s | 1.0 s (×0.50) | 0.500 s | ×6.00 | ×4.00 | 1.0 s | 40 MB | 30 MB | 5 MB |
| one's own | | | | | | | | | | |
`
	got := report(t.Context(), []contender{ours, earlier, other}, r)
	if !strings.HasSuffix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMeasureDaemon(t *testing.T) {
	b := &remembering{fake{"other", "true"}}
	m, err := (&scenario{name: "row"}).measure(t.Context(), b)
	if err != nil || m.memory != 5e6 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestAsks(t *testing.T) {
	for _, test := range []struct {
		o    options
		want bool
	}{
		{options{}, true},
		{options{against: "/strata"}, false},
		{options{beside: "false,true"}, true},
		{options{against: "/strata", beside: "true"}, true},
		{options{beside: "false"}, false},
	} {
		if got := test.o.asks("true"); got != test.want {
			t.Errorf("%+v: %v", test.o, got)
		}
	}
	if (options{}).asks("no-such-builder") {
		t.Error("one that is not installed is compared with")
	}
}
