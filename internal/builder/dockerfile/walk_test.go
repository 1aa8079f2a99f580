//lint:file-ignore SA1019 ArgsEscaped is deprecated, but part of the image ID

package dockerfile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/image"
)

const pathEnv = "PATH=" + image.DefaultPath

func TestConfig(t *testing.T) {
	inherited := func(string) image.Runtime {
		var c image.Runtime
		c.Env = []string{"PATH=/bin", "A=base", "B=base"}
		c.Cmd = []string{"inherited"}
		c.WorkingDir = "/w"
		c.ExposedPorts = map[string]struct{}{"1/tcp": {}}
		c.Labels = map[string]string{"x": "y"}
		return c
	}
	for _, test := range []struct {
		name, text string
		args       map[string]string
		want       func(c *image.Runtime)
		classic    func(c *image.Runtime) // besides want
	}{
		{name: "nothing", want: func(*image.Runtime) {}},
		{name: "env in place", text: "ENV C=1 A=2", want: func(c *image.Runtime) { c.Env = []string{"PATH=/bin", "A=2", "B=base", "C=1"} }},
		{name: "env expands", text: "ENV C=${A:-x}${N:-y}${A:+z}${A#ba}${A%se}${A/a/o}", want: func(c *image.Runtime) { c.Env = append(c.Env, "C=baseyzsebabose") }},
		{name: "env quotes", text: `ENV C='$A' D="\"$A\"" E=a\ b`, want: func(c *image.Runtime) { c.Env = append(c.Env, "C=$A", `D="base"`, "E=a b") }},
		{name: "arg is not env", text: "ARG C=1\nENV D=$C", want: func(c *image.Runtime) { c.Env = append(c.Env, "D=1") }},
		{name: "global arg", text: "ARG G\nENV D=$G", want: func(c *image.Runtime) { c.Env = append(c.Env, "D=global") }},
		{name: "global arg given", text: "ARG G\nENV D=$G", args: map[string]string{"G": "given"}, want: func(c *image.Runtime) { c.Env = append(c.Env, "D=given") }},
		{name: "global arg default here", text: "ARG G=here\nENV D=$G", want: func(c *image.Runtime) { c.Env = append(c.Env, "D=here") }},
		{name: "global arg not redeclared", text: "ENV D=$G", want: func(c *image.Runtime) { c.Env = append(c.Env, "D=") }},
		{name: "cmd", text: "CMD a b", want: func(c *image.Runtime) { c.Cmd = []string{"/bin/sh", "-c", "a b"}; c.ArgsEscaped = true }, classic: func(c *image.Runtime) { c.ArgsEscaped = false }},
		{name: "entrypoint drops cmd", text: `ENTRYPOINT ["e"]`, want: func(c *image.Runtime) { c.Entrypoint = []string{"e"}; c.Cmd = nil }},
		{name: "entrypoint keeps cmd", text: "CMD [\"c\"]\nENTRYPOINT [\"e\"]", want: func(c *image.Runtime) { c.Entrypoint = []string{"e"}; c.Cmd = []string{"c"}; c.ArgsEscaped = true }, classic: func(c *image.Runtime) { c.ArgsEscaped = false }},
		{name: "workdir", text: "WORKDIR a", want: func(c *image.Runtime) { c.WorkingDir = "/w/a" }},
		{name: "user", text: "USER 1:2", want: func(c *image.Runtime) { c.User = "1:2" }},
		{name: "expose", text: "EXPOSE 2-3 4/udp", want: func(c *image.Runtime) {
			c.ExposedPorts = map[string]struct{}{"1/tcp": {}, "2/tcp": {}, "3/tcp": {}, "4/udp": {}}
		}},
		{name: "volume", text: `VOLUME ["/a b"]`, want: func(c *image.Runtime) { c.Volumes = map[string]struct{}{"/a b": {}} }},
		{name: "label", text: "LABEL z=$A", want: func(c *image.Runtime) { c.Labels["z"] = "base" }},
		{name: "stopsignal", text: "STOPSIGNAL RTMIN+3", want: func(c *image.Runtime) { c.StopSignal = "RTMIN+3" }},
		{name: "shell", text: "SHELL [\"/bin/bash\", \"-c\"]\nCMD x", want: func(c *image.Runtime) {
			c.Shell = []string{"/bin/bash", "-c"}
			c.Cmd = []string{"/bin/bash", "-c", "x"}
			c.ArgsEscaped = true
		}, classic: func(c *image.Runtime) { c.ArgsEscaped = false }},
		{name: "healthcheck", text: "HEALTHCHECK --retries=2 CMD [\"a\"]", want: func(c *image.Runtime) {
			c.Healthcheck = &image.Healthcheck{Test: []string{"CMD", "a"}, Retries: 2}
		}},
		{name: "healthcheck twice", text: "HEALTHCHECK --retries=2 --interval=1s CMD a\nHEALTHCHECK NONE",
			want:    func(c *image.Runtime) { c.Healthcheck = &image.Healthcheck{Test: []string{"NONE"}} },
			classic: func(c *image.Runtime) { c.Healthcheck.Retries, c.Healthcheck.Interval = 2, time.Second }},
		{name: "onbuild", text: "ONBUILD RUN a", want: func(c *image.Runtime) { c.OnBuild = []string{"RUN a"} }},
	} {
		for _, engine := range []dialect.Dialect{dialect.Graph(), dialect.Classic()} {
			t.Run(test.name+" "+engine.Name, func(t *testing.T) {
				p := mustPlan(t, "ARG G=global\nFROM a\n"+test.text+"\n", Options{Dialect: engine, Args: test.args})
				_, w := walkAll(t, p, inherited)
				want := inherited("")
				test.want(&want)
				if engine == dialect.Classic() && test.classic != nil {
					test.classic(&want)
				}
				if diff := cmp.Diff(want, w.Config()); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestScratch(t *testing.T) {
	p := mustPlan(t, "FROM scratch\nCOPY a b/\n", Options{})
	steps, w := walkAll(t, p, nil)
	if got := w.Config(); got.WorkingDir != "/" || got.Env[0] != pathEnv {
		t.Errorf("%+v", got)
	}
	if s := steps[0]; s.Vertex() != "[1/1] COPY a b/" || s.Copy.Dest != "/b" || !s.Copy.DestDir {
		t.Errorf("%s %+v", s.Vertex(), s.Copy)
	}
	_, w = walkAll(t, mustPlan(t, "FROM scratch\nCOPY a b/\n", Options{Dialect: dialect.Classic()}), nil)
	if got := w.Config(); got.WorkingDir != "" || got.Env[0] != pathEnv {
		t.Errorf("classic: %+v", got)
	}
}

func TestRun(t *testing.T) {
	source := "FROM a\nENV E=1 F=2\nARG A=3\nARG E=4\nENV F=5\nWORKDIR /w\nUSER u\nRUN --network=none \"$A\" '$E' $NONE\n"
	args := map[string]string{"HTTPS_PROXY": "p"}
	steps, _ := walkAll(t, mustPlan(t, source, Options{Args: args}), nil)
	last := steps[len(steps)-1]
	want := &Run{
		Args: []string{"/bin/sh", "-c", `"$A" '$E' $NONE`}, Shell: true, Dir: "/w", User: "u", Network: "none",
		Env:       []string{pathEnv, "A=3", "E=4", "F=5"},
		BuildArgs: []string{"A=3", "E=4"},
		ProxyEnv:  []string{"HTTPS_PROXY=p", "https_proxy=p"},
	}
	if diff := cmp.Diff(want, last.Run); diff != "" {
		t.Error(diff)
	}
	if want := `[3/3] RUN --network=none "3" '$E' $NONE`; last.Vertex() != want {
		t.Errorf("%q, want %q", last.Vertex(), want)
	}
	source = strings.Replace(source, "--network=none ", "", 1)
	want.Network = "default"
	steps, _ = walkAll(t, mustPlan(t, source, Options{Args: args, Dialect: dialect.Classic()}), nil)
	want.Env = []string{pathEnv, "E=1", "F=5", "A=3"}
	want.BuildArgs = []string{"A=3"}
	want.ProxyEnv = []string{"HTTPS_PROXY=p"}
	if diff := cmp.Diff(want, steps[len(steps)-1].Run); diff != "" {
		t.Error(diff)
	}
}

func TestArgsReachStagesThatStartFromThisOne(t *testing.T) {
	const source = "FROM a AS x\nARG A=1\nENV E=$A\nFROM x\nRUN y\nENV F=$A\n"
	steps, w := walkAll(t, mustPlan(t, source, Options{}), nil)
	if got := steps[0].CreatedBy(""); got != "RUN |1 A=1 /bin/sh -c y # buildkit" {
		t.Error(got)
	}
	if got := strings.Join(w.Config().Env, " "); got != pathEnv+" E=1 F=1" {
		t.Error(got)
	}
	steps, w = walkAll(t, mustPlan(t, source, Options{Dialect: dialect.Classic()}), nil)
	if got := steps[0].CreatedBy(""); got != "/bin/sh -c y" {
		t.Error(got)
	}
	if got := strings.Join(w.Config().Env, " "); got != pathEnv+" E=1 F=" {
		t.Error(got)
	}
}

func TestTriggers(t *testing.T) {
	base := func(string) image.Runtime { return onBuild("ENV A=1", "COPY --from=tools . /src", "WORKDIR /b") }
	p := mustPlan(t, "FROM t AS tools\nFROM b\nRUN make\nONBUILD RUN z\n", Options{})
	w, err := p.Target.Walk(base(""))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 5 {
		s, err := w.Next()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s.Vertex()+"|"+s.CreatedBy(""))
		if s.OnBuild && s.Line != 2 {
			t.Errorf("%s is in line %d", s.Text, s.Line)
		}
		if s.Copy != nil && s.Copy.From.Stage != nil && s.Copy.From.Stage.Name != "tools" {
			t.Error("the trigger copies from another stage")
		}
	}
	want := []string{
		"|ENV A=1", "[stage-1 2/5] ONBUILD COPY --from=tools . /src|COPY . /src # buildkit", "[stage-1 3/5] ONBUILD WORKDIR /b|WORKDIR /b",
		"[stage-1 4/5] RUN make|RUN /bin/sh -c make # buildkit", "|",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"RUN z"}, w.Config().OnBuild); diff != "" {
		t.Error(diff)
	}
}

func TestDestination(t *testing.T) {
	for dest, want := range map[string]string{
		".": "/w dir", "./": "/w dir", "x": "/w/x", "x/": "/w/x dir", "x/.": "/w/x dir", "..": "/", "../../..": "/", "/": "/ dir", "/a/../b": "/b", "//a": "/a",
	} {
		steps, _ := walkAll(t, mustPlan(t, "FROM a\nWORKDIR /w\nCOPY s "+dest+"\n", Options{}), nil)
		c := steps[1].Copy
		got := c.Dest
		if c.DestDir {
			got += " dir"
		}
		if got != want || c.DestText != dest {
			t.Errorf("%s: %s (%s), want %s", dest, got, c.DestText, want)
		}
	}
}

func TestWorkdir(t *testing.T) {
	steps, _ := walkAll(t, mustPlan(t, "FROM a\nUSER u\nWORKDIR /a//b/\nWORKDIR /\n", Options{}), nil)
	if diff := cmp.Diff(&Workdir{Path: "/a/b", User: "u"}, steps[1].Workdir); diff != "" {
		t.Error(diff)
	}
	if s := steps[2]; s.Workdir != nil || !s.EmptyLayer || s.Vertex() != "" {
		t.Errorf("%+v", s)
	}
	steps, _ = walkAll(t, mustPlan(t, "FROM a\nUSER u\nWORKDIR /\n", Options{Dialect: dialect.Classic()}), nil)
	if diff := cmp.Diff(&Workdir{Path: "/"}, steps[1].Workdir); diff != "" || steps[1].EmptyLayer {
		t.Error(diff)
	}
}

// How the text is written makes no difference.
func TestSpelling(t *testing.T) {
	want := "[2/2] RUN echo   a|RUN /bin/sh -c echo   a # buildkit"
	for _, source := range []string{
		"FROM a\nRUN echo \\\n  a", "\xef\xbb\xbfFROM a\r\nRUN echo \\\r\n  a\r\n", "# escape=`\nFROM a\nRUN echo `\n  a\n",
		"# syntax=docker/dockerfile:1.7-labs\n# check=skip=all\nFROM a\n# c\nrun echo \\\n# c\n  a\n", "#syntax=docker.io/docker/dockerfile@sha256:0\nFROM a\nRUN echo \\\n  a",
	} {
		steps, _ := walkAll(t, mustPlan(t, source, Options{}), nil)
		if got := steps[0].Vertex() + "|" + steps[0].CreatedBy(""); got != want {
			t.Errorf("%q: %q", source, got)
		}
	}
}

// A step's config is not changed by the steps after it.
func TestStepConfigsAreIndependent(t *testing.T) {
	source := "FROM a\nENV A=1\nLABEL a=1\nEXPOSE 1\nVOLUME /1\nONBUILD RUN 1\nENV A=2 B=2\nLABEL a=2\nEXPOSE 2\nVOLUME /2\nONBUILD RUN 2\n"
	p := mustPlan(t, source, Options{})
	w, err := p.Target.Walk(image.Runtime{})
	if err != nil {
		t.Fatal(err)
	}
	var steps []*Step
	var copies []image.Runtime
	for step, err := w.Next(); err == nil; step, err = w.Next() {
		steps, copies = append(steps, step), append(copies, w.Config())
	}
	for i, s := range steps {
		if diff := cmp.Diff(copies[i], s.Config); diff != "" {
			t.Errorf("after step %d: %s", i, diff)
		}
		_ = append(s.Config.Env, "MINE=1")
	}
	if got := strings.Join(w.Config().Env, " "); got != pathEnv+" A=2 B=2" {
		t.Error(got)
	}
}

func TestLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("needs three seconds: run without -short")
	}
	var b strings.Builder
	for i := range 1000 {
		if i == 0 {
			b.WriteString("FROM debian AS s0\n")
		} else {
			fmt.Fprintf(&b, "FROM s%d AS s%d\nCOPY --from=s%d a b\n", i-1, i, i/2)
		}
		fmt.Fprintf(&b, "ARG A%d=1\nENV E%d=$A%d\nLABEL l%d=1\nEXPOSE %d\nRUN x\nWORKDIR w\nRUN y\nUSER z\n", i, i, i, i, i+1)
	}
	for _, engine := range []dialect.Dialect{dialect.Graph(), dialect.Classic()} {
		p := mustPlan(t, b.String(), Options{Dialect: engine})
		steps, w := walkAll(t, p, nil)
		if len(p.Stages) != 1000 || len(steps) != 9 || len(w.Config().Env) != 1001 || len(w.Config().Labels) != 1000 {
			t.Errorf("%s: %d stages, %d steps, %d variables", engine, len(p.Stages), len(steps), len(w.Config().Env))
		}
	}
}

func FuzzBuild(f *testing.F) {
	for _, s := range []string{
		"FROM a\nRUN b\n", "# escape=`\nARG A=1\nFROM $A AS x\nCOPY --from=0 --chown=$A a `\n b\nADD a b", "FROM a\nENV A=1 B=${A//1/$A}\nENV B $A\nLABEL x=${A:?m}\n",
		"FROM a\nEXPOSE 1-70 2/udp\nVOLUME [\"a\"]\nHEALTHCHECK --interval=1s CMD x\nONBUILD COPY a b\nFROM 0\nSHELL [\"a\"]\nCMD a\nENTRYPOINT []\nSTOPSIGNAL 9\n",
		"FROM --platform=$TARGETPLATFORM a\nRUN <<E\nx\nE\n", "\xef\xbb\xbf#syntax=x\r\nFROM scratch\r\nWORKDIR a\r\nMAINTAINER x", "FROM a\nRUN --network=none --mount=type=bind x\nUSER \"a'b\"",
	} {
		f.Add(s, "ONBUILD", true)
		f.Add(s, "RUN x", false)
	}
	f.Fuzz(func(t *testing.T, source, trigger string, classic bool) {
		o := Options{Args: map[string]string{"A": "given"}, Labels: map[string]string{"l": "v"}}
		if classic {
			o.Dialect = dialect.Classic()
		}
		err := build(source, o, onBuild(trigger))
		if err == nil {
			err = build(source, o, image.Runtime{})
		}
		if located, ok := err.(*Error); ok {
			_ = located.Error() + located.Excerpt()
		} else if err != nil {
			t.Fatalf("%T is no *Error: %v", err, err)
		}
	})
}
