package builder_test

import (
	"strings"
	"testing"
)

// Hard links of another stage stay links of one file, as in BuildKit.
func TestCopyFromStageKeepsHardLinks(t *testing.T) {
	b := newBed(t)
	b.write("Dockerfile", `FROM base AS a
RUN mkdir /d; echo text >/d/one; ln /d/one /d/two; echo text >/d/three
FROM base
COPY --from=a /d /d
RUN stat -c '%h %n' /d/one /d/two /d/three
`)
	r := b.build()
	if r.err != nil {
		t.Fatal(r.err)
	}
	want := "2 /d/one\n2 /d/two\n1 /d/three\n"
	if got := r.output; !strings.Contains(got, want) {
		t.Errorf("links: %q, want %q", got, want)
	}
}
