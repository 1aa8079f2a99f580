package explain

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/cache"
)

// runKey is the key of a RUN with some parts changed: "name", "value" pairs, where a value may be given twice.
func runKey(changes ...string) *cache.Key {
	parts := map[string][]string{
		"arg": {"/bin/sh", "-c", "make"}, "env": {"A=1", "PATH=/bin"}, "user": {""}, "dir": {"/"}, "network": {"host"},
		"platform": {"linux/amd64"}, "chain": {"sha256:aa"},
	}
	for i := 0; i < len(changes); i += 2 {
		parts[changes[i]] = nil
	}
	for i := 0; i < len(changes); i += 2 {
		parts[changes[i]] = append(parts[changes[i]], changes[i+1])
	}
	k := &cache.Key{Kind: "RUN"}
	for _, name := range []string{"arg", "env", "user", "dir", "network", "platform", "chain", "other"} {
		k.Add(name, parts[name]...)
	}
	return k
}

func copyKey(dest, chown, content string) *cache.Key {
	k := &cache.Key{Kind: "COPY"}
	k.Add("dest", dest, "false")
	k.Add("chown", chown)
	k.Add("chmod", "")
	k.Add("content", content)
	k.Add("chain", "sha256:aa")
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
		{name: "text", before: runKey("arg", "make all"), now: runKey(), textBefore: "RUN make all", want: []string{"instruction: the instruction was: RUN make all"}, wantBefore: "RUN make all"},
		{name: "user", before: runKey("user", "me"), now: runKey(), want: []string{"setting: user: me → root"}, wantBefore: "me"},
		{name: "directory", before: runKey("dir", ""), now: runKey("dir", "/app"), want: []string{"setting: working directory: / → /app"}},
		{name: "network", before: runKey("network", "none"), now: runKey(), want: []string{"setting: network: none → host"}},
		{name: "platform", before: runKey("platform", "linux/arm64"), now: runKey(), want: []string{"setting: platform: linux/arm64 → linux/amd64"}},
		{name: "shell", before: runKey("arg", "sh", "arg", "-c", "arg", "make"), now: runKey(), want: []string{"setting: shell: sh -c make → /bin/sh -c make"}},
		{name: "a part that nobody knows", before: runKey("other", "a"), now: runKey("other", "b"), want: []string{"setting: other: a → b"}},
		{name: "variables", before: runKey("env", "A=1", "env", "B=2"), now: runKey("env", "A=2", "env", "C="), want: []string{
			`build-arg: build argument A: "1" → "2"`, `variable: environment variable B is gone, it was "2"`, `variable: environment variable C is new: ""`,
		}, buildArgs: []string{"A=2"}, wantBefore: "1"},
		{name: "secret variables", before: runKey("env", "MY_KEY=1", "env", "URL=http://me:pw@host"), now: runKey("env", "MY_KEY=2", "env", "URL=http://me:p@host"), want: []string{
			"variable: environment variable MY_KEY: (hidden) → (hidden)", `variable: environment variable URL: "http://me:(hidden)@host" → "http://me:(hidden)@host"`,
		}, wantBefore: hidden},
		{name: "layers of an unknown build", before: runKey("chain", "sha256:bb"), now: runKey(), want: []string{"other-layers: it ran here before, but on top of something else"}},
		{name: "files", before: copyKey("/a", "", "1"), now: copyKey("/a", "", "2"), textBefore: "COPY x /a", textNow: "COPY x /a", want: []string{"files: the files that it copies changed"}},
		{name: "other sources", before: copyKey("/a", "", "1"), now: copyKey("/a", "", "2"), textBefore: "COPY y /a", textNow: "COPY x /a", want: []string{"instruction: the instruction was: COPY y /a"}},
		{name: "other owner and files", before: copyKey("/a", "1", "1"), now: copyKey("/a", "", "2"), textBefore: "COPY --chown=1 x /a", textNow: "COPY x /a",
			want: []string{"instruction: the instruction was: COPY --chown=1 x /a", "files: the files that it copies changed"}},
		{name: "expanded destination and owner", before: copyKey("/a", "1", "1"), now: copyKey("/b", "2", "1"), textBefore: "COPY x $D", textNow: "COPY x $D",
			want: []string{"setting: --chown: 1 → 2", "setting: destination: /a → /b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := func(s string) string { return orElse(s, "RUN make") }
			e := NewExplainer(nil, &Build{Engine: "graph"})
			m := &Miss{Key: test.now, Instruction: text(test.textNow), BuildArgs: test.buildArgs}
			reasons := e.compare(m, &cache.Record{Parts: test.before.Parts, Instruction: text(test.textBefore)}, nil)
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
