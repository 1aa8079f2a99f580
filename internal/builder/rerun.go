package builder

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/solver"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/human"
)

// RefreshAll is the --refresh of all steps that fetch.
const RefreshAll = "all"

// chooseSteps finds the steps that --no-cache-filter and --refresh name.
func (p *part) chooseSteps(o Options) (err error) {
	if len(o.NoCacheFilter) > 0 {
		if p.filter, err = p.plan.Select(o.NoCacheFilter); err != nil {
			return fmt.Errorf("--no-cache-filter: %w", err)
		}
	}
	if o.Refresh == nil {
		return nil
	}
	p.refresh = &solver.Refresh{}
	var only []string
	for _, text := range o.Refresh {
		if age, ok := human.ParseDuration(text); ok {
			p.refresh.Age = age
		} else if text != RefreshAll {
			only = append(only, text)
		}
	}
	if len(only) == 0 {
		return nil
	}
	if p.refresh.Only, err = p.plan.Select(only); err != nil {
		return fmt.Errorf("--refresh: %w\n  or an age such as 24h or 7d", err)
	}
	return nil
}

// worthSaying is how old the record of a step is before its age is shown, unless there is more to say of it.
const worthSaying = time.Hour

// remark is what is shown beside a cached step: where its record came from, how old it is and whether it fetches.
func remark(r *cache.Record) string {
	if r == nil {
		return ""
	}
	age := units.HumanDuration(r.Age())
	age = string(unicode.ToLower(rune(age[0]))) + age[1:] + " ago"
	var parts []string
	if r.Origin != "" {
		parts = append(parts, "from "+r.Origin)
	}
	switch {
	case r.Fetches != "":
		parts = append(parts, "fetched "+age+", "+r.Fetches+"; --refresh runs it again")
	case r.Origin != "" || r.Age() >= worthSaying:
		parts = append(parts, "made "+age)
	}
	return strings.Join(parts, ", ")
}

// again is what is shown of a step that ran again though it was recorded, "" for others.
func again(r *cache.Record) string {
	switch {
	case r == nil || r.Again == nil:
		return ""
	case r.Again.Same:
		return "same files as recorded, whose layer stays"
	case r.Again.Changes == "":
		return "not the same files as recorded"
	}
	return "differs from what was recorded: " + r.Again.Changes
}

// summarize remembers what is to be said at the end: what came of the steps that ran again and, for the classic
// engine, whose output has no place beside a step, which cached ones fetched.
func (j *journal) summarize(s *dockerfile.Step, r *cache.Record, ran bool) {
	lines := dialect.Of(j.build.Engine).Output.StepLines
	text := again(r)
	if !ran {
		text = ""
		if lines {
			text = remark(r)
		}
	}
	if text == "" {
		return
	}
	name := s.Vertex()
	if lines {
		name = fmt.Sprintf("Step %d/%d : %s", s.Position, j.build.Positions, s.Text)
	}
	if r := []rune(name); len(r) > maxName {
		name = string(r[:maxName-1]) + "…"
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.summary = append(j.summary, name+": "+text)
}

// maxName is how many characters of a step's name stand in the summary.
const maxName = 72

// noteUse notes that the build used its steps' records, all at once. Losing that makes the cache forget in another
// order, no more.
func (j *journal) noteUse() {
	var keys []digest.Digest
	for _, st := range j.build.Stages {
		for _, step := range st.Steps {
			if step.Key != "" {
				keys = append(keys, step.Key)
			}
		}
	}
	if err := j.store.Use(keys...); err != nil {
		j.Display.Warning(err.Error())
	}
}
