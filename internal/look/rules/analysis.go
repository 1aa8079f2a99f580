package rules

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/docker/go-units"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/history"
	"github.com/strata-build/strata/internal/look/timeline"
)

// Analysis are an image's numbers as dive counts them (dive/filetree/efficiency.go): of each path that several layers
// have, or remove, the smallest of the sizes counts as useful, and the sum of all as stored. The paths that come more than
// once are inefficient, with all their bytes. Bytes below a directory that is removed as a whole are not counted as wasted, unlike
// by strata du.
type Analysis struct {
	SizeBytes         int64
	WastedBytes       int64
	Efficiency        float64 // 0 to 1
	UserWastedPercent float64 // of the bytes above the lowest layer, 0 to 1
	Files             []File  // those that come more than once, the largest first
}

// File is a path that several layers have.
type File struct {
	Count int    `json:"count"`
	Bytes int64  `json:"sizeBytes"` // in all layers
	Path  string `json:"file"`
}

// Analyze counts an image.
func Analyze(t *timeline.Timeline) *Analysis {
	a := &Analysis{Efficiency: 1}
	user := int64(0)
	for i := range t.Layers() {
		a.SizeBytes += t.Stats(i).Stored
		if i > 0 {
			user += t.Stats(i).Stored
		}
	}
	var useful, stored int64
	for n := range timeline.Node(t.Len()) {
		count, least, sum := 0, int64(-1), int64(0)
		for e := range t.Events(n) {
			if e.Type == layer.Dir || e.Kind == timeline.Removed && !explicit(t, n, e.Layer) {
				continue
			}
			size := e.Stored()
			count++
			sum += size
			if least < 0 || size < least {
				least = size
			}
		}
		useful += max(least, 0)
		stored += sum
		if count > 1 {
			a.Files = append(a.Files, File{count, sum, "/" + t.Path(n)})
			a.WastedBytes += sum
		}
	}
	if stored > 0 {
		a.Efficiency = float64(useful) / float64(stored)
	}
	if user > 0 {
		a.UserWastedPercent = float64(a.WastedBytes) / float64(user)
	}
	slices.SortStableFunc(a.Files, func(x, y File) int { return cmp.Compare(y.Bytes, x.Bytes) })
	return a
}

// explicit says that a layer has a whiteout for the path itself, and not one for a directory above it.
func explicit(t *timeline.Timeline, n timeline.Node, index int) bool {
	e, ok := t.At(t.Parent(n), index)
	return !ok || e.Layer != index || e.Kind != timeline.Removed && e.Type == layer.Dir && !e.Opaque
}

// Export is an analysis as dive's --json writes it.
type Export struct {
	Layer []ExportLayer `json:"layer"`
	Image ExportImage   `json:"image"`
}

// ExportLayer is a layer of an Export.
type ExportLayer struct {
	Index     int    `json:"index"`
	ID        string `json:"id"`
	DigestID  string `json:"digestId"`
	SizeBytes int64  `json:"sizeBytes"`
	Command   string `json:"command"`
}

// ExportImage is the image of an Export.
type ExportImage struct {
	SizeBytes        int64   `json:"sizeBytes"`
	InefficientBytes int64   `json:"inefficientBytes"`
	EfficiencyScore  float64 `json:"efficiencyScore"`
	Files            []File  `json:"fileReference"`
}

// Export makes what --json writes. dive lists every file of every layer, too; strata show --json does that.
func (a *Analysis) Export(im *anatomy.Image, t *timeline.Timeline) *Export {
	out := &Export{Layer: []ExportLayer{}, Image: ExportImage{a.SizeBytes, a.WastedBytes, a.Efficiency, a.Files}}
	if out.Image.Files == nil {
		out.Image.Files = []File{}
	}
	for i := range t.Layers() {
		l := ExportLayer{Index: i, SizeBytes: t.Stats(i).Stored, DigestID: string(im.Config.RootFS.DiffIDs[i])}
		if at := im.RowOf(i); at >= 0 {
			l.ID, l.Command = im.Rows[at].ID.Encoded(), history.Instruction(im.Rows[at].History.CreatedBy)
		}
		out.Layer = append(out.Layer, l)
	}
	return out
}

// maxFiles is how many inefficient files are printed.
const maxFiles = 100

// Print prints what dive --ci prints.
func (r *Result) Print(w io.Writer, clean func(string) string) {
	fmt.Fprintf(w, "Analysis:\n  %-18s %.2f %%\n", "efficiency:", 100*r.Efficiency)
	fmt.Fprintf(w, "  %-18s %d bytes (%s)\n  %-18s %.2f %%\n\n", "wastedBytes:", r.WastedBytes, units.HumanSize(float64(r.WastedBytes)), "userWastedPercent:", 100*r.UserWastedPercent)
	if len(r.Files) == 0 {
		fmt.Fprintf(w, "Inefficient Files: (None)\n\n")
	} else {
		fmt.Fprintf(w, "Inefficient Files:\n  %-5s  %-12s  %s\n", "Count", "Wasted Space", "File Path")
		for _, f := range r.Files[:min(len(r.Files), maxFiles)] {
			fmt.Fprintf(w, "  %-5d  %-12s  %s\n", f.Count, units.HumanSize(float64(f.Bytes)), clean(f.Path))
		}
		if more := len(r.Files) - maxFiles; more > 0 {
			fmt.Fprintf(w, "  … and %d more\n", more)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, "Evaluation:")
	count := map[string]int{}
	for _, rule := range r.Rules {
		count[rule.Status]++
		fmt.Fprintf(w, "  %s  %s (%s)\n", rule.Status, rule.Key, rule.Message)
	}
	status := "PASS"
	if !r.Pass {
		status = "FAIL"
	}
	fmt.Fprintf(w, "\n%s [pass:%d fail:%d skip:%d]\n", status, count["PASS"], count["FAIL"], count["SKIP"])
}
