package dockerfile

import (
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/image"
)

var testPlatform = ocispec.Platform{OS: "linux", Architecture: "amd64"}

func mustPlan(t *testing.T, source string, o Options) *Plan {
	t.Helper()
	f, err := Parse([]byte(source), "Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	if o.Platform.OS == "" {
		o.Platform = testPlatform
	}
	p, err := f.Plan(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// walkAll walks all stages of p, each from the config that base gives for an image, and returns the
// target's steps and walk.
func walkAll(t *testing.T, p *Plan, base func(name string) image.Runtime) ([]*Step, *Walk) {
	t.Helper()
	ends := map[*Stage]image.Runtime{}
	var steps []*Step
	var last *Walk
	for _, s := range p.Stages {
		from := ends[s.Base.Stage]
		if s.Base.Image != "" && base != nil {
			from = base(s.Base.Image)
		}
		w, err := s.Walk(from)
		if err != nil {
			t.Fatal(err)
		}
		steps = nil
		for {
			step, err := w.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			steps = append(steps, step)
		}
		ends[s] = w.Config()
		last = w
	}
	return steps, last
}

func TestHistory(t *testing.T) {
	for _, test := range []struct {
		name    string
		text    string // after FROM debian
		args    map[string]string
		graph   string // of the last step
		classic string
	}{
		{name: "run", text: "RUN echo hi", graph: "RUN /bin/sh -c echo hi # buildkit", classic: "/bin/sh -c echo hi"},
		{name: "run exec", text: `RUN ["echo", "hi"]`, graph: "RUN echo hi # buildkit", classic: "echo hi"},
		{name: "run continued", text: "RUN echo a \\\n  # no\n  && echo b", graph: "RUN /bin/sh -c echo a   && echo b # buildkit", classic: "/bin/sh -c echo a   && echo b"},
		{name: "run keeps variables", text: "ENV A=1\nRUN echo $A", graph: "RUN /bin/sh -c echo $A # buildkit", classic: "/bin/sh -c echo $A"},
		{name: "run with args", text: "ARG B=2\nARG A=1\nRUN x", graph: "RUN |2 B=2 A=1 /bin/sh -c x # buildkit", classic: "|2 A=1 B=2 /bin/sh -c x"},
		{name: "run with arg given", text: "ARG A=1\nRUN x", args: map[string]string{"A": "9"}, graph: "RUN |1 A=9 /bin/sh -c x # buildkit", classic: "|1 A=9 /bin/sh -c x"},
		{name: "run with arg unset", text: "ARG A\nRUN x", graph: "RUN |1 A= /bin/sh -c x # buildkit", classic: "/bin/sh -c x"},
		{name: "arg again without default", text: "ARG A=1\nARG A\nRUN x", graph: "RUN |1 A=1 /bin/sh -c x # buildkit", classic: "/bin/sh -c x"},
		{name: "arg twice", text: "ARG A=1\nARG A=2\nRUN x", graph: "RUN |1 A=2 /bin/sh -c x # buildkit", classic: "|1 A=2 /bin/sh -c x"},
		{name: "env hides arg", text: "ARG A=1\nENV A=3\nRUN x", graph: "RUN |1 A=3 /bin/sh -c x # buildkit", classic: "/bin/sh -c x"},
		{name: "arg after env", text: "ENV A=3\nARG A=1\nRUN x", graph: "RUN |1 A=1 /bin/sh -c x # buildkit", classic: "/bin/sh -c x"},
		{name: "proxy undeclared", text: "RUN x", args: map[string]string{"http_proxy": "p"}, graph: "RUN /bin/sh -c x # buildkit", classic: "|0 /bin/sh -c x"},
		{name: "proxy declared", text: "ARG http_proxy\nRUN x", args: map[string]string{"http_proxy": "p"}, graph: "RUN |1 http_proxy=p /bin/sh -c x # buildkit", classic: "|1 http_proxy=p /bin/sh -c x"},
		{name: "run shell", text: "SHELL [\"/bin/bash\", \"-ec\"]\nRUN x", graph: "RUN /bin/bash -ec x # buildkit", classic: "/bin/bash -ec x"},
		{name: "copy", text: "COPY . .", graph: "COPY . . # buildkit", classic: "/bin/sh -c #(nop) COPY dir:0123 in . "},
		{name: "copy flags", text: "COPY --chown=1:2 --chmod=755 a b/ /c/", graph: "COPY --chown=1:2 --chmod=755 a b/ /c/ # buildkit", classic: ""},
		{name: "copy chown", text: "COPY --chown=www a /c", graph: "COPY --chown=www a /c # buildkit", classic: "/bin/sh -c #(nop) COPY --chown=wwwdir:0123 in /c "},
		{name: "copy expanded", text: "ENV D=/d\nCOPY $D/a ${D}", graph: "COPY /d/a /d # buildkit", classic: "/bin/sh -c #(nop) COPY dir:0123 in /d "},
		{name: "copy json", text: `COPY ["a b", "/c d/"]`, graph: "COPY a b /c d/ # buildkit", classic: "/bin/sh -c #(nop) COPY dir:0123 in /c d/ "},
		{name: "add", text: "ADD x.tar /", graph: "ADD x.tar / # buildkit", classic: "/bin/sh -c #(nop) ADD dir:0123 in / "},
		{name: "workdir", text: "WORKDIR /app", graph: "WORKDIR /app", classic: "/bin/sh -c #(nop) WORKDIR /app"},
		{name: "workdir relative", text: "WORKDIR /app\nWORKDIR a/../b", graph: "WORKDIR /app/b", classic: "/bin/sh -c #(nop) WORKDIR /app/b"},
		{name: "workdir uncleaned", text: "WORKDIR /app//x/", graph: "WORKDIR /app//x/", classic: "/bin/sh -c #(nop) WORKDIR /app//x/"},
		{name: "workdir root", text: "WORKDIR /", graph: "WORKDIR /", classic: "/bin/sh -c #(nop) WORKDIR /"},
		{name: "env", text: `ENV A=1 B="x y"`, graph: "ENV A=1 B=x y", classic: "/bin/sh -c #(nop)  ENV A=1 B=x y"},
		{name: "env old form", text: "ENV A some words", graph: "ENV A=some words", classic: "/bin/sh -c #(nop)  ENV A=some words"},
		{name: "env together", text: "ENV A=1\nENV A=2 B=$A", graph: "ENV A=2 B=1", classic: "/bin/sh -c #(nop)  ENV A=2 B=1"},
		{name: "arg", text: "ARG A=1", graph: "ARG A=1", classic: "/bin/sh -c #(nop)  ARG A=1"},
		{name: "arg given", text: "ARG A=1", args: map[string]string{"A": "9"}, graph: "ARG A=9", classic: "/bin/sh -c #(nop)  ARG A=1"},
		{name: "arg several", text: "ARG A B=2", graph: "ARG A B=2", classic: "/bin/sh -c #(nop)  ARG A B=2"},
		{name: "arg automatic", text: "ARG TARGETARCH", graph: "ARG TARGETARCH=amd64", classic: "/bin/sh -c #(nop)  ARG TARGETARCH"},
		{name: "expose", text: "EXPOSE 8000", graph: "EXPOSE [8000/tcp]", classic: "/bin/sh -c #(nop)  EXPOSE 8000"},
		{name: "expose range", text: "EXPOSE 53/UDP 80-82", graph: "EXPOSE [53/udp 80/tcp 81/tcp 82/tcp]", classic: "/bin/sh -c #(nop)  EXPOSE 53/UDP 80-82"},
		{name: "expose words", text: "ENV P=\"1 2\"\nEXPOSE $P", graph: "EXPOSE [1/tcp 2/tcp]", classic: "/bin/sh -c #(nop)  EXPOSE 1 2"},
		{name: "expose mapped", text: "EXPOSE 127.0.0.1:80:81", graph: "EXPOSE [81/tcp]", classic: "/bin/sh -c #(nop)  EXPOSE 127.0.0.1:80:81"},
		{name: "cmd exec", text: `CMD ["python3", "main.py"]`, graph: `CMD ["python3" "main.py"]`, classic: `/bin/sh -c #(nop)  CMD ["python3" "main.py"]`},
		{name: "cmd shell", text: `CMD echo "hi"`, graph: `CMD ["/bin/sh" "-c" "echo \"hi\""]`, classic: `/bin/sh -c #(nop)  CMD ["/bin/sh" "-c" "echo \"hi\""]`},
		{name: "cmd empty", text: `CMD []`, graph: `CMD []`, classic: `/bin/sh -c #(nop)  CMD []`},
		{name: "cmd nothing", text: `CMD`, graph: `CMD ["/bin/sh" "-c" ""]`, classic: `/bin/sh -c #(nop)  CMD ["/bin/sh" "-c"]`},
		{name: "entrypoint", text: `ENTRYPOINT ["/e"]`, graph: `ENTRYPOINT ["/e"]`, classic: `/bin/sh -c #(nop)  ENTRYPOINT ["/e"]`},
		{name: "entrypoint empty", text: `ENTRYPOINT []`, graph: `ENTRYPOINT []`, classic: `/bin/sh -c #(nop)  ENTRYPOINT []`},
		{name: "user", text: "ARG U=me\nUSER $U:x", graph: "USER me:x", classic: "/bin/sh -c #(nop)  USER me:x"},
		{name: "volume", text: "VOLUME /a /b", graph: "VOLUME [/a /b]", classic: "/bin/sh -c #(nop)  VOLUME [/a /b]"},
		{name: "label", text: `LABEL a.b="c d" e=f`, graph: "LABEL a.b=c d e=f", classic: "/bin/sh -c #(nop)  LABEL a.b=c d e=f"},
		{name: "shell", text: `SHELL ["/bin/bash", "-c"]`, graph: "SHELL [/bin/bash -c]", classic: "/bin/bash -c #(nop)  SHELL [/bin/bash -c]"},
		{name: "stopsignal", text: "STOPSIGNAL SIGTERM", graph: "STOPSIGNAL SIGTERM", classic: "/bin/sh -c #(nop)  STOPSIGNAL SIGTERM"},
		{name: "healthcheck", text: "HEALTHCHECK --interval=5s --timeout=1m --retries=3 CMD curl x",
			graph:   "HEALTHCHECK {Test:[CMD-SHELL curl x] Interval:5s Timeout:1m0s StartPeriod:0s StartInterval:0s Retries:3}",
			classic: `/bin/sh -c #(nop)  HEALTHCHECK &{["CMD-SHELL" "curl x"] "5s" "1m0s" "0s" '\x03'}`},
		{name: "healthcheck none", text: "HEALTHCHECK NONE",
			graph:   "HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
			classic: `/bin/sh -c #(nop)  HEALTHCHECK &{["NONE"] "0s" "0s" "0s" '\x00'}`},
		{name: "maintainer", text: "MAINTAINER Me <me@x>", graph: "MAINTAINER Me <me@x>", classic: "/bin/sh -c #(nop)  MAINTAINER Me <me@x>"},
		{name: "onbuild", text: "ONBUILD RUN x", graph: "", classic: "/bin/sh -c #(nop)  ONBUILD RUN x"},
	} {
		for engine, want := range map[dialect.Dialect]string{dialect.Graph(): test.graph, dialect.Classic(): test.classic} {
			if test.name == "copy flags" && engine == dialect.Classic() {
				continue // it has no --chmod
			}
			t.Run(test.name+" "+engine.Name, func(t *testing.T) {
				p := mustPlan(t, "FROM debian\n"+test.text+"\n", Options{Args: test.args, Dialect: engine})
				steps, _ := walkAll(t, p, nil)
				if got := steps[len(steps)-1].CreatedBy("dir:0123"); got != want {
					t.Errorf("got  %q\nwant %q", got, want)
				}
			})
		}
	}
}

// The automatic example of the lesson, as both engines number and name it.
func TestLesson(t *testing.T) {
	source := "FROM python:3.11-slim-bookworm\nWORKDIR /app\nCOPY . .\nRUN pip install -r requirements.txt\nENV APP_ENV=prod\nEXPOSE 8000\nCMD [\"python3\", \"main.py\"]\n"
	p := mustPlan(t, source, Options{})
	steps, _ := walkAll(t, p, nil)
	got := []string{p.Target.FromVertex("docker.io/library/python:3.11-slim-bookworm")}
	for _, s := range steps {
		got = append(got, s.Vertex())
	}
	want := []string{
		"[1/4] FROM docker.io/library/python:3.11-slim-bookworm", "[2/4] WORKDIR /app", "[3/4] COPY . .",
		"[4/4] RUN pip install -r requirements.txt", "", "", "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	p = mustPlan(t, source, Options{Dialect: dialect.Classic()})
	steps, _ = walkAll(t, p, nil)
	if p.Steps != 7 || p.Target.Position != 1 || steps[5].Position != 7 || steps[5].Text != `CMD ["python3", "main.py"]` {
		t.Errorf("%d steps, FROM is %d, the last is %d: %s", p.Steps, p.Target.Position, steps[5].Position, steps[5].Text)
	}
}
