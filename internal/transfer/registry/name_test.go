package registry

import (
	"strings"
	"testing"
)

func TestParseName(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	for in, want := range map[string]string{
		"debian":                         "docker.io/library/debian",
		"me/app:test":                    "docker.io/me/app:test",
		"localhost/a":                    "localhost/a",
		"localhost:5000/me/app:3.0.0":    "localhost:5000/me/app:3.0.0",
		"[::1]:5000/a:B":                 "[::1]:5000/a:B",
		"ghcr.io/x/y@sha256:" + hex:      "ghcr.io/x/y@sha256:" + hex,
		"debian:12@sha256:" + hex:        "docker.io/library/debian:12@sha256:" + hex,
		"index.docker.io/library/debian": "docker.io/library/debian",
	} {
		got, err := ParseName(in)
		if err != nil || got.String() != want {
			t.Errorf("%s: %v, %v, want %s", in, got, err, want)
		}
	}
	for in, says := range map[string]string{
		"":                              "name is empty",
		"MyApp":                         "repository name must be lowercase",
		"reg.test/me/App:1":             "repository name must be lowercase",
		"me/app:":                       `the tag after the colon, "",`,
		"me/app:a b":                    "white space",
		"me/app:.x":                     "the tag after the colon",
		"me/app:a/b":                    `the tag after the colon, "a/b",`,
		"a:b:c":                         `the tag after the colon, "b:c",`,
		"app:feature/login":             `the tag after the colon, "feature/login",`,
		"reg.test:5000/app:1:2":         `the tag after the colon, "1:2",`,
		"reg.test:5000/App:1":           "repository name must be lowercase",
		"[::1]:5000/a:b:c":              `the tag after the colon, "b:c",`,
		":b":                            "lower case letters and digits",
		"https://reg.test/a":            "leave out the scheme",
		hex:                             "are an image ID",
		"a@sha256:12":                   "64 lower case hexadecimal digits",
		"a@latest":                      "there must be a digest",
		"a//b":                          "lower case letters and digits",
		"-a":                            "lower case letters and digits",
		strings.Repeat("a/", 200) + "b": "at most 255",
	} {
		_, err := ParseName(in)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error %v, want one with %q", in, err, says)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"debian", "me/app:test", "localhost:5000/a@sha256:12", "A", "[::1]/x", "a:b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		named, err := ParseName(s)
		if err != nil {
			return
		}
		again, err := ParseName(named.String())
		if err != nil || again.String() != named.String() {
			t.Errorf("%q: %q is read as %v, %v", s, named, again, err)
		}
	})
}
