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

// A panel is a graph of times, and below them of peak memory, against how many there are of something. All axes are
// logarithmic, so that what grows in proportion is a line that rises by 45 degrees where both have the same scale.
type panel struct {
	title  string
	series []series
}

// series is a line of a panel.
type series struct {
	name   string
	kind   kind
	points []point
}

// A kind of line says what was measured.
type kind string

const (
	now    kind = ""
	before kind = "before" // an earlier strata at the same, drawn thin in the same colour
	limits kind = "limit"  // the machine's, drawn as a dashed line
)

type point struct {
	count  int
	took   time.Duration
	memory int64 // bytes; 0 where nobody looked
}

// A panel's place and the frames of its axes, in pixels. To the right of a frame are the names of the lines.
const (
	panelWidth   = 640
	panelHeight  = 396
	frameLeft    = 66
	frameTop     = 46
	frameWidth   = 270
	frameHeight  = 200
	memoryTop    = frameTop + frameHeight + 32
	memoryHeight = 72
	labelHeight  = 16
)

// A frame is what a panel shows of its points, one above the other.
type frame struct {
	top, height float64
	value       func(point) float64 // of the vertical axis; 0 is no point
	mark        func(float64) string
	text        func(point) string
}

var frames = []frame{
	{frameTop, frameHeight,
		func(q point) float64 { return q.took.Seconds() },
		func(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) + " s" },
		func(q point) string { return seconds(q.took) }},
	{memoryTop, memoryHeight,
		func(q point) float64 { return float64(q.memory) / 1e6 },
		func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) + " MB" },
		func(q point) string { return memory(q.memory) }},
}

// chartStyle has the colours of light pages and of dark ones.
const chartStyle = `  <style>
    .ground { fill: #ffffff; } text { fill: #1f2328; } .title { font-size: 14px; font-weight: 600; } .small { font-size: 11px; fill: #57606a; }
    .grid { stroke: #d0d7de; stroke-width: 1; } .line { fill: none; stroke-width: 2; } .before { stroke-width: 1; opacity: .75; } .linelimit { stroke-dasharray: 5 4; }
    .line0 { stroke: #0969da; } .line1 { stroke: #1a7f37; } .line2 { stroke: #9a6700; } .line3 { stroke: #8250df; }
    .dot0 { fill: #0969da; } .dot1 { fill: #1a7f37; } .dot2 { fill: #9a6700; } .dot3 { fill: #8250df; } .linelimit { stroke: #57606a; } .dotlimit { fill: #57606a; }
    @media (prefers-color-scheme: dark) {
      .ground { fill: #0d1117; } text { fill: #e6edf3; } .small { fill: #8b949e; } .grid { stroke: #30363d; }
      .line0 { stroke: #58a6ff; } .line1 { stroke: #3fb950; } .line2 { stroke: #d29922; } .line3 { stroke: #bc8cff; }
      .dot0 { fill: #58a6ff; } .dot1 { fill: #3fb950; } .dot2 { fill: #d29922; } .dot3 { fill: #bc8cff; } .linelimit { stroke: #8b949e; } .dotlimit { fill: #8b949e; }
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

// bounds are the least and the most count, and the decades around all values of a frame. There are no values where
// the latter ends before it begins.
func (p panel) bounds(f frame) (counts, values scale) {
	counts = scale{low: math.Inf(1), length: frameWidth}
	values = scale{low: math.Inf(1), length: f.height}
	for _, s := range p.series {
		for _, q := range s.points {
			counts.low, counts.high = min(counts.low, float64(q.count)), max(counts.high, float64(q.count))
			if v := f.value(q); v > 0 {
				values.low, values.high = min(values.low, v), max(values.high, v)
			}
		}
	}
	if values.high == 0 {
		return counts, values
	}
	// A time of 0.1 s is a decade's end, whatever the logarithm of 0.1 is rounded to.
	const rounding = 1e-9
	values.low = math.Pow(10, math.Floor(math.Log10(values.low)+rounding))
	values.high = math.Pow(10, math.Ceil(math.Log10(values.high)-rounding))
	if values.high <= values.low {
		values.high = values.low * 10
	}
	return counts, values
}

func (p panel) draw(out *bytes.Buffer) {
	fmt.Fprintf(out, `    <text class="title" x="%d" y="%d">%s</text>`+"\n", frameLeft, frameTop-18, html.EscapeString(p.title))
	bottom := 0.0
	for _, f := range frames {
		if counts, values := p.bounds(f); values.low < values.high {
			p.drawFrame(out, f, counts, values)
			bottom = f.top + f.height
		}
	}
	if bottom == 0 {
		return
	}
	fmt.Fprintf(out, `    <text class="small" x="%d" y="%d">peak memory</text>`+"\n", frameLeft, memoryTop-8)
	counts, _ := p.bounds(frames[0])
	last := math.Inf(-1)
	for _, count := range p.counts() {
		at := frameLeft + counts.at(float64(count))
		fmt.Fprintf(out, `    <path class="grid" d="M%.1f %.0fv5"/>`, at, bottom)
		if at-last > 26 {
			fmt.Fprintf(out, `<text class="small" x="%.1f" y="%.0f" text-anchor="middle">%s</text>`, at, bottom+19, short(count))
			last = at
		}
		out.WriteString("\n")
	}
}

// drawFrame draws the lines of a frame, with a mark for each decade, and the name and the last value of each to the
// right.
func (p panel) drawFrame(out *bytes.Buffer, f frame, counts, values scale) {
	for _, mark := range values.marks() {
		at := f.top + f.height - values.at(mark)
		fmt.Fprintf(out, `    <path class="grid" d="M%d %.1fh%d"/><text class="small" x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			frameLeft, at, frameWidth, frameLeft-8, at+4, f.mark(mark))
	}
	var labels []label
	for i, s := range p.series {
		points := slices.DeleteFunc(slices.Clone(s.points), func(q point) bool { return f.value(q) == 0 })
		if len(points) == 0 {
			continue
		}
		path := ""
		for j, q := range points {
			path += fmt.Sprintf("%c%.1f %.1f", "ML"[min(j, 1)], frameLeft+counts.at(float64(q.count)), f.top+f.height-values.at(f.value(q)))
		}
		color := p.color(i)
		fmt.Fprintf(out, `    <path class="line line%s" d="%s"/>`+"\n", s.class(color), path)
		for _, q := range points {
			radius := 3
			if s.kind == before {
				radius = 2
			}
			fmt.Fprintf(out, `    <circle class="dot%s" cx="%.1f" cy="%.1f" r="%d"><title>%s: %s, %s</title></circle>`+"\n", color,
				frameLeft+counts.at(float64(q.count)), f.top+f.height-values.at(f.value(q)), radius, html.EscapeString(s.label()), short(q.count), f.text(q))
		}
		if s.kind != before {
			end := points[len(points)-1]
			text := fmt.Sprintf("%s, %s", s.name, f.text(end))
			if was, ok := p.was(s.name, end.count); ok && f.value(was) > 0 {
				text += ", before " + f.text(was)
			}
			labels = append(labels, label{color, text, f.top + f.height - values.at(f.value(end))})
		}
	}
	for _, l := range spread(labels, f.top+f.height) {
		fmt.Fprintf(out, `    <text x="%d" y="%.1f"><tspan class="dot%s">●</tspan> %s</text>`+"\n", frameLeft+frameWidth+10, l.y+4, l.color, html.EscapeString(l.text))
	}
}

// class is the end of the class of a line in a colour.
func (s series) class(color string) string {
	if s.kind == before {
		return color + " before"
	}
	return color
}

// label is a line's name, with what it is of.
func (s series) label() string {
	if s.kind == before {
		return s.name + ", before"
	}
	return s.name
}

// color is the end of a line's class: the number of its name among the panel's. The machine's lines have one of their
// own.
func (p panel) color(line int) string {
	if p.series[line].kind == limits {
		return string(limits)
	}
	var names []string
	for _, s := range p.series {
		if s.kind != limits && !slices.Contains(names, s.name) {
			names = append(names, s.name)
		}
	}
	return strconv.Itoa(slices.Index(names, p.series[line].name) % lineColors)
}

// was is an earlier strata's point at a count.
func (p panel) was(name string, count int) (point, bool) {
	for _, s := range p.series {
		for _, q := range s.points {
			if s.kind == before && s.name == name && q.count == count {
				return q, true
			}
		}
	}
	return point{}, false
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
	color, text string
	y           float64
}

// spread moves labels that would cover each other apart, down from the highest one, and then up from the frame's
// end.
func spread(labels []label, end float64) []label {
	slices.SortStableFunc(labels, func(a, b label) int { return cmp.Compare(a.y, b.y) })
	for i := 1; i < len(labels); i++ {
		labels[i].y = max(labels[i].y, labels[i-1].y+labelHeight)
	}
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
