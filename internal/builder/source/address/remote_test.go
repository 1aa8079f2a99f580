package address

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The forms are those of BuildKit v0.32.1: frontend/dockerfile/dfgitutil/git_ref_test.go and
// util/gitutil/git_url_test.go say what each is.
func TestParse(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for text, want := range map[string]string{
		"":                                                 "",
		"file":                                             "",
		"./https://x/y.git":                                "",
		"../git@host:x":                                    "",
		"dir/git@host":                                     "",
		"/home/x/y.git":                                    "",
		"C:\\x\\y.git":                                     "",
		"github.com/x/y":                                   "",
		"ftp://h/x.git":                                    "",
		"file:///x.git":                                    "",
		"docker-image://alpine":                            "",
		"http:/x/y.git":                                    "",
		"https://h/f.tar.gz":                               "url https://h/f.tar.gz",
		"http://h":                                         "url http://h",
		"https://h/x.git/archive.tgz":                      "url https://h/x.git/archive.tgz",
		"https://h/x?f=y.git":                              "url https://h/x?f=y.git",
		"https://h/x/y#z.git":                              "url https://h/x/y#z.git",
		"https://h/x/y.git":                                "git https://h/x/y.git",
		"http://h:8080/y.git":                              "git http://h:8080/y.git",
		"https://me:word@h/y.git":                          "git https://me:xxxxx@h/y.git",
		"https://h/y.git#main":                             "git https://h/y.git ref=main",
		"https://h/y.git#main:a/b":                         "git https://h/y.git ref=main dir=a/b",
		"https://h/y.git#:a/b":                             "git https://h/y.git dir=a/b",
		"https://h/y.git#v1.0:/a/../b/":                    "git https://h/y.git ref=v1.0 dir=b",
		"https://h/y.git#:../../x":                         "git https://h/y.git dir=x",
		"https://h/y.git#" + commit:                        "git https://h/y.git ref=" + commit,
		"https://h/y.git#baz/qux:quux/quuz":                "git https://h/y.git ref=baz/qux dir=quux/quuz",
		"https://h/y.git?ref=a&subdir=/b":                  "git https://h/y.git ref=a dir=b",
		"https://h/y.git?tag=v1":                           "git https://h/y.git ref=refs/tags/v1",
		"https://h/y.git?tag=refs/tags/v1":                 "git https://h/y.git ref=refs/tags/v1",
		"https://h/y.git?branch=b":                         "git https://h/y.git ref=refs/heads/b",
		"https://h/y.git?ref=a#a:d":                        "git https://h/y.git ref=a dir=d",
		"https://h/y.git?checksum=abc":                     "git https://h/y.git sum=abc",
		"https://h/y.git?tag=v&commit=abc":                 "git https://h/y.git ref=refs/tags/v sum=abc",
		"https://h/y.git?keep-git-dir":                     "git https://h/y.git keep=true",
		"https://h/y.git?keep-git-dir=0":                   "git https://h/y.git keep=false",
		"https://h/y.git?submodules=false":                 "git https://h/y.git submodules=false",
		"https://h/y.git?mtime=commit":                     "git https://h/y.git mtime",
		"https://h/y.git?mtime=checkout":                   "git https://h/y.git",
		"git://h/y":                                        "git git://h/y",
		"ssh://git@h:22/y.git#b":                           "git ssh://git@h:22/y.git ref=b",
		"git@github.com:x/y.git":                           "git git@github.com:x/y.git",
		"git@github.com:x/y#b:d":                           "git git@github.com:x/y ref=b dir=d",
		"me@h.example:~/y?branch=b":                        "git me@h.example:~/y ref=refs/heads/b",
		"https://h/y.git?fetch-by-commit&commit=" + commit: "git https://h/y.git sum=" + commit + " by-commit",

		"https://h/y.git?what=1":           "error unknown query",
		"https://h/y.git?ref=a&ref=b":      "error given twice",
		"https://h/y.git?ref=":             "error has no value",
		"https://h/y.git?ref=a#b":          "error contradicts",
		"https://h/y.git?subdir=a#:b":      "error contradicts",
		"https://h/y.git?tag=a&branch=b":   "error a tag and a branch",
		"https://h/y.git?tag=a#b":          "error contradicts",
		"https://h/y.git?submodules=maybe": "error true or false",
		"https://h/y.git?mtime=now":        "error checkout or commit",
		"https://h/y.git?fetch-by-commit":  "error whole commit",
		"https://h/y.git?commit=xyz":       "error hexadecimal",
		"https://h/y.git#-b":               "error invalid git ref",
		"https://h/y.git#a%0ab":            "error invalid git ref",
		"https://h/y.git#a..b":             "error invalid git ref",
		"https://h/y.git#b^{tree}":         "error invalid git ref",
		"https:///y.git":                   "error names no host",
		"ssh://-oProxyCommand=x/y":         "error begins with a dash",
		"ssh://-a@h/y":                     "error begins with a dash",
		"-a@h:y":                           "error begins with a dash",
		"git@h:-y":                         "error begins with a dash",
		"http://%zz/":                      "error not a URL",
		"http:///x":                        "error names no host",
	} {
		if got := show(Parse(text)); got != want && !(strings.HasPrefix(want, "error ") && strings.HasPrefix(got, "error ") && strings.Contains(got, want[6:])) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func show(s *Source, err error) string {
	switch {
	case err != nil:
		return "error " + err.Error()
	case s == nil:
		return ""
	case s.Git == nil:
		return "url " + s.URL
	}
	r := s.Git
	text := "git " + Redact(r.Remote)
	for _, part := range []struct{ name, value string }{{"ref", r.Ref}, {"dir", r.Subdir}, {"sum", r.Checksum}} {
		if part.value != "" {
			text += " " + part.name + "=" + part.value
		}
	}
	for name, value := range map[string]*bool{"keep": r.KeepGitDir, "submodules": r.Submodules} {
		if value != nil && *value {
			text += " " + name + "=true"
		} else if value != nil {
			text += " " + name + "=false"
		}
	}
	if r.CommitTime {
		text += " mtime"
	}
	if r.ByCommit {
		text += " by-commit"
	}
	return text
}

// Only a context may be written as github.com/…, and a directory of that name is meant before.
func TestParseContext(t *testing.T) {
	t.Chdir(t.TempDir())
	for range 2 {
		s, err := ParseContext("github.com/x/y#b:d")
		if err != nil || show(s, nil) != "git https://github.com/x/y ref=b dir=d" {
			t.Errorf("%v, %v", show(s, err), err)
		}
		if s, err := ParseContext("."); s != nil || err != nil {
			t.Errorf("a directory: %v, %v", s, err)
		}
		if err := os.MkdirAll(filepath.Join("github.com", "x", "y"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := ParseContext("github.com/x/y"); s != nil || err != nil {
		t.Errorf("a directory that is there: %v, %v", s, err)
	}
}

func TestNames(t *testing.T) {
	for url, want := range map[string]string{
		"http://h/a/b.c": "b.c", "http://h/a/b/": "b", "http://h": "__unnamed__", "http://h/": "__unnamed__", "http://h/a?b=/c": "a",
		"http://h/a%20b": "a b", "http://h/a%2fb": "b", "http://h/a/..": "download", "http://h/a%00b": "download", "http://h/%0a": "download",
	} {
		if got := FileName(url); got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
	for header, want := range map[string]string{
		"": "", "inline": "", `attachment; filename="a.txt"`: "a.txt", `attachment; filename="../../etc/passwd"`: "passwd",
		"attachment; filename*=UTF-8''%e2%82%ac.txt": "€.txt", `attachment; filename="a/"`: "", `attachment; filename=".."`: "download",
		`attachment; filename="a` + "\x00" + `b"`: "download", "attachment; filename": "",
	} {
		if got := DispositionName(header); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"https://h/y.git?ref=a&subdir=/b", "git@h:x#b:../d", "http://u:p@h/f", "ssh://git@h:22/y.git?keep-git-dir=1", "github.com/x/y#r:d",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func(string) (*Source, error){Parse, ParseContext} {
			s, err := parse(text)
			if err != nil || s == nil {
				continue
			}
			if s.Git == nil {
				if strings.ContainsRune(FileName(s.URL), '/') {
					t.Errorf("%q: the file's name is %q", text, FileName(s.URL))
				}
				continue
			}
			r := s.Git
			for _, argument := range []string{r.Remote, r.Ref, r.Checksum, r.Subdir} {
				if strings.ContainsAny(argument, "\x00\n") {
					t.Errorf("%q: %q", text, argument)
				}
			}
			if strings.HasPrefix(r.Ref, "-") || strings.HasPrefix(r.Remote, "-") || r.Subdir != "" && !filepath.IsLocal(r.Subdir) {
				t.Errorf("%q: %+v", text, r)
			}
		}
	})
}

func FuzzDispositionName(f *testing.F) {
	for _, seed := range []string{`attachment; filename="a.txt"`, "attachment; filename=../x", "a; filename*=UTF-8''%2e%2e%2fx", "a; filename=\"..\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		name := DispositionName(header)
		if strings.ContainsAny(name, "/\x00\n") || name == "." || name == ".." {
			t.Errorf("%q: %q", header, name)
		}
	})
}
