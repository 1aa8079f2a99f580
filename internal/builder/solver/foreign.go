package solver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
)

// Refusal is why a step could not be taken from an image that somebody else built, though the image has something
// in the step's place.
type Refusal struct {
	Source string // the image, as the person called it
	Reason string
}

// fromImage takes the layer of a step from an image whoever built it, by the rows of its history. The row in the
// step's place is the one whose layer comes next after the layers that the step starts from. What it gives is
// checked: a COPY, ADD or WORKDIR by what the layer holds, a RUN by its text, arguments and environment. Whatever
// cannot be checked is refused: a wrong layer is worse than a step that runs.
func (s *Solver) fromImage(ctx context.Context, source *cache.Source, parent *State, step *dockerfile.Step, op *operation) (*cache.Record, error) {
	if source.Image == nil {
		return nil, nil
	}
	p, reason := findPlace(source.Image, parent, step.Stage.Platform.Architecture)
	var row *foreignRow
	if reason == "" {
		if step.Run != nil {
			row, reason = p.findRun(step, s.Engine, untold(op.key))
		} else {
			row, reason = p.findFiles(step)
			if reason == "" {
				var err error
				if reason, err = s.sameLayer(ctx, parent, row, op); err != nil {
					return nil, err
				}
			}
		}
	}
	if reason != "" {
		if s.Refused != nil {
			s.Refused(step, Refusal{source.Name, reason})
		}
		return nil, nil
	}
	r := &cache.Record{Layer: row.layer, Created: row.created(source.Image), Instruction: step.Text, Origin: source.Name}
	switch {
	case r.Layer == layer.EmptyDiffID && !s.keepEmpty():
		r.Layer = ""
	case r.Layer == "" && s.keepEmpty():
		return nil, nil // the step makes the empty layer that the image lacks
	}
	return s.known(r)
}

// foreignRow is a row of an image's history, with its layer.
type foreignRow struct {
	image.History
	rowText
	number int           // from 1, as people count
	layer  digest.Digest // "" if it has none
	// implied is a layer without a row.
	implied bool
}

func (r *foreignRow) empty() bool { return r.layer == "" || r.layer == layer.EmptyDiffID }

// touches says whether the row is of a step that changes files, whether or not it has a layer: some builders put
// the changes of several steps into one. A WORKDIR without a layer found its directory there, or a later
// layer has it, in which case the chain will differ.
func (r *foreignRow) touches() bool {
	switch r.name {
	case "RUN", "COPY", "ADD", "":
		return true
	}
	return !r.empty()
}

// created is when the row's step ran. Some builders leave the time out of the rows.
func (r *foreignRow) created(c *image.Config) time.Time {
	if r.Created != nil {
		return *r.Created
	}
	if c.Created != nil {
		return *c.Created
	}
	return time.Unix(0, 0).UTC()
}

// quote is the row's text in a message.
func (r *foreignRow) quote() string {
	if r.implied {
		return "a layer without a history row"
	}
	text := r.CreatedBy
	if strings.HasPrefix(r.args, "|") {
		// Build arguments may be secrets, and their values may have blanks in them.
		_, command, _ := strings.Cut(r.args, " /bin/sh -c ")
		text = "RUN |… " + command
	}
	return fmt.Sprintf("row %d, %s", r.number, quoteText(text))
}

// quoteText shows an instruction in a message: short, on one line, and not if there may be a password in it, as in a
// proxy's address.
func quoteText(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if strings.Contains(strings.ToLower(text), "_proxy=") {
		text, _, _ = strings.Cut(text, "=")
		text += "=…"
	}
	if r := []rune(text); len(r) > 72 {
		text = string(r[:71]) + "…"
	}
	return "`" + text + "`"
}

// foreignRows makes the rows of a config, each with its layer. Layers without a row are the oldest.
func foreignRows(c *image.Config, shells []string) []foreignRow {
	layers := 0
	for _, h := range c.History {
		if !h.EmptyLayer {
			layers++
		}
	}
	var rows []foreignRow
	for _, d := range c.RootFS.DiffIDs[:max(0, len(c.RootFS.DiffIDs)-layers)] {
		rows = append(rows, foreignRow{layer: d, implied: true})
	}
	for i, h := range c.History {
		text := readRow(h.CreatedBy, shells)
		text.buildkit = text.buildkit && h.Comment == image.BuildKitComment
		rows = append(rows, foreignRow{History: h, rowText: text, number: i + 1, layer: image.LayerOf(c, i)})
	}
	return rows
}

// place is where a step stands in an image that somebody else built.
type place struct {
	image  *image.Config
	parent *State
	rows   []foreignRow
	base   int // rows[:base] are the base image's
	next   int // rows[next] is the first after the layers that the step starts from
	// ours are the rows of the build itself since the last layer that holds something.
	ours []foreignRow
}

// findPlace finds the rows that come next after the layers that parent has; the second result says why there are none.
func findPlace(c *image.Config, parent *State, architecture string) (*place, string) {
	if c.Architecture != "" && c.Architecture != architecture {
		return nil, "it is an image for " + c.Architecture
	}
	shells := []string{"/bin/sh -c"}
	for _, before := range parent.past {
		if len(before.Config.Shell) > 0 {
			shells = append(shells, strings.Join(before.Config.Shell, " "))
		}
	}
	p := &place{image: c, parent: parent, rows: foreignRows(c, shells)}
	base := foreignRows(parent.root.Config, nil)
	if !startsWithRows(p.rows, base) {
		return nil, "it was built on another base image"
	}
	p.base, p.next = len(base), len(base)
	chain := withoutEmpty(parent.Chain())
	for i := range p.rows {
		if len(chain) == 0 {
			break
		}
		if p.rows[i].empty() {
			continue
		}
		if p.rows[i].layer != chain[0] {
			return nil, fmt.Sprintf("its layer of %s is not the one that this build has there", p.rows[i].quote())
		}
		chain, p.next = chain[1:], max(p.base, i+1)
	}
	if len(chain) > 0 {
		return nil, "it ends before this step"
	}
	ours := foreignRows(parent.Config, shells)[len(base):]
	for i := range ours {
		if !ours[i].empty() {
			p.ours = nil
		} else if ours[i].touches() {
			p.ours = append(p.ours, ours[i])
		}
	}
	return p, ""
}

// startsWithRows says whether the first rows are those of the base image. The same texts, times and layers are the
// same image, and so the same configuration.
func startsWithRows(rows, base []foreignRow) bool {
	return len(base) <= len(rows) && slices.EqualFunc(rows[:len(base)], base, func(a, b foreignRow) bool {
		return a.layer == b.layer && a.CreatedBy == b.CreatedBy && a.implied == b.implied && equalTimes(a.Created, b.Created)
	})
}

func equalTimes(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(*b)
}

func withoutEmpty(chain []digest.Digest) []digest.Digest {
	return slices.DeleteFunc(slices.Clone(chain), func(d digest.Digest) bool { return d == layer.EmptyDiffID })
}

// findFiles finds the row of a COPY, ADD or WORKDIR: the next one that has a layer with something in it. What that
// holds is still to be checked.
func (p *place) findFiles(step *dockerfile.Step) (*foreignRow, string) {
	var row *foreignRow
	for i := p.next; i < len(p.rows); i++ {
		// A WORKDIR whose directory is there already has no layer, or an empty one.
		if r := &p.rows[i]; !r.empty() || step.Workdir != nil && r.name == "WORKDIR" && strings.HasSuffix(step.Workdir.Path, r.args) {
			row = r
			break
		}
	}
	if row == nil {
		return nil, "it ends before this step"
	}
	want := "WORKDIR"
	if step.Copy != nil {
		want = "COPY"
		if step.Copy.Add {
			want = "ADD"
		}
	}
	if row.name != want {
		return nil, "its next layer is of " + row.quote()
	}
	return row, ""
}

// findRun finds the row of a RUN and checks that it is this RUN, in the same environment. untold is why no row can be
// this RUN's, as untold gives it.
func (p *place) findRun(step *dockerfile.Step, engine dockerfile.Engine, untold string) (*foreignRow, string) {
	if slices.ContainsFunc(p.rows[:p.base], func(r foreignRow) bool { return r.implied }) {
		return nil, "the base image has layers without history rows, so that nothing tells what environment it set"
	}
	skip := len(p.ours)
	for i := p.next; i < len(p.rows); i++ {
		row := &p.rows[i]
		switch {
		case !row.touches():
			continue
		case skip > 0:
			// The steps of this build that changed nothing have to be the same there.
			before := p.ours[len(p.ours)-skip]
			if !row.empty() || row.name != "RUN" || !before.sameRun(row.rowText) {
				return nil, fmt.Sprintf("where this build has %s it has %s", quoteText(before.CreatedBy), row.quote())
			}
			skip--
			continue
		case row.layer == "":
			return nil, fmt.Sprintf("%s has no layer: it may have changed nothing, or a later layer holds what it changed", row.quote())
		}
		reason := matchRun(row, step, untold)
		if reason == "" {
			reason = p.sameConfig(i, step, engine)
		}
		if reason == "" && p.hasKey(row) {
			// The key is not the step's, or it would have been found by it, and it knows more than the row.
			reason = "the image's own cache knows of something that differs and that " + row.quote() + " does not tell"
		}
		return row, reason
	}
	return nil, "it ends before this step"
}

// hasKey says whether the image has a key for the row.
func (p *place) hasKey(row *foreignRow) bool {
	return slices.ContainsFunc(p.image.Cached, func(c image.CachedRow) bool { return c.Row == row.number-1 })
}

// sameEffect is for a step of the classic engine that only changes the configuration, as sameRow is, but takes
// the rows of other builders too: row after row since the base image they have to be of the same instructions.
func (s *Solver) sameEffect(source *cache.Source, parent *State, step *dockerfile.Step) *cache.Record {
	if source.Image == nil {
		return nil
	}
	p, reason := findPlace(source.Image, parent, step.Stage.Platform.Architecture)
	at := p.end()
	if reason != "" || at >= len(p.rows) || p.next > at {
		return nil
	}
	for i, before := range parent.past {
		row := &p.rows[p.base+i]
		if name, _ := instruction(before); row.name != name {
			return nil
		}
		if before.Run == nil && before.Copy == nil && !sameSetting(row, before) {
			return nil
		}
	}
	row := &p.rows[at]
	if row.layer != "" || !sameSetting(row, step) {
		return nil
	}
	return &cache.Record{Created: row.created(source.Image), Instruction: step.Text, Origin: source.Name}
}

// end is the index of the row that a step has if each of those before it has one; 0 for no place.
func (p *place) end() int {
	if p == nil {
		return 0
	}
	return p.base + len(p.parent.past)
}
