package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

func TestDrawChart(t *testing.T) {
	panels := []panel{
		{"files & more", []series{
			{name: "first", points: []point{{1000, 100 * time.Millisecond, 30e6}, {100_000, 4 * time.Second, 60e6}}},
			{name: "first", kind: before, points: []point{{1000, time.Second, 0}, {100_000, 9 * time.Second, 0}}},
			{name: "tar <all>", kind: limits, points: []point{{1000, 50 * time.Millisecond, 0}, {100_000, time.Second, 0}}},
		}},
		{"steps", []series{{name: "one", points: []point{{1, time.Second, 0}}}}},
		{"nothing measured", nil},
	}
	var out strings.Builder
	if err := drawChart(&out, panels, "2 cores & a disk"); err != nil {
		t.Fatal(err)
	}
	svg := out.String()
	for decoder := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("not XML: %v\n%s", err, svg)
		}
	}
	for _, want := range []string{
		"prefers-color-scheme: dark",
		">files &amp; more</text>",
		`<path class="line line0" d="M66.0 179.3L336.0 72.5"/>`, // from 0.1 to 4 s on decades from 0.01 to 10 s
		`<path class="line line0 before" d="M66.0`,
		`<path class="line linelimit" d="M66.0`,
		"</tspan> first, 4.0 s, before 9.0 s</text>",
		"</tspan> first, 60 MB</text>",
		"tar &lt;all&gt;",
		">100k</text>",
		">0.01 s</text>",
		">2 cores &amp; a disk</text>",
	} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %s in\n%s", want, svg)
		}
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Errorf("a place that is no number:\n%s", svg)
	}
}

func TestScale(t *testing.T) {
	s := scale{low: 0.01, high: 10, length: 300}
	for value, want := range map[float64]float64{0.01: 0, 0.1: 100, 1: 200, 10: 300} {
		if got := s.at(value); math.Abs(got-want) > 1e-9 {
			t.Errorf("%v is at %v, want %v", value, got, want)
		}
	}
}

func TestMarks(t *testing.T) {
	for _, test := range []struct {
		low, high float64
		want      string
	}{
		{0.1, 100, "[0.1 1 10 100]"},
		{0.1, 1, "[0.1 0.2 0.5 1]"},
	} {
		if got := fmt.Sprintf("%.3g", (scale{low: test.low, high: test.high}).marks()); got != test.want {
			t.Errorf("%v to %v: %s, want %s", test.low, test.high, got, test.want)
		}
	}
}

func TestSpread(t *testing.T) {
	const end = frameTop + frameHeight
	all := spread([]label{{text: "b", y: 102}, {text: "a", y: 100}, {text: "c", y: 200}, {text: "d", y: end}, {text: "e", y: end}}, end)
	for i, want := range []label{{text: "a", y: 100}, {text: "b", y: 116}, {text: "c", y: 200}, {text: "d", y: end - labelHeight}, {text: "e", y: end}} {
		if all[i] != want {
			t.Errorf("label %d: %v, want %v", i, all[i], want)
		}
	}
}

func TestShort(t *testing.T) {
	for count, want := range map[int]string{1: "1", 300: "300", 1000: "1k", 1500: "1.5k", 200_000: "200k", 1_000_000: "1M"} {
		if got := short(count); got != want {
			t.Errorf("%d: %s, want %s", count, got, want)
		}
	}
}
