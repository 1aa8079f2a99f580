package transfer

import (
	"regexp"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"
)

// TestReferences: names as people write them, what they mean, and what is said of those that mean nothing.
func TestReferences(t *testing.T) {
	hex := strings.Repeat("ab", 32)
	for written, want := range map[string]string{
		"ubuntu":                           "docker.io/library/ubuntu ubuntu ubuntu:latest",
		"ubuntu:22.04":                     "docker.io/library/ubuntu:22.04 ubuntu:22.04 ubuntu:22.04",
		"index.docker.io/me/app":           "docker.io/me/app me/app me/app:latest",
		"docker.io/library/a/b":            "docker.io/library/a/b library/a/b library/a/b:latest",
		"localhost/a":                      "localhost/a localhost/a localhost/a:latest",
		"Host/a":                           "Host/a Host/a Host/a:latest",
		"[::1]:5000/a__b/c--d.e:x":         "[::1]:5000/a__b/c--d.e:x [::1]:5000/a__b/c--d.e:x [::1]:5000/a__b/c--d.e:x",
		"example.com:80/a@sha256:" + hex:   "example.com:80/a@sha256:" + hex + " example.com:80/a@sha256:" + hex + " example.com:80/a@sha256:" + hex,
		"a:b@sha256:" + hex:                "docker.io/library/a:b@sha256:" + hex + " a:b@sha256:" + hex + " a@sha256:" + hex,
		hex:                                "invalid repository name (" + hex + "), cannot specify 64-byte hexadecimal strings",
		"":                                 "invalid reference format",
		"Ubuntu":                           "invalid reference format: repository name (library/Ubuntu) must be lowercase",
		"a..b":                             "invalid reference format",
		"a/-b":                             "invalid reference format",
		"a:-b":                             "invalid reference format",
		"a:" + strings.Repeat("b", 129):    "invalid reference format",
		"a@sha256:" + hex[:40]:             "invalid checksum digest length",
		"a@sha256:" + strings.ToUpper(hex): "invalid checksum digest format",
		"a@x:" + hex:                       "unsupported digest algorithm",
		"a.b/" + strings.Repeat("c", 256):  "repository name must not be more than 255 characters",
		"host.:80/a":                       "invalid reference format",
		"a\n":                              "invalid reference format",
	} {
		got := ""
		if ref, err := reference.ParseNormalizedNamed(written); err != nil {
			got = err.Error()
		} else {
			pulled, err := reference.ParseDockerRef(written)
			if err != nil {
				t.Fatal(err)
			}
			got = ref.String() + " " + reference.FamiliarString(ref) + " " + reference.FamiliarString(pulled)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", written, diff)
		}
	}
}

// grammar is that of references, as distribution's documentation has it (pkg.go.dev/github.com/distribution/reference).
var grammar = func() *regexp.Regexp {
	const (
		label     = `(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])`
		host      = `(?:` + label + `(?:\.` + label + `)*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?`
		component = `[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*`
	)
	return regexp.MustCompile(`^((?:` + host + `/)?` + component + `(?:/` + component + `)*)(?::([A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?` +
		`(?:@([A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?$`)
}()

// FuzzReference reads what somebody wrote as a reference, and compares with the grammar.
func FuzzReference(f *testing.F) {
	for _, s := range []string{"", "a", "a/b:c", "[::1]:1/a@sha256:" + strings.Repeat("0", 64), "A.b/c", "a__b.c--d", "a:1/b", "a@x+y.z:" + strings.Repeat("0", 32)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := reference.Parse(s)
		m := grammar.FindStringSubmatch(s)
		if m == nil {
			if err == nil {
				t.Fatalf("%q is %v", s, ref)
			}
			return
		}
		if err != nil {
			if m[3] == "" && len(m[1]) <= reference.RepositoryNameTotalLengthMax {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		named := ref.(reference.Named)
		tag, digest := "", ""
		if x, ok := ref.(reference.Tagged); ok {
			tag = x.Tag()
		}
		if x, ok := ref.(reference.Digested); ok {
			digest = x.Digest().String()
		}
		if got := []string{ref.String(), named.Name(), tag, digest}; !cmp.Equal(got, m) {
			t.Fatalf("%q, want %q", got, m)
		}
		if again, err := reference.Parse(ref.String()); err != nil || again != ref {
			t.Fatalf("%v, %v", again, err)
		}
	})
}
