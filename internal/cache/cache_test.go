package cache

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// Keys differ whenever their parts do, however the strings are cut.
func TestKeysDiffer(t *testing.T) {
	key := func(kind Kind, parts ...string) *Key {
		k := &Key{Kind: kind}
		for i := 0; i < len(parts); i += 2 {
			k.Parts = append(k.Parts, Part{parts[i], parts[i+1]})
		}
		return k
	}
	seen := map[digest.Digest]int{}
	for i, k := range []*Key{
		key("RUN"), key("COPY"), key("RUN", "", ""), key("RUN", "arg", ""), key("RUN", "arg", "a"), key("RUN", "arg", "a", "arg", ""),
		key("RUN", "arg", "a", "arg", "b"), key("RUN", "arg", "b", "arg", "a"), key("RUN", "arg", "ab"), key("RUN", "arg", "a b"),
		key("RUN", "arga", ""), key("RUN", "arg", "a", "env", "b"), key("RUN", "env", "a", "arg", "b"), key("RUN", "arg", `a","n":"b`),
		key("RUN", "arg", "\x00"), key("RUN", "arg", "<"), key("RUN", "arg", `\u003c`), key("RUN", "arg", `\`),
	} {
		if before, ok := seen[k.Digest()]; ok {
			t.Errorf("keys %d and %d are the same", before, i)
		}
		seen[k.Digest()] = i
	}
	// Bytes that are not UTF-8 must not meet either: JSON would write all of them as U+FFFD.
	if key("RUN", "arg", "\xff").Digest() == key("RUN", "arg", "\xfe").Digest() {
		t.Error("two arguments that are not UTF-8 have one key")
	}
}

func TestStepCheck(t *testing.T) {
	k := &Key{Kind: KindRun}
	step := func(layer digest.Digest) Step { return NewStep(k, &Record{Layer: layer}) }
	for _, test := range []struct {
		name string
		step Step
		want string // "" for a step that can be trusted
	}{
		{"no layer", step(""), ""},
		{"a layer", step(digest.FromString("layer")), ""},
		{"no record", Step{Key: k.Digest()}, "it is empty"},
		{"another key", Step{Key: digest.FromString("x"), Record: step("").Record}, "its key is not that of its parts"},
		{"a layer of no digest", step("../../etc"), "is not the sha256 digest of a layer"},
	} {
		err := test.step.Check()
		if (err == nil) != (test.want == "") || err != nil && !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// A record of a key that is known is read as any other.
func TestDecodeOf(t *testing.T) {
	k := &Key{Kind: KindRun}
	k.Add(PartArg, "sh", `"]}`)
	k.Add(PartEnv, "A=<b>")
	records := []*Record{
		{Kind: k.Kind, Parts: k.Parts},
		{
			Kind: k.Kind, Parts: k.Parts, Layer: "sha256:a", Created: time.Unix(5, 6).UTC(), Took: 7, Instruction: "RUN <a>", Written: "RUN <<a\na",
			Selected: "dir:b", Origin: "somewhere", Checked: time.Unix(8, 9).UTC(), Fetches: Inferred, Reached: &Reached{}, Observed: &Observed{Weak: "sha256:c", Data: []byte("d")},
		},
	}
	for _, r := range records {
		data, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		want, err := Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeOf(k, data); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %+v\nwant %+v", err, got, want)
		}
		if _, err := DecodeOf(k, data[:len(data)-1]); err == nil {
			t.Errorf("%s is read without its end", data)
		}
	}
}
