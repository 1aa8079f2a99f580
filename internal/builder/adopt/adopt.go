// Package adopt says whether a third-party image, which has no keys of strata's, can serve as the
// cache for a step. It takes the image's config, where the build stands (Position) and the step; it
// gives the history row whose layer is the step's, or the reason why there is none (Rejection).
// README.md tells what has to agree.
//
// Nothing is looked up or stored here: the caller fetches the row's layer and keeps the record.
package adopt

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
)

// Rejection explains why a third-party image cannot serve as the cache for a step, though the image
// has something in the step's place.
type Rejection struct {
	Source string // the image, as the person called it
	Reason string
}

// Position is where a build stands before a step.
type Position struct {
	Base   *image.Config      // of the image, or of scratch, that the stage was built from
	Config *image.Config      // of the state that the step starts from
	Past   []*dockerfile.Step // the steps since Base
	Stage  string             // the name or number of the stage, "" for the build's target
}

func (p *Position) chain() []digest.Digest { return p.Config.RootFS.DiffIDs }

// Image is a third-party image beside a build that stands somewhere.
type Image struct {
	config *image.Config
	at     *Position
	rows   []Row
	base   int // rows[:base] are the base image's
	next   int // rows[next] is the first after the layers that the step starts from
	// ours are the rows of the build itself since the last layer that holds something.
	ours []Row
}

// Row is a row of an image's history, with its layer.
type Row struct {
	image.History
	rowText
	Layer   digest.Digest // "" if it has none
	number  int           // from 1, as people count
	implied bool          // a layer without a row
}

func (r *Row) empty() bool { return r.Layer == "" || r.Layer == layer.EmptyDiffID }

// touches says whether the row is of a step that changes files, whether or not it has a layer: some builders put
// the changes of several steps into one. A WORKDIR without a layer found its directory there, or a later
// layer has it, in which case the chain will differ.
func (r *Row) touches() bool {
	switch r.name {
	case "RUN", "COPY", "ADD", "":
		return true
	}
	return !r.empty()
}

// Time is when the row's step ran; c is the image's config. Some builders leave the time out of the rows.
func (r *Row) Time(c *image.Config) time.Time {
	if r.Created != nil {
		return *r.Created
	}
	if c.Created != nil {
		return *c.Created
	}
	return time.Unix(0, 0).UTC()
}

// quote is the row's text in a message.
func (r *Row) quote() string {
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

// readRows makes the rows of a config, each with its layer. Layers without a row are the oldest.
func readRows(c *image.Config, shells []string) []Row {
	layers := 0
	for _, h := range c.History {
		if !h.EmptyLayer {
			layers++
		}
	}
	var rows []Row
	for _, d := range c.RootFS.DiffIDs[:max(0, len(c.RootFS.DiffIDs)-layers)] {
		rows = append(rows, Row{Layer: d, implied: true})
	}
	for i, h := range c.History {
		text := readRow(h.CreatedBy, shells)
		text.buildkit = text.buildkit && h.Comment == image.BuildKitComment
		rows = append(rows, Row{History: h, rowText: text, number: i + 1, Layer: image.LayerOf(c, i)})
	}
	return rows
}

// Align finds the rows of an image that come next after the layers that the build has; the second
// result says why there are none. architecture is that of the step's platform.
func Align(c *image.Config, at *Position, architecture string) (*Image, string) {
	if c.Architecture != "" && c.Architecture != architecture {
		return nil, "it is an image for " + c.Architecture
	}
	shells := []string{"/bin/sh -c"}
	for _, before := range at.Past {
		if len(before.Config.Shell) > 0 {
			shells = append(shells, strings.Join(before.Config.Shell, " "))
		}
	}
	p := &Image{config: c, at: at, rows: readRows(c, shells)}
	base := readRows(at.Base, nil)
	if !startsWithRows(p.rows, base) {
		return nil, otherBase(c, at)
	}
	p.base, p.next = len(base), len(base)
	chain := withoutEmpty(at.chain())
	for i := range p.rows {
		if len(chain) == 0 {
			break
		}
		if p.rows[i].empty() {
			continue
		}
		if p.rows[i].Layer != chain[0] {
			return nil, fmt.Sprintf("its layer of %s is not the one that this build has there", p.rows[i].quote())
		}
		chain, p.next = chain[1:], max(p.base, i+1)
	}
	if len(chain) > 0 {
		return nil, "it ends before this step"
	}
	ours := readRows(at.Config, shells)[len(base):]
	for i := range ours {
		if !ours[i].empty() {
			p.ours = nil
		} else if ours[i].touches() {
			p.ours = append(p.ours, ours[i])
		}
	}
	return p, ""
}

// otherBase is the reason where an image has other first rows than the build: of a stage that is not the target it may
// have been built all the same.
func otherBase(c *image.Config, at *Position) string {
	switch {
	case at.Stage == "":
		return "it was built on another base image"
	case len(c.Stages) > 0:
		return fmt.Sprintf("of stage %s its cache has no step that reads the same", at.Stage)
	}
	return fmt.Sprintf("it has no steps of stage %s, only those of its own", at.Stage)
}

// startsWithRows says whether the first rows are those of the base image. The same texts, times and layers are the
// same image, and so the same configuration.
func startsWithRows(rows, base []Row) bool {
	return len(base) <= len(rows) && slices.EqualFunc(rows[:len(base)], base, func(a, b Row) bool {
		return a.Layer == b.Layer && a.CreatedBy == b.CreatedBy && a.implied == b.implied && equalTimes(a.Created, b.Created)
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

// FindFiles finds the row of a COPY, ADD or WORKDIR: the next one that has a layer with something in it. What that
// holds is still to be checked.
func (p *Image) FindFiles(step *dockerfile.Step) (*Row, string) {
	var row *Row
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

// RunFacts are what decides about a RUN beside its text and configuration.
type RunFacts struct {
	// Unverifiable is why no row can be this RUN's, as Unverifiable gives it; "" for no reason.
	Unverifiable string
	// DiscardsVolumes says that the build drops what a RUN leaves in the directory of a VOLUME.
	DiscardsVolumes bool
}

// FindRun finds the row of a RUN and checks that it is this RUN, in the same environment. The
// second result says why it is not.
func (p *Image) FindRun(step *dockerfile.Step, facts RunFacts) (*Row, string) {
	if slices.ContainsFunc(p.rows[:p.base], func(r Row) bool { return r.implied }) {
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
		case row.Layer == "":
			return nil, fmt.Sprintf("%s has no layer: it may have changed nothing, or a later layer holds what it changed", row.quote())
		}
		reason := matchRun(row, step, facts.Unverifiable)
		if reason == "" {
			reason = p.sameConfig(i, step, facts.DiscardsVolumes)
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
func (p *Image) hasKey(row *Row) bool {
	return slices.ContainsFunc(p.config.Cached, func(c image.CachedRow) bool { return c.Row == row.number-1 })
}

// FindSetting finds the row of a step that only changes the configuration; nil if it has none. Row
// after row since the base image, the image has to be made by the same instructions.
func (p *Image) FindSetting(step *dockerfile.Step) *Row {
	at := p.base + len(p.at.Past)
	if at >= len(p.rows) || p.next > at {
		return nil
	}
	for i, before := range p.at.Past {
		row := &p.rows[p.base+i]
		if name, _ := instruction(before); row.name != name {
			return nil
		}
		if before.Run == nil && before.Copy == nil && !sameSetting(row, before) {
			return nil
		}
	}
	row := &p.rows[at]
	if row.Layer != "" || !sameSetting(row, step) {
		return nil
	}
	return row
}

// NextRow is the row after those that the build has, if the image's history begins with all of them
// and the row says what the step does; nil otherwise. The image is one that strata built, the
// classic engine's: the row's time makes the step's ID.
func NextRow(c *image.Config, at *Position, step *dockerfile.Step) *image.History {
	n := len(at.Config.History)
	if len(c.History) <= n {
		return nil
	}
	for i, row := range at.Config.History {
		if !equalRows(row, c.History[i]) {
			return nil
		}
	}
	next := &c.History[n]
	if next.CreatedBy != step.CreatedBy("") || !next.EmptyLayer || next.Created == nil {
		return nil
	}
	return next
}

func equalRows(a, b image.History) bool {
	return equalTimes(a.Created, b.Created) &&
		a.CreatedBy == b.CreatedBy && a.EmptyLayer == b.EmptyLayer && a.Comment == b.Comment && a.Author == b.Author
}
