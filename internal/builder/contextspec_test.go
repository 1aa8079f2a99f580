package builder_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder"
)

func TestParseContextSpec(t *testing.T) {
	const d = digest.Digest("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
	for text, want := range map[string]builder.ContextSpec{
		"a=dir":                              {Name: "a", Dir: "dir"},
		"a=../x=y":                           {Name: "a", Dir: "../x=y"},
		"docker.io/library/a:latest=.":       {Name: "a", Dir: "."},
		"a:1=.":                              {Name: "a:1", Dir: "."},
		"a::linux/x86_64=.":                  {Name: "a::linux/amd64", Dir: "."},
		"a=docker-image://b":                 {Name: "a", Image: "docker.io/library/b:latest"},
		"a=docker-image://b@" + string(d):    {Name: "a", Image: "docker.io/library/b@" + string(d)},
		"a=docker-image://scratch":           {Name: "a", Image: "scratch"},
		"a=target:b":                         {Name: "a", Stage: "b"},
		"a=oci-layout://x":                   {Name: "a", Layout: &builder.LayoutSpec{Dir: "x", Tag: "latest"}},
		"a=oci-layout:///x/y:1":              {Name: "a", Layout: &builder.LayoutSpec{Dir: "/x/y", Tag: "1"}},
		"a=oci-layout://x:1@" + string(d):    {Name: "a", Layout: &builder.LayoutSpec{Dir: "x", Tag: "1", Digest: d}},
		"a=oci-layout://../x@" + string(d):   {Name: "a", Layout: &builder.LayoutSpec{Dir: "../x", Digest: d}},
		"reg.example:5000/a:latest=docker:x": {Name: "reg.example:5000/a", Dir: "docker:x"},
	} {
		got, err := builder.ParseContextSpec(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	for text, want := range map[string]string{
		"a":                           "NAME=DIRECTORY",
		"=b":                          "NAME=DIRECTORY",
		"a=":                          "NAME=DIRECTORY",
		"A=b":                         "lowercase",
		"a::linux/x/y/z=b":            "a platform is written",
		"scratch=b":                   `the name "scratch" is taken`,
		"context=b":                   `the name "context" is taken`,
		"a=-":                         "standard input",
		"a=target:":                   "takes the name of a stage",
		"a=docker-image://":           "image's name",
		"a=oci-layout://":             "directory is missing",
		"a=oci-layout://x:":           "tag after the colon",
		"a=oci-layout://x@sha256:..":  `the digest "sha256:.."`,
		"a=ftp://x":                   "ftp:// is no kind of context",
		"a=http://":                   "names no host",
		"a=https://x/y.git?unknown=1": "unknown query",
	} {
		if _, err := builder.ParseContextSpec(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// FuzzParseContextSpec reads any text as a --build-context: what is taken has a name that means itself, and exactly
// one value.
func FuzzParseContextSpec(f *testing.F) {
	for _, s := range []string{
		"a=b", "a::linux/arm/v7=docker-image://b@sha256:12", "x/y:1=oci-layout://d:t@sha256:", "a=target:b", "a=git@h:p.git#r:s", "::=", "a=https://[::1]:x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := builder.ParseContextSpec(text)
		if err != nil {
			return
		}
		n := 0
		for _, set := range []bool{s.Dir != "", s.Image != "", s.Layout != nil, s.Stage != "", s.Remote != nil} {
			if set {
				n++
			}
		}
		again, err := builder.ParseContextSpec(s.Name + "=x")
		if n != 1 || err != nil || again.Name != s.Name {
			t.Errorf("%q: %+v, again %+v, %v", text, s, again, err)
		}
	})
}
