package explain

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/human/redact"
)

// change gives a part of a key other values.
type change struct {
	part   cache.PartName
	values []string
}

func with(part cache.PartName, values ...string) change { return change{part, values} }

// runKey is the key of a RUN with some parts changed.
func runKey(changes ...change) *cache.Key {
	parts := []change{
		with(cache.PartArg, "/bin/sh", "-c", "make"), with(cache.PartEnv, "A=1", "PATH=/bin"), with(cache.PartUser, ""), with(cache.PartDir, "/"),
		with(cache.PartNetwork, "host"), with(cache.PartPlatform, "linux/amd64"), with(cache.PartChain, "sha256:aa"),
	}
	k := &cache.Key{Kind: cache.KindRun}
	for _, p := range parts {
		for _, c := range changes {
			if c.part == p.part {
				p = c
			}
		}
		k.Add(p.part, p.values...)
	}
	return k
}

// unknown is the key of a RUN with a part that this version of strata does not have.
func unknown(value string) *cache.Key {
	k := runKey()
	k.Parts = append(k.Parts, cache.Part{Name: "other", Value: value})
	return k
}

func copyKey(dest, chown, content string) *cache.Key {
	k := &cache.Key{Kind: cache.KindCopy}
	k.Add(cache.PartDest, dest, "false")
	k.Add(cache.PartChown, chown)
	k.Add(cache.PartChmod, "")
	k.Add(cache.PartContent, content)
	k.Add(cache.PartChain, "sha256:aa")
	return k
}

func TestCompare(t *testing.T) {
	for _, test := range []struct {
		name        string
		before, now *cache.Key
		textBefore  string // "RUN make" where it is empty
		textNow     string
		buildArgs   []string
		want        []string // kind and text
		wantBefore  string   // of the first reason
	}{
		{name: "nothing", before: runKey(), now: runKey()},
		{name: "text", before: runKey(with(cache.PartArg, "make all")), now: runKey(), textBefore: "RUN make all", want: []string{"instruction: the instruction was: RUN make all"}, wantBefore: "RUN make all"},
		{name: "user", before: runKey(with(cache.PartUser, "me")), now: runKey(), want: []string{"setting: user: me → root"}, wantBefore: "me"},
		{name: "directory", before: runKey(with(cache.PartDir, "")), now: runKey(with(cache.PartDir, "/app")), want: []string{"setting: working directory: / → /app"}},
		{name: "network", before: runKey(with(cache.PartNetwork, "none")), now: runKey(), want: []string{"setting: network: none → host"}},
		{name: "platform", before: runKey(with(cache.PartPlatform, "linux/arm64")), now: runKey(), want: []string{"setting: platform: linux/arm64 → linux/amd64"}},
		{name: "shell", before: runKey(with(cache.PartArg, "sh", "-c", "make")), now: runKey(), want: []string{"setting: shell: sh -c make → /bin/sh -c make"}},
		{name: "a part that nobody knows", before: unknown("a"), now: unknown("b"), want: []string{"setting: other: a → b"}},
		{name: "variables", before: runKey(with(cache.PartEnv, "A=1", "B=2")), now: runKey(with(cache.PartEnv, "A=2", "C=")), want: []string{
			`build-arg: build argument A: "1" → "2"`, `variable: environment variable B is gone, it was "2"`, `variable: environment variable C is new: ""`,
		}, buildArgs: []string{"A=2"}, wantBefore: "1"},
		{name: "secret variables", before: runKey(with(cache.PartEnv, "MY_KEY=1", "URL=http://me:pw@host")), now: runKey(with(cache.PartEnv, "MY_KEY=2", "URL=http://me:p@host")), want: []string{
			"variable: environment variable MY_KEY: (hidden) → (hidden)", `variable: environment variable URL: "http://me:(hidden)@host" → "http://me:(hidden)@host"`,
		}, wantBefore: redact.Hidden},
		{name: "layers of an unknown build", before: runKey(with(cache.PartChain, "sha256:bb")), now: runKey(), want: []string{"other-layers: it ran here before, but on top of something else"}},
		{name: "files", before: copyKey("/a", "", "1"), now: copyKey("/a", "", "2"), textBefore: "COPY x /a", textNow: "COPY x /a", want: []string{"files: the files that it copies changed"}},
		{name: "other sources", before: copyKey("/a", "", "1"), now: copyKey("/a", "", "2"), textBefore: "COPY y /a", textNow: "COPY x /a", want: []string{"instruction: the instruction was: COPY y /a"}},
		{name: "other owner and files", before: copyKey("/a", "1", "1"), now: copyKey("/a", "", "2"), textBefore: "COPY --chown=1 x /a", textNow: "COPY x /a",
			want: []string{"instruction: the instruction was: COPY --chown=1 x /a", "files: the files that it copies changed"}},
		{name: "expanded destination and owner", before: copyKey("/a", "1", "1"), now: copyKey("/b", "2", "1"), textBefore: "COPY x $D", textNow: "COPY x $D",
			want: []string{"setting: --chown: 1 → 2", "setting: destination: /a → /b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := func(s string) string {
				if s == "" {
					return "RUN make"
				}
				return s
			}
			e := &Explainer{build: &Build{Engine: "graph"}, history: &history{}}
			m := &Miss{Key: test.now, Instruction: text(test.textNow), BuildArgs: test.buildArgs}
			reasons := e.compare(t.Context(), m, &cache.Record{Parts: test.before.Parts, Instruction: text(test.textBefore)}, nil)
			var got []string
			for _, r := range reasons {
				got = append(got, string(r.Kind)+": "+r.Text)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if test.wantBefore != "" && reasons[0].Before != test.wantBefore {
				t.Errorf("before %q", reasons[0].Before)
			}
		})
	}
}
