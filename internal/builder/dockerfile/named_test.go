package dockerfile

import (
	"strings"
	"testing"

	"github.com/strata-build/strata/internal/image"
)

func TestContextName(t *testing.T) {
	for name, want := range map[string]string{
		"alpine": "alpine", "docker.io/library/alpine:latest": "alpine", "alpine:3.18": "alpine:3.18", "me/app": "me/app",
		"docker.io/me/app:1": "me/app:1", "build::linux/arm64/v8": "build::linux/arm64", "reg.example/x:latest": "reg.example/x",
	} {
		if got, err := ContextName(name); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", name, got, err, want)
		}
	}
	for _, name := range []string{"", "::", "Build", "a b", "scratch", "docker.io/library/scratch", "context", "a::", "a::x/y/z/w"} {
		if got, err := ContextName(name); err == nil {
			t.Errorf("%q: %s", name, got)
		}
	}
}

func TestNamedContexts(t *testing.T) {
	const source = "FROM debian AS base\nRUN a\nFROM base AS build\nRUN b\nFROM lib\nCOPY --from=build /x /\nCOPY --from=tools:1 /y /\nRUN --mount=from=lib,target=/l c\n"
	p := mustPlan(t, source, Options{Contexts: map[string]Named{"lib": {}, "tools:1": {Image: "docker.io/library/busybox:1"}}})
	if b := p.Target.Base; b.Named != "lib" || b.Image != "" || p.Target.Total != 4 {
		t.Errorf("FROM files: %+v, %d steps", b, p.Target.Total)
	}
	steps, _ := walkAll(t, p, nil)
	if c := steps[0].Copy; steps[0].Text != "FROM lib" || steps[0].Index() >= 0 || c.From.Named != "lib" || c.Dest != "/" {
		t.Errorf("the files: %+v", steps[0])
	}
	if got := steps[1].Vertex(); got != "[stage-2 2/4] COPY --from=build /x /" {
		t.Error(got)
	}
	if c := steps[2].Copy; c.From.Image != "docker.io/library/busybox:1" {
		t.Errorf("from an image: %+v", c)
	}
	if m := steps[3].Run.Mounts[0]; m.From.Named != "lib" || m.FromContext() {
		t.Errorf("mount: %+v", m)
	}

	// A stage's own name takes all of it, and what only it needs is not built.
	p = mustPlan(t, source, Options{Contexts: map[string]Named{"build": {}, "lib": {Image: "scratch"}}})
	if got := names(p.Stages); got != "build 2" || p.Stages[0].Base.Named != "build" || !p.Target.Base.Scratch {
		t.Errorf("replaced: %s, %+v, %+v", got, p.Stages[0].Base, p.Target.Base)
	}
	p = mustPlan(t, source, Options{Contexts: map[string]Named{"lib": {Stage: "BASE"}, "tools:1": {Stage: "1"}}})
	if got := names(p.Stages); got != "base build 2" || p.Target.Base.Stage != p.Stages[0] || len(p.Target.Needs) != 2 {
		t.Errorf("stages: %s, %+v, %s", got, p.Target.Base, names(p.Target.Needs))
	}

	// One of a platform goes before one of any, for that platform only.
	const platforms = "FROM --platform=linux/amd64 x AS one\nFROM x\nCOPY --from=one / /\n"
	contexts := map[string]Named{"x": {Image: "any:1"}, "x::linux/amd64": {Image: "amd:1"}, "x::linux/s390x": {Image: "not:1"}}
	if p = mustPlan(t, platforms, Options{Contexts: contexts}); p.Stages[0].Base.Image != "amd:1" || p.Target.Base.Image != "amd:1" {
		t.Errorf("platform: %+v, %+v", p.Stages[0].Base, p.Target.Base)
	}
	delete(contexts, "x::linux/amd64")
	if p = mustPlan(t, platforms, Options{Contexts: contexts}); p.Target.Base.Image != "any:1" {
		t.Errorf("any platform: %+v", p.Target.Base)
	}

	for stage, want := range map[string]string{"nowhere": "there is no stage nowhere", "2": "must come before", "7": "there is no stage 7"} {
		err := build(source, Options{Contexts: map[string]Named{"lib": {Stage: stage}}}, image.Runtime{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("target:%s: %v", stage, err)
		}
	}
}
