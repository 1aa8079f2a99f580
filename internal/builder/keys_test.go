package builder_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/sandbox/runner"
)

// keyBed is a bed whose context is the same wherever it is made.
func keyBed(t *testing.T) *bed {
	b := newBareBed(t)
	b.write("f", "file")
	b.write("d/in", "in")
	for _, name := range []string{"f", "d/in", "d"} {
		check(t, os.Chtimes(filepath.Join(b.dir, name), time.Unix(1e9, 0), time.Unix(1e9, 0)))
	}
	return b
}

// stepKeys builds a Dockerfile and gives the beginnings of the keys of its steps; of those that
// fail too, such as a RUN on scratch.
func (b *bed) stepKeys(text string, options ...func(*builder.Request)) []string {
	b.t.Helper()
	b.write("Dockerfile", text)
	var keys []string
	for _, stage := range b.build(options...).built.Stages {
		for _, step := range stage.Steps {
			if step.Key != "" {
				keys = append(keys, step.Key.Encoded()[:16])
			}
		}
	}
	return keys
}

// machine asks for all that a RUN can tell of its machine.
func machine(o *builder.Request) {
	o.Target.Args = map[string]string{"BUILDKIT_SANDBOX_HOSTNAME": "h"}
	o.Sandbox.Machine = runner.Machine{Hosts: []runner.Host{{Name: "a", IP: "10.0.0.1"}, {Name: "b", IP: "10.0.0.2"}}, ShmSize: 1 << 20}
	o.Sandbox.Machine.Ulimits = []runner.Ulimit{{Name: "nofile", Soft: 10, Hard: 20}}
	o.Target.Allow = []dockerfile.Entitlement{"security.insecure", "network.host"}
}

// TestFixedKeys compares the keys of steps with those that strata has always made. Another key is
// another step: each cache that people have, on their machines and in registries, would be worth
// nothing. A RUN that is not here would have to run on a base image, whose layers are not the same
// on all machines.
func TestFixedKeys(t *testing.T) {
	const sum = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for _, test := range []struct {
		name    string
		text    string
		options []func(*builder.Request)
		want    []string
	}{
		{name: "run", text: "FROM scratch\nARG A=1\nENV E=2\nUSER me\nRUN make $A\n", want: []string{"b92b252e1cd15626"}},
		{name: "exec form", text: "FROM scratch\nRUN [\"a\", \"b c\"]\n", want: []string{"ade15ae49f11eb8c"}},
		{name: "run network", text: "FROM scratch\nRUN --network=host make\n", options: []func(*builder.Request){machine}, want: []string{"6e811ceda123bdd0"}},
		{name: "run security", text: "# syntax=docker/dockerfile:1-labs\nFROM scratch\nRUN --security=insecure make\n", options: []func(*builder.Request){machine}, want: []string{"2f9fb5334ec5472b"}},
		{name: "here-document", text: "FROM scratch\nRUN <<E\n#!/usr/bin/perl\nprint\nE\n", want: []string{"7af5db61a80cb6de"}},
		{name: "mounts", text: "FROM scratch\nRUN --mount=target=/c,source=d --mount=type=tmpfs,target=/t,size=10m --mount=type=cache,target=/k,mode=700,uid=1,gid=2 make\n", want: []string{"e25bad9845a51171"}},
		{name: "mount of a stage", text: "FROM scratch AS a\nCOPY f /f\nFROM scratch\nRUN --mount=from=a,target=/m,rw make\n", want: []string{"58e633309f7e60c8", "21fb2d86bdf4ad3f"}},
		{name: "secrets", text: "FROM scratch\nRUN --mount=type=secret,id=s,env=V,target=/s,mode=444,uid=1 --mount=type=ssh make\n", want: []string{"e3c8e925e4fe507d"}},
		{name: "workdir", text: "FROM scratch\nWORKDIR /w\n", want: []string{"a91cbab4fb7b356e"}},
		{name: "copy", text: "FROM scratch\nCOPY f d /x/\n", want: []string{"b4748b2e70e93142"}},
		{name: "copy onto", text: "FROM scratch\nCOPY f /f\nCOPY --chown=1:2 --chmod=600 d /d/\n", want: []string{"58e633309f7e60c8", "87307cd55f4601f6"}},
		{name: "copy flags", text: "FROM scratch\nCOPY --link --parents --exclude=*.o d/in /x/\n", want: []string{"9f2b7412c22e15e7"}},
		{name: "copy from", text: "FROM scratch AS a\nCOPY f /f\nFROM scratch\nCOPY --from=a /f /g\n", want: []string{"58e633309f7e60c8", "800ec61e511a53d0"}},
		{name: "copy here-document", text: "FROM scratch\nCOPY <<E /e\ntext\nE\n", want: []string{"510165ccb9852fc3"}},
		{name: "add", text: "FROM scratch\nADD f /f\n", want: []string{"3e7c1a85acd1a7b2"}},
		{name: "add unpack", text: "FROM scratch\nADD --unpack=false f /f\n", want: []string{"827610eed549edb5"}},
		{name: "add url", text: "FROM scratch\nADD --checksum=" + sum + " --unpack=true http://127.0.0.1:1/u /u\n", want: []string{"f405970145d20c8b"}},
		{name: "add git", text: "FROM scratch\nADD --exclude=x http://127.0.0.1:1/r.git#" + commit + ":sub /g\n", want: []string{"02aef132f4637320"}},
		{name: "add git dir", text: "FROM scratch\nADD --keep-git-dir f http://127.0.0.1:1/r.git#" + commit + " /g/\n", want: []string{"403b167b82c7120e"}},
		{name: "add git query", text: "FROM scratch\nADD http://127.0.0.1:1/r.git?ref=" + commit + "&submodules=false&mtime=commit /g\n", want: []string{"737d82601f802cdc"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, keyBed(t).stepKeys(test.text, test.options...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestFixedSelections does the same with the keys of what a COPY --from and a mount select, and
// with that of FROM scratch, which are in no build's list.
func TestFixedSelections(t *testing.T) {
	b := keyBed(t)
	b.stepKeys("FROM scratch AS a\nCOPY f /f\nFROM scratch\nCOPY --from=a --parents --exclude=*.o /f /g/\nRUN --mount=from=a,source=f,target=/m make\n")
	rows, err := b.store.RecordsOf("")
	check(t, err)
	var keys []string
	for _, row := range rows {
		keys = append(keys, row.Key.Encoded()[:16])
	}
	slices.Sort(keys)
	if diff := cmp.Diff([]string{"3e5272599d4281e5", "53708ed55cb6d9da", "cf2e3b687124baf3"}, keys); diff != "" {
		t.Error(diff)
	}
}

// TestFixedClassicKeys does the same with the keys by which images of the classic engine are known to all machines.
func TestFixedClassicKeys(t *testing.T) {
	b := keyBed(t)
	b.write("Dockerfile", "FROM scratch\nCOPY --chown=1 f /f\nADD f /g\nVOLUME /v\nWORKDIR /w\nCMD [\"x\"]\n")
	r := b.build(classic)
	check(t, r.err)
	var keys []string
	for _, row := range b.config(r.id).Cached {
		keys = append(keys, row.Key.Encoded()[:16])
	}
	if got := strings.Join(keys, " "); got != "790f569bb4c1af0c e5c61f935170a76a 52827878b46c0a10" {
		t.Error(got)
	}
}
