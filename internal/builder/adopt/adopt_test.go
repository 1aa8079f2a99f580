package adopt

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
)

var testPlatform = ocispec.Platform{OS: "linux", Architecture: "amd64"}

// world is a model of what builders do, without files: the layer of a step is the digest of all that its
// result depends on, and nothing else is known of it.
type world struct {
	base *image.Config
}

func newWorld() *world {
	made := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	c := image.Scratch(testPlatform)
	c.RootFS.DiffIDs = []digest.Digest{digest.FromString("base")}
	c.History = []image.History{{Created: &made, CreatedBy: "/bin/sh -c #(nop) ADD file:abc in / "}, {Created: &made, CreatedBy: `CMD ["sh"]`, EmptyLayer: true}}
	c.Config.Env = append(c.Config.Env, "FROMBASE=1")
	return &world{base: c}
}

// result is the layer that a step gives on a chain; RUN true and WORKDIR /tmp change nothing.
func (w *world) result(chain []digest.Digest, step *dockerfile.Step) digest.Digest {
	chain = withoutEmpty(chain)
	switch {
	case step.Run != nil:
		r := step.Run
		if r.Args[len(r.Args)-1] == "true" {
			return layer.EmptyDiffID
		}
		return digest.FromString(fmt.Sprintf("%q", []any{chain, r.Args, slices.Sorted(slices.Values(r.Env)), r.User, r.Dir}))
	case step.Copy != nil:
		return digest.FromString(fmt.Sprintf("%q", []any{chain, "COPY", step.Copy.Sources, step.Copy.Dest}))
	case step.Workdir != nil:
		if step.Workdir.Path == "/tmp" {
			return layer.EmptyDiffID
		}
		return digest.FromString(fmt.Sprintf("%q", []any{chain, "WORKDIR", step.Workdir.Path}))
	}
	return ""
}

// walk goes through a Dockerfile's only stage; visit gets each step and gives its layer.
func (w *world) walk(t testing.TB, engine dialect.Dialect, source string, args map[string]string, visit func(at *Position, step *dockerfile.Step) digest.Digest) *Position {
	t.Helper()
	f, err := dockerfile.Parse([]byte("FROM base\n"+source), "Dockerfile")
	if err != nil {
		t.Fatalf("%v\n%s", err, source)
	}
	plan, err := f.Plan(dockerfile.Options{Dialect: engine, Platform: testPlatform, Args: args})
	if err != nil {
		t.Fatalf("%v\n%s", err, source)
	}
	position := &Position{Base: w.base, Config: w.base}
	walk, err := plan.Target.Walk(w.base.Config)
	if err != nil {
		t.Fatal(err)
	}
	for now := w.base.Created; ; {
		step, err := walk.Next()
		if err != nil {
			return position
		}
		diffID := visit(position, step)
		if diffID == layer.EmptyDiffID && engine == dialect.Classic() {
			diffID = ""
		}
		content := ""
		if step.Copy != nil {
			content = "file:abc"
		}
		row := image.History{Created: now, CreatedBy: step.CreatedBy(content), Author: step.Author}
		if engine == dialect.Graph() {
			row.Author, row.Comment = "", image.BuildKitComment
		}
		position = &Position{
			Base: w.base, Config: image.Add(position.Config, step.Config, row, diffID), Past: append(slices.Clip(position.Past), step),
		}
	}
}

// build is a whole build of somebody else.
func (w *world) build(t testing.TB, engine dialect.Dialect, source string, args map[string]string) *image.Config {
	t.Helper()
	return w.walk(t, engine, source, args, func(at *Position, s *dockerfile.Step) digest.Digest { return w.result(at.chain(), s) }).Config
}

// outcome is what came of a RUN that was looked for in an image: "hit", or why not.
type outcome struct{ text, reason string }

// lookFor builds with an image as a cache. A hit that is not what the step gives ends the test.
func (w *world) lookFor(t testing.TB, engine dialect.Dialect, source string, args map[string]string, from *image.Config) []outcome {
	t.Helper()
	var out []outcome
	w.walk(t, engine, source, args, func(at *Position, step *dockerfile.Step) digest.Digest {
		truth := w.result(at.chain(), step)
		if step.Run == nil {
			return truth
		}
		p, reason := Align(from, at, "amd64")
		if reason == "" {
			var row *Row
			if row, reason = p.FindRun(step, RunFacts{DiscardsVolumes: engine == dialect.Classic()}); reason == "" {
				reason = "hit"
				if row.Layer != truth {
					t.Fatalf("a wrong hit: %s is not %s\nhistory:\n%s\nDockerfile:\n%s", row.quote(), step.Text, historyOf(from), source)
				}
			}
		}
		out = append(out, outcome{step.Text, reason})
		return truth
	})
	return out
}

func historyOf(c *image.Config) string {
	var b strings.Builder
	for _, h := range c.History {
		fmt.Fprintf(&b, "%-5v %s\n", h.EmptyLayer, h.CreatedBy)
	}
	return b.String()
}

func TestThirdPartyRun(t *testing.T) {
	type config = *image.Config
	graph, classic := dialect.Graph(), dialect.Classic()
	for _, tt := range []struct {
		name         string
		engine       dialect.Dialect // theirs
		theirs, ours string
		theirArgs    map[string]string
		change       func(config) // what is done to their image
		want         []string     // of each RUN: "hit", or a part of the reason
	}{
		{name: "the same", theirs: "ENV A=1\nRUN a\nUSER u\nRUN b", ours: "ENV A=1\nRUN a\nUSER u\nRUN b", want: []string{"hit", "hit"}},
		{name: "the same, classic", engine: classic, theirs: "ENV A=1\nRUN a\nUSER u\nRUN b", ours: "ENV A=1\nRUN a\nUSER u\nRUN b", want: []string{"hit", "hit"}},
		{name: "labels do not matter", theirs: "LABEL a=b\nRUN a\nCMD x", ours: "EXPOSE 80\nRUN a", want: []string{"hit"}},
		{name: "other text", theirs: "RUN a", ours: "RUN a b", want: []string{"in its place is row 3, `RUN /bin/sh -c a # buildkit`"}},
		{name: "other environment", theirs: "ENV A=1\nRUN a", ours: "ENV A=2\nRUN a", want: []string{"where this build has `ENV A=2` it has row 3, `ENV A=1`"}},
		{name: "other environment, the same in the end", theirs: "ENV A=1\nRUN a\nENV A=2", ours: "ENV A=2\nRUN a", want: []string{"where this build has"}},
		{name: "environment set later", theirs: "RUN a\nENV A=1", ours: "ENV A=1\nRUN a", want: []string{"it has no `ENV A=1` before the step"}},
		{name: "environment set earlier", theirs: "ENV A=1\nRUN a", ours: "RUN a\nENV A=1", want: []string{"this build has no row 3, `ENV A=1`"}},
		{name: "value changed later", theirs: "ENV A=1\nRUN a\nENV A=2\nRUN b", ours: "ENV A=1\nRUN a\nENV A=2\nRUN b", want: []string{"hit", "hit"}},
		{name: "value in doubt", theirs: "ENV A=\"x B=y\"\nENV B=z\nRUN a\nENV A=1", ours: "ENV A=x B=y\nENV B=z\nRUN a\nENV A=1", want: []string{"does not tell its value clearly"}},
		{name: "value in doubt, but final", theirs: "ENV A=\"x B=y\"\nENV B=z\nRUN a", ours: "ENV A=x B=y\nENV B=z\nRUN a", want: []string{"the variable A has another value"}},
		{name: "PATH changed later", theirs: "RUN a\nENV PATH=/x:$PATH\nRUN b", ours: "RUN a\nENV PATH=/x:$PATH\nRUN b", want: []string{"hit", "hit"}},
		{name: "other user", theirs: "USER u\nRUN a", ours: "USER v\nRUN a", want: []string{"where this build has `USER v`"}},
		{name: "user set later", theirs: "RUN a\nUSER u", ours: "USER u\nRUN a", want: []string{"it has no `USER u`"}},
		{name: "other directory", theirs: "WORKDIR /tmp\nRUN a", ours: "RUN a", want: []string{"this build has no row 3"}},
		{name: "relative directory", theirs: "WORKDIR /tmp\nRUN a", ours: "WORKDIR tmp\nRUN a", want: []string{"hit"}},
		{name: "other shell", theirs: "SHELL [\"/bin/sh\",\"-e\",\"-c\"]\nRUN a", ours: "RUN a", want: []string{"/bin/sh -e -c a"}},
		{name: "same shell", engine: classic, theirs: "SHELL [\"/bin/sh\",\"-e\",\"-c\"]\nRUN a", ours: "SHELL [\"/bin/sh\",\"-e\",\"-c\"]\nRUN a", want: []string{"hit"}},
		{name: "same arguments", theirs: "ARG V=1\nRUN a", ours: "ARG V=1\nRUN a", want: []string{"hit"}},
		{name: "other arguments", theirs: "ARG V=1\nRUN a", theirArgs: map[string]string{"V": "2"}, ours: "ARG V=1\nRUN a", want: []string{"has other build arguments"}},
		{name: "no arguments", theirs: "RUN a", ours: "ARG V=1\nRUN a", want: []string{"has other build arguments"}},
		{name: "arguments in another order", theirs: "ARG B=1\nARG A=1\nRUN a", engine: classic, ours: "ARG B=1\nARG A=1\nRUN a", want: []string{"hit"}},
		{name: "exec form", theirs: `RUN ["touch","a b"]`, ours: `RUN ["touch","a","b"]`, want: []string{"does not tell where an argument of the exec form ends"}},
		{name: "exec form of one word", theirs: `RUN ["make"]`, ours: `RUN ["make"]`, want: []string{"hit"}},
		{name: "exec form of two words in one", theirs: `RUN ["a","b"]`, ours: `RUN ["a b"]`, want: []string{"exec form"}},
		{name: "reordered", theirs: "RUN a\nRUN b", ours: "RUN b\nRUN a", want: []string{"in its place is row 3", "its layer of row 3"}},
		{name: "after a COPY that is another", theirs: "COPY x /\nRUN a", ours: "COPY y /\nRUN a", want: []string{"its layer of row 3"}},
		{name: "ends early", theirs: "RUN a", ours: "RUN a\nRUN b", want: []string{"hit", "it ends before this step"}},
		{name: "changes nothing", theirs: "RUN true\nRUN a", ours: "RUN true\nRUN a", want: []string{"hit", "hit"}},
		{name: "changes nothing, classic", engine: classic, theirs: "RUN true\nRUN a", ours: "RUN true\nRUN a", want: []string{"has no layer: it may have changed nothing", "hit"}},
		{name: "changes nothing, not there", theirs: "RUN a", ours: "RUN true\nRUN a", want: []string{"in its place", "where this build has"}},
		{name: "a volume", engine: classic, theirs: "VOLUME /v\nRUN a", ours: "VOLUME /v\nRUN a", want: []string{"VOLUME"}},
		{name: "a comment that looks like one of Docker's", engine: classic, theirs: "RUN true #(nop)  ENV A=1\nRUN a", ours: "ENV A=1\nRUN a", want: []string{"in its place is row 3"}},
		{
			// As `buildah bud` does without --layers.
			name: "several steps in one layer", engine: classic, theirs: "RUN a\nRUN a", ours: "RUN a\nRUN a",
			change: func(c config) {
				c.History[2].EmptyLayer = true
				c.RootFS.DiffIDs = []digest.Digest{c.RootFS.DiffIDs[0], digest.FromString("both")}
			},
			want: []string{"a later layer holds what it changed", "its layer of row 4"},
		},
		{
			name: "another base image", theirs: "RUN a", ours: "RUN a",
			change: func(c config) { other := c.History[0].Created.Add(1); c.History[0].Created = &other },
			want:   []string{"it was built on another base image"},
		},
		{
			name: "without the base image's rows", theirs: "RUN a", ours: "RUN a",
			change: func(c config) { c.History = c.History[1:] },
			want:   []string{"it was built on another base image"},
		},
		{
			name: "without the last row", theirs: "RUN a\nRUN b", ours: "RUN a\nRUN b",
			change: func(c config) { c.History = c.History[:3] },
			want:   []string{"another base image", "another base image"},
		},
		{
			name: "changed without a row", theirs: "RUN a", ours: "RUN a",
			change: func(c config) { c.Config.Env = append(c.Config.Env, "X=1") },
			want:   []string{"it has the variable X, and no row says since when"},
		},
		{
			name: "user changed without a row", theirs: "RUN a", ours: "RUN a",
			change: func(c config) { c.Config.User = "app" },
			want:   []string{`its user is "app", and no row says since when`},
		},
		{
			name: "a row of no known form", theirs: "LABEL a=b\nRUN a", ours: "RUN a",
			change: func(c config) { c.History[2].CreatedBy = "" },
			want:   []string{"layer"},
		},
		{
			name: "kaniko", theirs: "RUN a", ours: "RUN a",
			change: func(c config) { c.History[2] = image.History{CreatedBy: "RUN a"} },
			want:   []string{"hit"},
		},
		{
			name: "kaniko with arguments", theirs: "ARG V=1\nRUN a", ours: "ARG V=1\nRUN a",
			change: func(c config) { c.History[2].CreatedBy = "ARG V=1"; c.History[3] = image.History{CreatedBy: "RUN a"} },
			want:   []string{"does not tell what its build arguments were"},
		},
		{
			name: "kaniko with arguments that are not ours", theirs: "ARG V=1\nRUN a", ours: "RUN a",
			change: func(c config) { c.History[2].CreatedBy = "ARG V=1"; c.History[3] = image.History{CreatedBy: "RUN a"} },
			want:   []string{"does not tell what its build arguments were"},
		},
		{
			name: "its own cache knows better", theirs: "RUN a", ours: "RUN a",
			change: func(c config) { c.Cached = []image.CachedRow{{Row: 2, Key: digest.FromString("other")}} },
			want:   []string{"the image's own cache knows of something that differs"},
		},
		{
			name: "for another machine", theirs: "RUN a", ours: "RUN a",
			change: func(c config) { c.Architecture = "arm64" },
			want:   []string{"it is an image for arm64"},
		},
	} {
		for _, engine := range []dialect.Dialect{graph, classic} {
			t.Run(fmt.Sprintf("%s/%s", tt.name, engine), func(t *testing.T) {
				w := newWorld()
				theirs := tt.engine
				if theirs.Name == "" {
					theirs = graph
				}
				from := image.Clone(w.build(t, theirs, tt.theirs, tt.theirArgs))
				if tt.change != nil {
					tt.change(from)
				}
				got := w.lookFor(t, engine, tt.ours, nil, from)
				if len(got) != len(tt.want) {
					t.Fatalf("%d RUNs, and %d outcomes are wanted: %v", len(got), len(tt.want), got)
				}
				for i, o := range got {
					if !strings.Contains(o.reason, tt.want[i]) || (o.reason == "hit") != (tt.want[i] == "hit") {
						t.Errorf("%s: %s\nwant: %s\nhistory:\n%s", o.text, o.reason, tt.want[i], historyOf(from))
					}
				}
			})
		}
	}
}

// Random builds of others, with random changes: whatever is taken is what the step gives.
func TestThirdPartyRunIsNeverWrong(t *testing.T) {
	if testing.Short() {
		t.Skip("needs four seconds: run without -short")
	}
	lines := []string{
		"RUN a", "RUN b", "RUN true", `RUN ["a","b"]`, `RUN ["a b"]`, "ENV A=1", "ENV A=2", "ENV A=1 B=2", `ENV A="1 B=2"`, "ENV B=$A",
		"ENV B=2", "USER u", "USER root", "WORKDIR /tmp", "WORKDIR /w", "WORKDIR w", `SHELL ["/bin/sh","-e","-c"]`, "ARG V=1", "ARG W=2", "ENV V=3",
		"COPY a /x", "COPY b /x", "LABEL a=b", "CMD a", "ENV PATH=/x:$PATH", "ENV C=$V", "EXPOSE 80",
	}
	engines := []dialect.Dialect{dialect.Graph(), dialect.Classic()}
	hits := 0
	for seed := range uint64(4000) {
		r := rand.New(rand.NewPCG(seed, 1))
		var theirs []string
		for range 2 + r.IntN(8) {
			theirs = append(theirs, lines[r.IntN(len(lines))])
		}
		ours := slices.Clone(theirs)
		for range r.IntN(3) {
			i := r.IntN(len(ours))
			switch r.IntN(4) {
			case 0:
				ours[i] = lines[r.IntN(len(lines))]
			case 1:
				ours = slices.Insert(ours, i, lines[r.IntN(len(lines))])
			case 2:
				if len(ours) > 1 {
					ours = slices.Delete(ours, i, i+1)
				}
			case 3:
				j := r.IntN(len(ours))
				ours[i], ours[j] = ours[j], ours[i]
			}
		}
		args := func() map[string]string {
			if r.IntN(2) == 0 {
				return nil
			}
			return map[string]string{"V": fmt.Sprint(r.IntN(2))}
		}
		w := newWorld()
		from := w.build(t, engines[r.IntN(2)], strings.Join(theirs, "\n"), args())
		for _, o := range w.lookFor(t, engines[r.IntN(2)], strings.Join(ours, "\n"), args(), from) {
			if o.reason == "hit" {
				hits++
			}
		}
	}
	if hits < 1000 {
		t.Errorf("only %d hits: the test would not see a wrong one", hits)
	}
}
