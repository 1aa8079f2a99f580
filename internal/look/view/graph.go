package view

import (
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/style"
)

// fromFlag finds what a COPY or a mount takes files from.
var fromFlag = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?:--|[=,])from=("?)([^"\s,]+)`) })

// graph draws the log of an image with the stages that went into it.
type graph struct {
	p      *Printer
	stages []*explain.Stage
	byStep map[digest.Digest]*explain.Step
	drawn  map[*explain.Stage]bool
}

// Graph prints a line for each row, and beside those that copied from other stages the steps of these, as git draws the
// branch that a merge brought in. b is the build that made the image, nil if it is not known: then there are no stages.
func (l *Log) Graph(p *Printer, b *explain.Build) {
	g := &graph{p: p, byStep: map[digest.Digest]*explain.Step{}, drawn: map[*explain.Stage]bool{}}
	if b != nil {
		g.stages = b.Stages
		for _, st := range b.Stages {
			for _, s := range st.Steps {
				if s.State != "" {
					g.byStep[s.State] = s
				}
			}
		}
	}
	c := l.columns()
	for i := range l.Rows {
		r := &l.Rows[i]
		if r.Base && (i == 0 || !l.Rows[i-1].Base) && i > 0 {
			p.line("|")
		}
		mark := "*"
		if r.Layer == nil {
			mark = "o"
		}
		l.oneline(p, r, g.paint(mark)+" ", mark+" ", c)
		s := g.byStep[r.ID]
		if s == nil && i == 0 {
			s = g.last()
		}
		if s != nil {
			g.branches("", s)
		}
	}
}

// last is the last step of the build, nil if there is none: the ID of its state is not the image's where the image
// carries the steps of other stages as a cache.
func (g *graph) last() *explain.Step {
	if len(g.stages) == 0 {
		return nil
	}
	steps := g.stages[len(g.stages)-1].Steps
	if len(steps) == 0 {
		return nil
	}
	return steps[len(steps)-1]
}

// paint gives the lines of the graph their colour; the base's stay plain.
func (g *graph) paint(text string) string { return g.p.paint(style.Red, text) }

// branches draws the stages that a step took files from.
func (g *graph) branches(prefix string, s *explain.Step) {
	for _, m := range fromFlag().FindAllStringSubmatch(s.Text, -1) {
		st := g.stage(m[2])
		if st == nil {
			continue
		}
		g.p.line("%s%s", prefix, g.paint(`|\`))
		inner := prefix + "| "
		if g.drawn[st] {
			g.p.line("%s%s (stage %s, as above)", g.paint(inner), g.paint("*"), human.Clean(st.Name))
			continue
		}
		g.drawn[st] = true
		g.chain(inner, st)
	}
}

// chain draws the steps of a stage, and below them those of the stages that it is FROM.
func (g *graph) chain(prefix string, st *explain.Stage) {
	for {
		for i := len(st.Steps) - 1; i >= 0; i-- {
			g.step(prefix, st, st.Steps[i])
		}
		from := g.stage(st.From)
		switch {
		case from == nil || st.Base != "" || from.Index >= st.Index: // an image, be it named like a stage
			g.p.line("%s%s %s", g.paint(prefix), g.paint("o"), g.p.room(len(prefix)+2, human.Clean("FROM "+st.From)))
			return
		case g.drawn[from]:
			g.p.line("%s%s (stage %s, as above)", g.paint(prefix), g.paint("*"), human.Clean(from.Name))
			return
		}
		g.drawn[from] = true
		st = from
	}
}

func (g *graph) step(prefix string, st *explain.Stage, s *explain.Step) {
	mark := "*"
	if s.Layer == "" {
		mark = "o"
	}
	text := "[" + st.Name + "] " + s.Text
	g.p.line("%s%s %s  %s", g.paint(prefix), g.paint(mark), g.p.paint(style.Yellow, shortID(s.State)), g.p.room(len(prefix)+16, human.Clean(text)))
	g.branches(prefix, s)
}

// stage finds a stage by what FROM or --from says: its name or its index.
func (g *graph) stage(from string) *explain.Stage {
	index, err := strconv.Atoi(from)
	for _, st := range g.stages {
		if st.Name != "" && strings.EqualFold(st.Name, from) || err == nil && st.Index == index {
			return st
		}
	}
	return nil
}
