package view

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/explain"
)

// TestGraph draws an image of four stages: the last one is FROM a stage, and copies from one that is FROM another, which copies
// from the first and is copied from twice; the first is named like its image.
func TestGraph(t *testing.T) {
	id := func(c string) digest.Digest {
		return digest.NewDigestFromEncoded(digest.SHA256, c+c+c+c+c+c+c+c+c+c+c+c)
	}
	layer := id("f")
	step := func(c, text string, d digest.Digest) *explain.Step {
		return &explain.Step{State: id(c), Text: text, Layer: d}
	}
	b := &explain.Build{Stages: []*explain.Stage{
		{Name: "tools", Index: 0, From: "tools", Base: id("9"), Steps: []*explain.Step{step("1", "RUN tools", layer)}},
		{Name: "build", Index: 1, From: "golang", Steps: []*explain.Step{step("2", "COPY --from=0 /t /t", layer), step("3", "RUN make", layer)}},
		{Name: "test", Index: 2, From: "build", Steps: []*explain.Step{step("4", "RUN --mount=type=bind,from=tools,target=/t make test", layer)}},
		{Name: "base", Index: 3, From: "scratch", Steps: []*explain.Step{step("5", "COPY --from=build /bin /bin", layer)}},
		{Name: "stage-4", Index: 4, From: "base", Steps: []*explain.Step{step("6", `COPY --from=TEST /ok /`, layer), step("7", "CMD run", "")}},
	}}
	l := &Log{Image: "app", Rows: []LogRow{
		{ID: id("7"), Instruction: "CMD run"},
		{ID: id("6"), Instruction: "COPY --from=TEST /ok /", Layer: &LogLayer{Size: 2}},
		{ID: id("5"), Instruction: "COPY --from=build /bin /bin", Layer: &LogLayer{Size: 1}},
	}}
	var out bytes.Buffer
	p := NewPrinter(&out)
	l.Graph(p, b)
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	want := `o 777777777777        CMD run
* 666666666666  2B    COPY --from=TEST /ok /
|\
| * 444444444444  [test] RUN --mount=type=bind,from=tools,target=/t make test
| |\
| | * 111111111111  [tools] RUN tools
| | o FROM tools
| * 333333333333  [build] RUN make
| * 222222222222  [build] COPY --from=0 /t /t
| |\
| | * (stage tools, as above)
| o FROM golang
* 555555555555  1B    COPY --from=build /bin /bin
|\
| * (stage build, as above)
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
