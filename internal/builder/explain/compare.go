package explain

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/human/redact"
)

// compare tells the differences between a step and the record of an earlier one, those of its own before those of
// what it starts from. past is the stage in the build that the record is from, nil if it is not known.
func (e *Explainer) compare(ctx context.Context, m *Miss, near *cache.Record, past *pastStage) []Reason {
	var reasons []Reason
	rewritten := m.Instruction != near.Instruction
	if rewritten {
		reasons = append(reasons, changed(Instruction, "the instruction was", redact.Mask(near.Instruction), redact.Mask(m.Instruction)))
	}
	reasons = append(reasons, compareVariables(m, near)...)
	for _, part := range cache.Settings() {
		before, after := near.Values(part), m.Key.Values(part)
		if join(before) == join(after) || rewritten && part.Written() {
			continue
		}
		reasons = append(reasons, moved(Setting, part.Label(), part.Show(before), part.Show(after)))
	}
	if !rewritten {
		reasons = append(reasons, compareExpanded(m, near, len(reasons) > 0)...)
	}
	reasons = append(reasons, e.compareMounts(ctx, m, near, rewritten)...)
	if copiesOther(m.Key, near) && !(rewritten && otherSources(m.Instruction, near.Instruction)) {
		reasons = append(reasons, Reason{Kind: Files, Text: "the files that it copies changed"})
	}
	if !rewritten || !otherSources(m.Instruction, near.Instruction) {
		reasons = append(reasons, compareRemote(m, near)...)
	}
	for _, part := range []cache.PartName{cache.PartChain, cache.PartAfter} {
		if !slices.Equal(near.Values(part), m.Key.Values(part)) {
			reasons = append(reasons, e.cause(m, past))
		}
	}
	if len(reasons) == 0 {
		return e.compareRest(m, near)
	}
	return reasons
}

// copiesOther says whether the files that a COPY or ADD copies, here-documents among them, are others.
func copiesOther(key *cache.Key, near *cache.Record) bool {
	return !slices.Equal(near.Values(cache.PartContent), key.Values(cache.PartContent)) || !slices.Equal(near.Values(cache.PartInline), key.Values(cache.PartInline))
}

// compareExpanded compares what an unchanged text was expanded to.
func compareExpanded(m *Miss, near *cache.Record, explained bool) []Reason {
	var reasons []Reason
	if before, after := near.Values(cache.PartDest), m.Key.Values(cache.PartDest); !slices.Equal(before, after) {
		reasons = append(reasons, moved(Setting, cache.PartDest.Label(), first(before), first(after)))
	}
	if r, ok := compareCommand(m, near); ok {
		reasons = append(reasons, r)
	}
	// The classic engine's text holds the variables, which were told already if they differ.
	before, after := near.Values(cache.PartInstruction), m.Key.Values(cache.PartInstruction)
	if !slices.Equal(before, after) && !explained && len(reasons) == 0 {
		reasons = append(reasons, moved(Instruction, cache.PartInstruction.Label(), redact.Mask(join(before)), redact.Mask(join(after))))
	}
	return reasons
}

// compareRest names parts that nothing else compares.
func (e *Explainer) compareRest(m *Miss, near *cache.Record) []Reason {
	for _, d := range cache.Differences(near.Parts, m.Key.Parts) {
		if d.Name != cache.PartEnv {
			return []Reason{moved(Setting, d.Label, redact.Mask(join(d.Before)), redact.Mask(join(d.After)))}
		}
	}
	return nil
}

// compareVariables names the variables of a RUN that differ. Proxies are in no key; the values of what looks like a
// secret are not shown.
func compareVariables(m *Miss, near *cache.Record) []Reason {
	before, after := variables(near.Values(cache.PartEnv)), variables(m.Key.Values(cache.PartEnv))
	args := variables(m.BuildArgs)
	var names []string
	for name := range before {
		names = append(names, name)
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var reasons []Reason
	for _, name := range names {
		old, had := before[name]
		now, has := after[name]
		if had && has && old == now {
			continue
		}
		kind, what := Variable, cache.PartEnv.Label()+" "+name
		if _, ok := args[name]; ok {
			kind, what = BuildArg, "build argument "+name
		}
		old, now = redact.Mask(old), redact.Mask(now)
		if redact.IsSecret(name) {
			old, now = redact.Hidden, redact.Hidden
		}
		r := Reason{Kind: kind, Before: clipValue(old), After: clipValue(now)}
		switch {
		case !had:
			r.Text = fmt.Sprintf("%s is new: %s", what, quote(now))
		case !has:
			r.Text = fmt.Sprintf("%s is gone, it was %s", what, quote(old))
		default:
			r.Text = fmt.Sprintf("%s: %s → %s", what, quote(old), quote(now))
		}
		reasons = append(reasons, r)
	}
	return reasons
}

func variables(list []string) map[string]string {
	m := make(map[string]string, len(list))
	for _, kv := range list {
		name, value, _ := strings.Cut(kv, "=")
		m[name] = value
	}
	return m
}

// changed is a reason that tells what was before; what is now stands beside it.
func changed(kind Kind, what, before, after string) Reason {
	return Reason{Kind: kind, Text: what + ": " + clipValue(before), Before: clipValue(before), After: clipValue(after)}
}

// moved is a reason that tells both values.
func moved(kind Kind, what, before, after string) Reason {
	before, after = clipValue(before), clipValue(after)
	return Reason{Kind: kind, Text: fmt.Sprintf("%s: %s → %s", what, before, after), Before: before, After: after}
}

// otherSources says that two versions of a COPY name other sources, so that it is no wonder that they copy other
// files. All words but the last are sources or flags.
func otherSources(a, b string) bool {
	sources := func(text string) []string {
		words := strings.Fields(text)
		words = slices.DeleteFunc(words[:max(0, len(words)-1)], func(w string) bool {
			return strings.HasPrefix(w, "--") && !strings.HasPrefix(w, "--from=")
		})
		return words
	}
	return !slices.Equal(sources(a), sources(b))
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

func join(values []string) string { return strings.Join(values, " ") }

// quote shows a value so that an empty one can be seen.
func quote(s string) string {
	if s == redact.Hidden {
		return s
	}
	return strconv.Quote(clipValue(s))
}

// clipValue shortens a value that is told.
func clipValue(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
