package main

import (
	"testing"
	"time"
)

func TestGraphTable(t *testing.T) {
	var panels []panel
	for _, s := range []struct {
		sample
		took time.Duration
	}{
		{sample{panel: "files", series: "first", count: 1000}, time.Second},
		{sample{panel: "files", series: limitSeries, kind: limits, count: 1000}, time.Second / 2},
		{sample{panel: "files", series: "first", count: 20_000}, 20 * time.Second},
		{sample{panel: "steps", series: "first", count: 1}, time.Second},
	} {
		panels = addPoint(panels, s.sample, point{s.count, s.took, 0})
	}
	if len(panels) != 2 || panels[0].series[1].kind != limits || panels[0].series[0].kind != now {
		t.Errorf("panels %+v", panels)
	}
	want := `| files | first | tar to sha256sum |
|---|---|---|
| 1k | 1.0 s | 0.500 s |
| 20k | 20.0 s | |
`
	if got := panels[0].table(); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}
