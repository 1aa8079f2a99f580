package page

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/look/anatomy/anatomytest"
	"github.com/strata-build/strata/internal/look/vulnerability"
	"github.com/strata-build/strata/internal/transfer/archive"
)

// advisories are three that are made up, of Python packages.
var advisories = map[string]string{"old": "1.5", "bad": "3.0", "odd": "9"}

func advisory(name, fixed string) string {
	severity := map[string]string{"bad": "CRITICAL", "old": "LOW", "odd": "MODERATE"}[name]
	return fmt.Sprintf(`{"id": "GHSA-%[1]s", "aliases": ["CVE-%[1]s"], "modified": "2099-01-01T00:00:00Z", "database_specific": {"severity": %[3]q},
"affected": [{"package": {"ecosystem": "PyPI", "name": %[1]q}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": %[2]q}]}]}]}`, name, fixed, severity)
}

// importInto imports an advisory into the store of a server.
func importInto(t *testing.T, s *Server, name, fixed string) {
	t.Helper()
	d, err := vulnerability.Open(vulnerability.Path(s.gallery.Mover.Store.Root()))
	if err != nil {
		t.Fatal(err)
	}
	text := advisory(name, fixed)
	if _, err := d.ImportFrom(t.Context(), io.NewSectionReader(strings.NewReader(text), 0, int64(len(text))), name+".json"); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// installs is what pip leaves of packages, NAME VERSION each, for a tar.
func installs(packages ...string) []string {
	var entries []string
	for _, p := range packages {
		name, version, _ := strings.Cut(p, " ")
		entries = append(entries, fmt.Sprintf("lib/python3/site-packages/%[1]s-%[2]s.dist-info/METADATA=Metadata-Version: 2.1\nName: %[1]s\nVersion: %[2]s\n", name, version))
	}
	return entries
}

func removes(name string) string { return "lib/python3/site-packages/.wh." + name + ".dist-info" }

// upgraded is an image whose layers bring old, bad and odd, upgrade old to 1.5, and remove odd.
func upgraded(t *testing.T) archive.Source {
	return anatomytest.Image(t, name,
		anatomytest.Tar(t, installs("old 1.0", "fine 1.0")...),
		anatomytest.Tar(t, installs("bad 2.0", "odd 1.0")...),
		anatomytest.Tar(t, append(installs("old 1.5"), removes("old-1.0"))...),
		anatomytest.Tar(t, removes("odd-1.0")))
}

// TestVulnerabilitiesOfRows: a vulnerability is shown at the row that brought its package, one that a row cured at that
// row, and the marks of rows count what is there at last.
func TestVulnerabilitiesOfRows(t *testing.T) {
	s := serve(t, upgraded(t))
	o, err := s.gallery.open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.gallery.findings(t.Context(), o); err == nil {
		t.Error("without advisories something is found")
	}
	for n, fixed := range advisories {
		importInto(t, s, n, fixed)
	}
	rows := func() string {
		var b strings.Builder
		for row := range o.im.Rows {
			p := s.gallery.ofRow(t.Context(), o, row, 0)
			if p == nil {
				continue
			}
			if p.Err != "" {
				t.Fatal(p.Err)
			}
			for _, f := range p.Brought {
				fmt.Fprintf(&b, "%d brought %s of %s %s, fixed in %s\n", row, f.Name(), f.Package.Name, f.Package.Version, f.Fixed)
			}
			for _, f := range p.Cured {
				fmt.Fprintf(&b, "%d cured %s of %s %s\n", row, f.Name(), f.Package.Name, f.Package.Version)
			}
		}
		known, err := s.gallery.findings(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		marks := o.marks(known)
		for row := range o.im.Rows {
			if m := marks[row]; m != nil {
				fmt.Fprintf(&b, "%d: %s\n", row, m.Title())
			}
		}
		return b.String()
	}
	want := "1 brought CVE-bad of bad 2.0, fixed in 3.0\n2 cured CVE-old of old 1.0\n3 cured CVE-odd of odd 1.0\n1: 1 known vulnerability, the worst is critical\n"
	if diff := cmp.Diff(want, rows()); diff != "" {
		t.Error(diff)
	}
	// What is imported meanwhile is seen at once.
	importInto(t, s, "fine", "2")
	want = "0 brought CVE-fine of fine 1.0, fixed in 2\n" + strings.TrimSuffix(want, "1: 1 known vulnerability, the worst is critical\n") +
		"0: 1 known vulnerability, the worst is unknown\n1: 1 known vulnerability, the worst is critical\n"
	if diff := cmp.Diff(want, rows()); diff != "" {
		t.Error(diff)
	}
}

func TestVulnerabilitiesView(t *testing.T) {
	s := serve(t, upgraded(t))
	for n, fixed := range advisories {
		importInto(t, s, n, fixed)
	}
	importInto(t, s, "fine", "2")
	o, err := s.gallery.open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.gallery.findings(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, filter, severity, mine, want string }{
		{"all", "", "", "", "CVE-bad 1, CVE-fine 0"},
		{"by severity", "", "high", "", "CVE-bad 1"},
		{"no such severity", "", "<b>", "", "CVE-bad 1, CVE-fine 0"},
		{"by name", "FINE", "", "", "CVE-fine 0"},
		{"by two words", "cve bad", "", "", "CVE-bad 1"},
		{"nothing is like it", "zzz", "", "", ""},
		{"mine", "", "", "mine", "CVE-bad 1, CVE-fine 0"},
		{"the base's", "", "", "base", ""},
	} {
		v := newVulnerabilitiesView(o, found, &vulnerabilitiesView{Filter: test.filter, Severity: test.severity, Mine: test.mine})
		var got []string
		for _, f := range v.Shown {
			got = append(got, fmt.Sprintf("%s %d", f.Name(), f.Row))
		}
		if text := strings.Join(got, ", "); text != test.want || v.Total != 2 || len(v.Levels) != 2 {
			t.Errorf("%s: %s of %d in %d levels, want %s", test.name, text, v.Total, len(v.Levels), test.want)
		}
	}
	// Of two images, what only one of them has.
	none := &vulnerable{report: &vulnerability.Report{}}
	if a, b := differing(found, none), differing(none, found); len(a) != 2 || len(b) != 0 {
		t.Errorf("%d and %d differ", len(a), len(b))
	}
}
