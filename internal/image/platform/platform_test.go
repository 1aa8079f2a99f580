package platform

import (
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var amd64 = ocispec.Platform{OS: "linux", Architecture: "amd64"}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"arm64": "linux/arm64", "linux/aarch64": "linux/arm64", "linux/arm64/v8": "linux/arm64", "linux/armhf": "linux/arm/v7",
		"linux": "linux/amd64", "linux/arm/7": "linux/arm/v7", "Linux/AMD64/v1": "linux/amd64", "linux/amd64/v3": "linux/amd64/v3",
		"windows": "windows/amd64", "local": "linux/amd64", "linux/i686": "linux/386", "linux/arm64/8": "linux/arm64",
	} {
		if p, err := Parse(text, amd64); err != nil || Format(p) != want {
			t.Errorf("%s: %s, %v; want %s", text, Format(p), err, want)
		}
	}
	for _, text := range []string{"", "linux/", "/amd64", "a/b/c/d", "linux/am d64", "linux/arm\x00"} {
		if p, err := Parse(text, amd64); err == nil {
			t.Errorf("%q: %s, want an error", text, Format(p))
		}
	}
}

func TestParseList(t *testing.T) {
	all, err := ParseList([]string{"linux/arm64, linux/amd64", "local", "linux/arm/v6"}, amd64)
	if got := FormatAll(all); err != nil || got != "linux/arm64, linux/amd64, linux/arm/v6" {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := ParseList([]string{"linux/arm64,"}, amd64); err == nil {
		t.Error("no error for nothing behind the comma")
	}
}

func TestSuits(t *testing.T) {
	for _, test := range []struct {
		have, want string
		suits      bool
	}{
		{"linux/amd64", "linux/amd64", true},
		{"linux/amd64", "linux/amd64/v3", true},
		{"linux/amd64/v3", "linux/amd64", false},
		{"linux/arm/v6", "linux/arm/v7", true},
		{"linux/arm/v7", "linux/arm/v6", false},
		{"linux/arm64/v8", "linux/arm64", true},
		{"linux/arm/v7", "linux/arm64", true},
		{"linux/arm64", "linux/arm/v7", false},
		{"linux/386", "linux/amd64", true},
		{"linux/amd64", "linux/386", false},
		{"windows/amd64", "linux/amd64", false},
	} {
		have, err := Parse(test.have, amd64)
		want, err2 := Parse(test.want, amd64)
		if got := Suits(have, want); got != test.suits || err != nil || err2 != nil {
			t.Errorf("%s on %s: %v", test.have, test.want, got)
		}
	}
	if !Suits(ocispec.Platform{}, amd64) {
		t.Error("an image that says nothing of its platform does not suit")
	}
}

// What an index has is taken in containerd's order.
func TestRank(t *testing.T) {
	for want, order := range map[string][]string{
		"linux/amd64":    {"linux/amd64", "linux/386"},
		"linux/amd64/v3": {"linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"},
		"linux/arm64":    {"linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"},
		"linux/arm64/v9": {"linux/arm64/v9", "linux/arm64", "linux/arm/v8"},
		"linux/arm/v7":   {"linux/arm/v7", "linux/arm/v6", "linux/arm/v5"},
	} {
		w, err := Parse(want, amd64)
		if err != nil {
			t.Fatal(err)
		}
		last := 1000
		for _, text := range order {
			have, err := Parse(text, amd64)
			if err != nil {
				t.Fatal(err)
			}
			rank := Rank(have, w)
			if rank < 0 || rank >= last {
				t.Errorf("on %s, %s has the rank %d, that before it %d", want, text, rank, last)
			}
			last = rank
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"linux/arm/v7", "local", "aarch64", "linux/arm64/v8.1", "//", "windows", "linux/amd64/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text, amd64)
		if err != nil {
			return
		}
		again, err := Parse(Format(p), amd64)
		if err != nil || !Same(p, again) {
			t.Errorf("%q: %s became %s, %v", text, Format(p), Format(again), err)
		}
	})
}
