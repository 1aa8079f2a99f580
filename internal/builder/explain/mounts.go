package explain

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/human/redact"
)

// mounted is the parts of a key that tell what each mount showed, by target.
func mounted(values []string) map[string]digest.Digest {
	sums := map[string]digest.Digest{}
	for _, v := range values {
		sum, target, _ := strings.Cut(v, " ")
		sums[target] = digest.Digest(sum)
	}
	return sums
}

// compareMounts tells what is different in the mounts of a RUN: how they are made, unless the instruction tells that,
// or the files that they show.
func (e *Explainer) compareMounts(ctx context.Context, m *Miss, near *cache.Record, rewritten bool) []Reason {
	var reasons []Reason
	before, after := near.Values(cache.PartMount), m.Key.Values(cache.PartMount)
	if !rewritten && !slices.Equal(before, after) {
		reasons = append(reasons, moved(Setting, cache.PartMount.Label(), strings.Join(before, ", "), strings.Join(after, ", ")))
	}
	old, now := mounted(near.Values(cache.PartMounted)), mounted(m.Key.Values(cache.PartMounted))
	for _, mount := range m.Mounts {
		was, had := old[mount.Target]
		if !had || was == now[mount.Target] {
			continue
		}
		r := Reason{Kind: Mounted, Text: "what it mounts on " + mount.Target + " changed"}
		e.nameMounted(ctx, &r, mount, was)
		reasons = append(reasons, r)
	}
	return reasons
}

// nameMounted names the files that a mount shows otherwise than it did, as far as that is remembered.
func (e *Explainer) nameMounted(ctx context.Context, r *Reason, mount event.Mount, was digest.Digest) {
	old, err := e.store.Listing(was)
	if err != nil {
		return
	}
	now, err := mount.Files.List(ctx)
	if err != nil {
		return
	}
	differences, more, err := diffTOC(old.Each(), now.Each(), "")
	if err != nil {
		return
	}
	r.More = more
	single := len(now.Entries) == 1 && now.Entries[0].Path != "" // a file is mounted, not a directory
	for _, d := range differences {
		name := mount.Source
		if !single {
			name = strings.TrimPrefix(path.Join(mount.Source, d.path()), "/")
		}
		r.Files = append(r.Files, File{Path: name, Change: d.change(), Detail: d.detail()})
	}
	if len(r.Files) > 0 {
		r.Text = summary(r)
	}
}

// compareCommand compares what an unchanged text of a RUN gave the shell. What may differ is the
// shell, or a here-document, of which the text has the first line only.
func compareCommand(m *Miss, near *cache.Record) (Reason, bool) {
	before, after := near.Values(cache.PartArg), m.Key.Values(cache.PartArg)
	script := slices.Equal(before, after)
	if script {
		before, after = near.Values(cache.PartScript), m.Key.Values(cache.PartScript)
	}
	if slices.Equal(before, after) {
		return Reason{}, false
	}
	n := len(after) - 1
	if !strings.Contains(m.Instruction, "<<") || n < 0 || len(before) != len(after) || !slices.Equal(before[:n], after[:n]) {
		return moved(Setting, cache.PartArg.Label(), redact.Mask(join(before)), redact.Mask(join(after))), true
	}
	r := Reason{Kind: Instruction, Text: "the here-document changed"}
	f := File{Path: "the here-document", Change: "changed"}
	f.Line, f.Lines = firstChange(before[n], after[n])
	if r.Files = []File{f}; f.Line > 0 {
		r.Text += fmt.Sprintf(", line %d", f.Line)
	}
	return r, true
}
