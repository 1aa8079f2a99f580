package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/strata-build/strata/test/testbed"
)

// A sample is what is measured for one point of the graph.
type sample struct {
	panel, series string
	kind          kind
	count         int
	builder       builder
	scenario      *scenario
}

// limitSeries is the name of the lines that are the machine's and not strata's.
const limitSeries = "tar to sha256sum"

// benchGraph measures what builds take against how many files, steps, layers and builds at a time there are, and
// draws it into the SVG o.graph. What it draws it also prints, as tables.
func benchGraph(ctx context.Context, binary, work string, o options) error {
	samples, err := graphSamples(ctx, binary, work, o)
	if err != nil {
		return err
	}
	measured := make([][]measurement, len(samples))
	for round := range o.runs {
		for i, sample := range samples {
			progress("round %d of %d: %s: %s, %d %s", round+1, o.runs, sample.panel, sample.series, sample.count, sample.kind)
			m, err := sample.scenario.measure(ctx, sample.builder)
			if err != nil {
				return fmt.Errorf("%s: %s, %d: %w", sample.panel, sample.series, sample.count, err)
			}
			measured[i] = append(measured[i], m)
		}
	}
	var panels []panel
	for i, sample := range samples {
		q := point{count: sample.count, took: medianTime(measured[i])}
		if sample.kind != limits {
			q.memory = peak(measured[i])
		}
		panels = addPoint(panels, sample, q)
	}
	for _, p := range panels {
		fmt.Println(p.table())
	}
	f, err := os.Create(o.graph)
	if err != nil {
		return err
	}
	defer f.Close()
	version := samples[0].builder.version(ctx)
	if o.against != "" {
		version += ", thin lines: " + o.earlier()
	}
	caption := fmt.Sprintf("%s; %d cores, Linux %s; whole processes, medians of %d runs", version, runtime.NumCPU(), release(), o.runs)
	if err := drawChart(f, panels, caption); err != nil {
		return err
	}
	return f.Close()
}

// graphSamples are the points of all panels, those of an earlier strata after this one's.
func graphSamples(ctx context.Context, binary, work string, o options) ([]sample, error) {
	stratas := []*strata{{label: "strata", binary: binary}}
	if o.against != "" {
		stratas = append(stratas, o.other(binary))
	}
	var of [][]sample
	for i, s := range stratas {
		var err error
		if s.base, err = testbed.MakeStore(ctx, s.binary, filepath.Join(work, fmt.Sprint("base-", i)), false); err != nil {
			return nil, err
		}
		var samples []sample
		for _, part := range []func(ctx context.Context, s *strata, work string, o options) ([]sample, error){
			fileSamples, stepSamples, layerSamples, parallelSamples,
		} {
			points, err := part(ctx, s, work, o)
			if err != nil {
				return nil, err
			}
			samples = append(samples, points...)
		}
		of = append(of, samples)
	}
	var all []sample
	for i := range of[0] {
		all = append(all, of[0][i])
		if len(of) > 1 && of[0][i].kind != limits {
			was := of[1][i]
			was.kind = before
			all = append(all, was)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no panel of the graph has %q in its title; docs/pictures/cost.svg shows them", o.only)
	}
	return all, nil
}

// addPoint puts a point on its line, which it makes where it is the first.
func addPoint(panels []panel, s sample, q point) []panel {
	at := slices.IndexFunc(panels, func(p panel) bool { return p.title == s.panel })
	if at < 0 {
		at, panels = len(panels), append(panels, panel{title: s.panel})
	}
	p := &panels[at]
	line := slices.IndexFunc(p.series, func(l series) bool { return l.name == s.series && l.kind == s.kind })
	if line < 0 {
		line, p.series = len(p.series), append(p.series, series{name: s.series, kind: s.kind})
	}
	p.series[line].points = append(p.series[line].points, q)
	return panels
}

// table has a panel's times and memory as Markdown: a row for each count, a column for each line.
func (p panel) table() string {
	var text strings.Builder
	fmt.Fprintf(&text, "| %s |", p.title)
	for _, s := range p.series {
		fmt.Fprintf(&text, " %s |", s.label())
	}
	text.WriteString("\n|---|" + strings.Repeat("---|", len(p.series)) + "\n")
	for _, count := range p.counts() {
		fmt.Fprintf(&text, "| %s |", short(count))
		for _, s := range p.series {
			at := slices.IndexFunc(s.points, func(q point) bool { return q.count == count })
			if at < 0 {
				text.WriteString(" |")
				continue
			}
			cell := seconds(s.points[at].took)
			if m := s.points[at].memory; m > 0 {
				cell += ", " + memory(m)
			}
			fmt.Fprintf(&text, " %s |", cell)
		}
		text.WriteString("\n")
	}
	return text.String()
}

// upTo are those of some counts that are not above a bound.
func upTo(bound int, counts ...int) []int {
	return slices.DeleteFunc(counts, func(n int) bool { return n > bound })
}

// store makes a store of its own for a panel, with the base image.
func (s *strata) store(ctx context.Context, work, panel string) (*strata, error) {
	other := s.beside(filepath.Join(work, "store-"+panel+"-"+s.label))
	return other, other.forget(ctx, "")
}

// fileSamples copy files of 500 bytes on the average, which stay in the cache folder.
func fileSamples(ctx context.Context, s *strata, work string, o options) ([]sample, error) {
	const title = "COPY: files of 500 bytes"
	if !strings.Contains(title, o.only) {
		return nil, nil
	}
	b, err := s.store(ctx, work, "files")
	if err != nil {
		return nil, err
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	var all []sample
	for _, n := range upTo(o.files, 1000, 5000, 20_000, 100_000, 200_000, 500_000, 1_000_000) {
		progress("making %d files", n)
		dir := filepath.Join(cache, fmt.Sprintf("files-%d-%d", n, n*smallBytes/smallFiles))
		if err := makeFiles(dir, n, int64(n*smallBytes/smallFiles)); err != nil {
			return nil, err
		}
		tar := func(ctx context.Context) *exec.Cmd {
			return exec.CommandContext(ctx, "sh", "-c", `tar -cf - -C "$1" . | sha256sum`, "sh", dir)
		}
		all = append(all,
			sample{title, "first", now, n, b, &scenario{context: dir, before: forget}},
			sample{title, "one file changed", now, n, b, &scenario{context: dir, before: editAfter(nameOf(n / 2))}},
			sample{title, "nothing changed", now, n, b, &scenario{context: dir, before: buildOnce}},
			sample{title, limitSeries, limits, n, b, &scenario{context: dir, command: tar}},
		)
	}
	return all, nil
}

// stepSamples are builds of many steps that write nothing.
func stepSamples(ctx context.Context, s *strata, work string, o options) ([]sample, error) {
	const title = "RUN echo: steps"
	if !strings.Contains(title, o.only) {
		return nil, nil
	}
	b, err := s.store(ctx, work, "steps")
	if err != nil {
		return nil, err
	}
	var all []sample
	for _, n := range upTo(o.steps, 1, 10, 30, 100, 300, 1000) {
		dir := filepath.Join(work, fmt.Sprintf("steps-%d", n))
		if err := writeDockerfile(dir, "FROM busybox\n"+repeated(n, "RUN echo %d\n")); err != nil {
			return nil, err
		}
		all = append(all,
			sample{title, "first", now, n, b, &scenario{context: dir, noCache: true}},
			sample{title, "nothing changed", now, n, b, &scenario{context: dir, before: buildOnce}},
		)
	}
	return all, nil
}

// repeated has a text so many times, each with its number.
func repeated(n int, format string) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, format, i)
	}
	return text.String()
}

// layerSamples are a step, and a COPY of a file, on an image of many layers.
func layerSamples(ctx context.Context, s *strata, work string, o options) ([]sample, error) {
	const title = "One step on an image: layers"
	if !strings.Contains(title, o.only) {
		return nil, nil
	}
	b, err := s.store(ctx, work, "layers")
	if err != nil {
		return nil, err
	}
	var all []sample
	for _, n := range []int{1, 3, 10, 30, 100} {
		image := &scenario{context: filepath.Join(work, fmt.Sprintf("layers-%d", n))}
		if err := writeDockerfile(image.context, "FROM busybox\n"+repeated(n-1, "RUN echo %[1]d >/layer-%[1]d\n")); err != nil {
			return nil, err
		}
		before := func(ctx context.Context, b builder, _ *scenario) error { return buildOnce(ctx, b, image) }
		for i, step := range []string{"RUN true", "COPY Dockerfile /copied"} {
			dir := filepath.Join(work, fmt.Sprintf("on-%d-%d", n, i))
			if err := writeDockerfile(dir, "FROM "+tagOf(image)+"\n"+step+"\n"); err != nil {
				return nil, err
			}
			name, _, _ := strings.Cut(step, " /")
			all = append(all, sample{title, name, now, n, b, &scenario{context: dir, before: before, noCache: true}})
		}
	}
	return all, nil
}

// parallelSamples are builds of five steps each that begin at once, in one store.
func parallelSamples(ctx context.Context, s *strata, work string, o options) ([]sample, error) {
	const title = "Builds of 5 RUN each: at a time"
	if !strings.Contains(title, o.only) {
		return nil, nil
	}
	b, err := s.store(ctx, work, "parallel")
	if err != nil {
		return nil, err
	}
	var all []sample
	for _, n := range []int{1, 2, 4, 8, 16} {
		dir := filepath.Join(work, fmt.Sprintf("parallel-%d", n))
		for i := range n {
			dockerfile := "FROM busybox\n" + repeated(5, fmt.Sprintf("RUN echo %d %%[1]d >/%%[1]d\n", i))
			if err := writeDockerfile(filepath.Join(dir, fmt.Sprint(i)), dockerfile); err != nil {
				return nil, err
			}
		}
		builds := func(flag string) func(context.Context) *exec.Cmd {
			return func(ctx context.Context) *exec.Cmd { return b.atOnce(ctx, dir, flag) }
		}
		once := func(ctx context.Context, _ builder, _ *scenario) error {
			return run(b.atOnce(ctx, dir, "--no-cache=false"))
		}
		all = append(all,
			sample{title, "first", now, n, b, &scenario{context: dir, command: builds("--no-cache")}},
			sample{title, "nothing changed", now, n, b, &scenario{context: dir, before: once, command: builds("--no-cache=false")}},
		)
	}
	return all, nil
}

// atOnce builds all contexts of a folder at the same time, and waits for all of them.
func (s *strata) atOnce(ctx context.Context, dir, flag string) *exec.Cmd {
	const script = `for context in "$2"/*; do "$1" build -q --network host "$3" -t "bench/parallel-${context##*/}" "$context" & pids="${pids-} $!"; done
for pid in $pids; do wait "$pid" || failed=1; done; exit ${failed-0}`
	build := s.command(ctx)
	cmd := exec.CommandContext(ctx, "sh", "-c", script, "sh", s.binary, dir, flag)
	cmd.Env = build.Env
	return cmd
}
