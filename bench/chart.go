package main

import (
	"bytes"
	"cmp"
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strconv"
	"time"
)

// A panel is a graph of times against how many there are of something. Both axes are logarithmic, so that what grows in
// proportion is a line that rises by 45 degrees where both have the same scale.
type panel struct {
	title  string
	series []series
}

// series is a line of a panel.
type series struct {
	name   string
	limit  bool // the machine's, drawn as a dashed line
	points []point
}

type point struct {
	count int
	took  time.Duration
}

// A panel's place and the frame of its axes, in pixels. To the right of the frame are the names of the lines.
const (
	panelWidth  = 506
	panelHeight = 286
	frameLeft   = 62
	frameTop    = 46
	frameWidth  = 260
	frameHeight = 200
	labelHeight = 16
)

// chartStyle has the colours of light pages and of dark ones.
const chartStyle = `  <style>
    .ground { fill: #ffffff; } text { fill: #1f2328; } .title { font-size: 14px; font-weight: 600; } .small { font-size: 11px; fill: #57606a; }
    .grid { stroke: #d0d7de; stroke-width: 1; } .line { fill: none; stroke-width: 2; } .limit { stroke-dasharray: 5 4; }
    .line0 { stroke: #0969da; } .line1 { stroke: #1a7f37; } .line2 { stroke: #9a6700; } .line3 { stroke: #8250df; }
    .dot0 { fill: #0969da; } .dot1 { fill: #1a7f37; } .dot2 { fill: #9a6700; } .dot3 { fill: #8250df; } .limit { stroke: #57606a; } .dotlimit { fill: #57606a; }
    @media (prefers-color-scheme: dark) {
      .ground { fill: #0d1117; } text { fill: #e6edf3; } .small { fill: #8b949e; } .grid { stroke: #30363d; }
      .line0 { stroke: #58a6ff; } .line1 { stroke: #3fb950; } .line2 { stroke: #d29922; } .line3 { stroke: #bc8cff; }
      .dot0 { fill: #58a6ff; } .dot1 { fill: #3fb950; } .dot2 { fill: #d29922; } .dot3 { fill: #bc8cff; } .limit { stroke: #8b949e; } .dotlimit { fill: #8b949e; }
    }
  </style>
`

// lineColors is how many colours chartStyle has for lines.
const lineColors = 4

// drawChart writes panels, two in a row, as an SVG picture with a line of text below them.
func drawChart(w io.Writer, panels []panel, caption string) error {
	rows := (len(panels) + 1) / 2
	width, height := panelWidth*min(len(panels), 2), panelHeight*rows+26
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="What a build takes against how many files, steps, layers and builds there are">`+"\n", width, height)
	out.WriteString(chartStyle)
	fmt.Fprintf(&out, `  <rect class="ground" width="%d" height="%d" rx="6"/>`+"\n", width, height)
	for i, p := range panels {
		fmt.Fprintf(&out, `  <g transform="translate(%d %d)">`+"\n", i%2*panelWidth, i/2*panelHeight)
		p.draw(&out)
		out.WriteString("  </g>\n")
	}
	fmt.Fprintf(&out, `  <text class="small" x="%d" y="%d">%s</text>`+"\n</svg>\n", frameLeft, height-12, html.EscapeString(caption))
	_, err := out.WriteTo(w)
	return err
}

// scale puts the logarithm of values from low to high on a length.
type scale struct {
	low, high float64
	length    float64
}

func (s scale) at(value float64) float64 {
	if s.high <= s.low {
		return s.length / 2
	}
	return math.Log(value/s.low) / math.Log(s.high/s.low) * s.length
}

// marks are the decades, and where there is but one, some between its ends.
func (s scale) marks() []float64 {
	between := []float64{1}
	if s.high < 50*s.low {
		between = []float64{1, 2, 5}
	}
	var all []float64
	for decade := s.low; decade < 2*s.high; decade *= 10 {
		for _, times := range between {
			if mark := decade * times; mark < 1.5*s.high {
				all = append(all, mark)
			}
		}
	}
	return all
}

// bounds are the least and the most count, and the decades of seconds around all times.
func (p panel) bounds() (counts, times scale) {
	counts = scale{low: math.Inf(1), length: frameWidth}
	times = scale{low: math.Inf(1), length: frameHeight}
	for _, s := range p.series {
		for _, q := range s.points {
			counts.low, counts.high = min(counts.low, float64(q.count)), max(counts.high, float64(q.count))
			times.low, times.high = min(times.low, q.took.Seconds()), max(times.high, q.took.Seconds())
		}
	}
	// A time of 0.1 s is a decade's end, whatever the logarithm of 0.1 is rounded to.
	const rounding = 1e-9
	times.low = math.Pow(10, math.Floor(math.Log10(times.low)+rounding))
	times.high = math.Pow(10, math.Ceil(math.Log10(times.high)-rounding))
	if times.high <= times.low {
		times.high = times.low * 10
	}
	return counts, times
}

func (p panel) draw(out *bytes.Buffer) {
	fmt.Fprintf(out, `    <text class="title" x="%d" y="%d">%s</text>`+"\n", frameLeft, frameTop-18, html.EscapeString(p.title))
	if !slices.ContainsFunc(p.series, func(s series) bool { return len(s.points) > 0 }) {
		return
	}
	counts, times := p.bounds()
	y := func(t time.Duration) float64 { return frameTop + frameHeight - times.at(t.Seconds()) }
	x := func(count int) float64 { return frameLeft + counts.at(float64(count)) }
	for _, mark := range times.marks() {
		at := frameTop + frameHeight - times.at(mark)
		fmt.Fprintf(out, `    <path class="grid" d="M%d %.1fh%d"/><text class="small" x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			frameLeft, at, frameWidth, frameLeft-8, at+4, strconv.FormatFloat(mark, 'g', 3, 64)+" s")
	}
	last := math.Inf(-1)
	for _, count := range p.counts() {
		at := x(count)
		fmt.Fprintf(out, `    <path class="grid" d="M%.1f %dv5"/>`, at, frameTop+frameHeight)
		if at-last > 26 {
			fmt.Fprintf(out, `<text class="small" x="%.1f" y="%d" text-anchor="middle">%s</text>`, at, frameTop+frameHeight+19, short(count))
			last = at
		}
		out.WriteString("\n")
	}
	var labels []label
	for i, s := range p.series {
		if len(s.points) == 0 {
			continue
		}
		line, dot := fmt.Sprint("line", i%lineColors), fmt.Sprint("dot", i%lineColors)
		if s.limit {
			line, dot = "limit", "dotlimit"
		}
		path := ""
		for j, q := range s.points {
			path += fmt.Sprintf("%c%.1f %.1f", "ML"[min(j, 1)], x(q.count), y(q.took))
		}
		fmt.Fprintf(out, `    <path class="line %s" d="%s"/>`+"\n", line, path)
		for _, q := range s.points {
			fmt.Fprintf(out, `    <circle class="%s" cx="%.1f" cy="%.1f" r="3"><title>%s: %s, %s</title></circle>`+"\n",
				dot, x(q.count), y(q.took), html.EscapeString(s.name), short(q.count), seconds(q.took))
		}
		end := s.points[len(s.points)-1]
		labels = append(labels, label{dot, fmt.Sprintf("%s, %s", s.name, seconds(end.took)), y(end.took)})
	}
	for _, l := range spread(labels) {
		fmt.Fprintf(out, `    <text x="%d" y="%.1f"><tspan class="%s">●</tspan> %s</text>`+"\n", frameLeft+frameWidth+10, l.y+4, l.class, html.EscapeString(l.text))
	}
}

// counts are all of the panel's, in their order.
func (p panel) counts() []int {
	var all []int
	for _, s := range p.series {
		for _, q := range s.points {
			all = append(all, q.count)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// label is a line's name at the height of its end.
type label struct {
	class, text string
	y           float64
}

// spread moves labels that would cover each other apart, down from the highest one, and then up from the frame's end.
func spread(labels []label) []label {
	slices.SortStableFunc(labels, func(a, b label) int { return cmp.Compare(a.y, b.y) })
	for i := 1; i < len(labels); i++ {
		labels[i].y = max(labels[i].y, labels[i-1].y+labelHeight)
	}
	end := float64(frameTop + frameHeight)
	for i := len(labels) - 1; i >= 0; i-- {
		labels[i].y = min(labels[i].y, end)
		end = labels[i].y - labelHeight
	}
	return labels
}

// short is a count as an axis has it: 200k, 1M.
func short(count int) string {
	switch {
	case count >= 1_000_000:
		return strconv.FormatFloat(float64(count)/1e6, 'g', 3, 64) + "M"
	case count >= 1000:
		return strconv.FormatFloat(float64(count)/1e3, 'g', 3, 64) + "k"
	}
	return strconv.Itoa(count)
}
