package packages

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files are the files of an image by their paths; a path that ends in a slash is a directory.
type files map[string]string

func (f files) Each(visit func(path string, dir bool)) error {
	for name := range f {
		stem, dir := strings.CutSuffix(name, "/")
		visit(stem, dir)
	}
	return nil
}

func (f files) Open(name string) (io.ReadCloser, error) {
	text, ok := f[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

// listed is what is installed, a line for each package.
func listed(l Listing) []string {
	var lines []string
	for _, p := range l.Packages {
		lines = append(lines, p.Manager+" "+p.Name+" "+p.Version)
	}
	return lines
}

func rpmDatabase(t testing.TB, name string) string {
	t.Helper()
	packed, err := os.ReadFile("rpmdb/testdata/" + name + ".gz")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	db, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(db)
}

func TestList(t *testing.T) {
	redhat := []string{"rpm bash 5.1.8-1.el9", "rpm kernel 5.14.0-1.el9", "rpm kernel 5.14.1-1.el9", "rpm openssl-libs 1:3.0.7-1.el9"}
	for _, c := range []struct {
		name  string
		files files
		want  []string
	}{
		{"nothing", files{"etc/passwd": "root", "var/lib/dpkg/": ""}, nil},
		{"dpkg", files{"var/lib/dpkg/status": `Package: zlib1g
Status: install ok installed
Version: 1:1.2.13.dfsg-1
Description: compression library
 Version: of the description
 .
 Package: none

Package: configured-once
Status: deinstall ok config-files
Version: 9

Package: half
Status: install ok half-installed
Version: 9

Package: adduser
Version: 3.134
Status: install ok installed`}, []string{"dpkg adduser 3.134", "dpkg zlib1g 1:1.2.13.dfsg-1"}},
		{"distroless", files{
			"var/lib/dpkg/status.d/base":           "Package: base-files\nVersion: 12.4\n",
			"var/lib/dpkg/status.d/tzdata":         "Package: tzdata\nVersion: 2024a\n",
			"var/lib/dpkg/status.d/tzdata.md5sums": "Package: none\nVersion: 1\n",
			"srv/var/lib/dpkg/status":              "Package: none\nVersion: 1\n",
		}, []string{"dpkg base-files 12.4", "dpkg tzdata 2024a"}},
		{"apk", files{"lib/apk/db/installed": "C:Q1=\nP:musl\nV:1.2.4-r2\nA:x86_64\nF:lib\nR:ld.so\n\nP:busybox\nV:1.36.1-r5\n"},
			[]string{"apk busybox 1.36.1-r5", "apk musl 1.2.4-r2"}},
		{"apk of 2025", files{"usr/lib/apk/db/installed": "P:musl\nV:1.2.5-r9\n"}, []string{"apk musl 1.2.5-r9"}},
		{"rpm, sqlite", files{"usr/lib/sysimage/rpm/rpmdb.sqlite": rpmDatabase(t, "rpmdb.sqlite")}, redhat},
		{"rpm, ndb", files{"usr/lib/sysimage/rpm/Packages.db": rpmDatabase(t, "Packages.db")}, redhat},
		{"rpm, Berkeley DB", files{"var/lib/rpm/Packages": rpmDatabase(t, "Packages"), "var/lib/rpm/Name": "x"}, redhat},
		{"rpm in two places", files{
			"var/lib/rpm/rpmdb.sqlite":          rpmDatabase(t, "rpmdb.sqlite"),
			"usr/lib/sysimage/rpm/rpmdb.sqlite": rpmDatabase(t, "rpmdb.sqlite"),
		}, redhat},
		{"Python", files{
			"usr/local/lib/python3.11/site-packages/pip-23.0.1.dist-info/":  "",
			"usr/local/lib/python3.11/site-packages/pip-23.0.1.dist-info/x": "",
			"usr/local/lib/python3.11/site-packages/pip/":                   "",
			"opt/venv/lib/python3.11/site-packages/pip-24.2.dist-info/":     "",
			"usr/lib/python3/dist-packages/six-1.16.0.egg-info/":            "",
			"usr/lib/python3/dist-packages/-1.dist-info/":                   "",
			"usr/lib/python3/dist-packages/six-.dist-info/":                 "",
			"app/flask-1.dist-info/":                                        "",
		}, []string{"python pip 23.0.1", "python pip 24.2", "python six 1.16.0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := List(c.files)
			if err != nil || len(l.Unread) > 0 {
				t.Errorf("%v, %v", err, l.Unread)
			}
			if d := cmp.Diff(c.want, listed(l)); d != "" {
				t.Errorf("(-expected +listed)\n%s", d)
			}
		})
	}
}

// A list that makes no sense costs no more than what it lists.
func TestListUnread(t *testing.T) {
	for name, text := range map[string]string{
		"var/lib/rpm/Packages": "no database", "lib/apk/db/installed": "P:musl\nV:1\n\n" + strings.Repeat("x", 1<<20+1),
		"var/lib/rpm/rpmdb.sqlite": rpmDatabase(t, "rpmdb.sqlite")[:30000],
	} {
		l, err := List(files{name: text, "var/lib/dpkg/status": "Package: a\nVersion: 1\n"})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"dpkg a 1"}, listed(l)); d != "" {
			t.Errorf("%s (-expected +listed)\n%s", name, d)
		}
		if len(l.Unread) != 1 || l.Unread[0].Path != name || !strings.Contains(l.Unread[0].String(), "reading /"+name) {
			t.Errorf("%s: unread %v", name, l.Unread)
		}
	}
}

// broken is a file system whose files cannot be read to their ends.
type broken struct{ files }

var errBroken = errors.New("broken")

func (b broken) Open(name string) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader(b.files[name]), errReader{})), nil
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errBroken }

func TestListUnreadable(t *testing.T) {
	for _, name := range []string{"var/lib/dpkg/status", "var/lib/rpm/Packages"} {
		if _, err := List(broken{files{name: "Package: a\n"}}); !errors.Is(err, errBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParagraphs(f *testing.F) {
	f.Add("Package: a\nStatus: install ok installed\nVersion: 1\n\nPackage: b\nVersion: 2", true)
	f.Add("P:musl\nV:1.2.4-r2\n\n", false)
	f.Fuzz(func(t *testing.T, text string, dpkg bool) {
		name := "lib/apk/db/installed"
		if dpkg {
			name = "var/lib/dpkg/status"
		}
		l, err := List(files{name: text})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range l.Packages {
			if p.Name == "" || strings.Contains(p.Name+p.Version, "\n") || !strings.Contains(text, p.Name) {
				t.Errorf("package %q of version %q", p.Name, p.Version)
			}
		}
		if got := Compare(l, l); len(got) > 0 {
			t.Errorf("a listing differs from itself in %v", got)
		}
		if got := Compare(Listing{}, l); len(got) != len(l.Packages) {
			t.Errorf("%d changes of %d packages", len(got), len(l.Packages))
		}
	})
}

func TestCompare(t *testing.T) {
	for _, c := range []struct{ name, before, after, want string }{
		{"nothing", "", "", ""},
		{"the same", "dpkg a 1, python a 1", "dpkg a 1, python a 1", ""},
		{"a newer version", "dpkg a 1, dpkg b 1", "dpkg a 2, dpkg b 1", "dpkg: a 1 → 2"},
		{"added", "dpkg b 1", "dpkg a 1, dpkg b 1, dpkg c 1", "dpkg: + a 1, dpkg: + c 1"},
		{"removed", "dpkg a 1, dpkg b 1, dpkg c 1", "dpkg b 1", "dpkg: - a 1, dpkg: - c 1"},
		{"another manager's", "dpkg six 1", "python six 2", "dpkg: - six 1, python: + six 2"},
		{"managers in order", "apk z 1, rpm a 1", "apk z 2, dpkg b 1, rpm a 2", "apk: z 1 → 2, dpkg: + b 1, rpm: a 1 → 2"},
		{"one version of two", "rpm kernel 1, rpm kernel 2", "rpm kernel 2, rpm kernel 3", "rpm: kernel 1 → 3"},
		{"one version more", "rpm kernel 1", "rpm kernel 1, rpm kernel 2", "rpm: + kernel 2"},
		{"two versions of one", "rpm kernel 1", "rpm kernel 2, rpm kernel 3", "rpm: - kernel 1, rpm: + kernel 2, rpm: + kernel 3"},
		{"one version less", "rpm kernel 1, rpm kernel 2", "rpm kernel 2", "rpm: - kernel 1"},
		{"unread before", "!rpm, apk a 1", "apk a 2, rpm b 1", "apk: a 1 → 2"},
		{"unread after", "apk a 1, rpm b 1", "apk a 2, !rpm", "apk: a 1 → 2"},
	} {
		before, after := listing(c.before), listing(c.after)
		kept := slices.Clone(before.Packages)
		var got []string
		for _, change := range Compare(before, after) {
			got = append(got, change.Manager+": "+change.String())
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s: %q, expected %q", c.name, text, c.want)
		}
		if !slices.Equal(before.Packages, kept) {
			t.Errorf("%s: the listing is %v afterwards", c.name, before.Packages)
		}
	}
}

// listing reads "MANAGER NAME VERSION, !UNREAD".
func listing(text string) Listing {
	var l Listing
	for _, part := range strings.Split(text, ", ") {
		if manager, unread := strings.CutPrefix(part, "!"); unread {
			l.Unread = append(l.Unread, Unread{Manager: manager})
		} else if words := strings.Fields(part); len(words) == 3 {
			l.Packages = append(l.Packages, Package{Manager: words[0], Name: words[1], Version: words[2]})
		}
	}
	return l
}
