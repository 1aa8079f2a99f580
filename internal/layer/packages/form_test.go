package packages

import (
	"archive/zip"
	"bytes"
	"compress/zlib"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// told is what a file tells, a line for each package; "unread: …" of one that makes no sense.
func told(t testing.TB, name string, mode uint32, data string) string {
	t.Helper()
	f, ok := FormOf(name, mode, int64(len(data)))
	if !ok {
		return "no form"
	}
	// As a stream, and at any place: both tell the same.
	var texts [2]string
	for i, r := range []io.Reader{strings.NewReader(data), struct{ io.Reader }{strings.NewReader(data)}} {
		list, unread, err := f.Read(name, r, int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, p := range list {
			lines = append(lines, strings.TrimRight(strings.Join([]string{p.Manager, p.Name, p.Version, p.Architecture, p.Licence, p.Source, p.SourceVersion}, "|"), "|"))
		}
		if unread != nil {
			lines = append(lines, "unread: "+unread.Err.Error())
		}
		texts[i] = strings.Join(lines, "\n")
	}
	if texts[0] != texts[1] {
		t.Errorf("%s tells %q, and as a stream %q", name, texts[0], texts[1])
	}
	return texts[0]
}

func jar(t testing.TB, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, err := z.Create(files[i])
		if err == nil {
			_, err = io.WriteString(w, files[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const pomOfA = "#Generated\ngroupId=org.a\nartifactId=a\nversion=1.0\n"

func TestForms(t *testing.T) {
	inner := jar(t, "META-INF/maven/org.a/a/pom.properties", pomOfA)
	for _, c := range []struct{ name, data, want string }{
		{"var/lib/dpkg/status", "Package: libc6\nStatus: install ok installed\nSource: glibc (2.36-9)\nArchitecture: amd64\nVersion: 2.36-9+b1\n", "dpkg|libc6|2.36-9+b1|amd64||glibc|2.36-9"},
		{"lib/apk/db/installed", "P:musl-utils\nV:1.2.4-r2\nA:x86_64\nL:MIT AND BSD-2-Clause\no:musl\n", "apk|musl-utils|1.2.4-r2|x86_64|MIT AND BSD-2-Clause|musl"},
		{"usr/lib/python3/dist-packages/six-1.16.0.egg-info", "Metadata-Version: 1.1\nName: six\nVersion: 1.16.0\nLicense: MIT\n\nVersion: 2\n", "python|six|1.16.0||MIT"},
		{"usr/lib/python3/site-packages/six-1.egg-info/PKG-INFO", "Name: six\nVersion: 1.16.0\nClassifier: License :: OSI Approved :: MIT License\n", "python|six|1.16.0||MIT License"},
		{"a/site-packages/x-1.dist-info/METADATA", "Name: x\n", "unread: it has no name or no version"},
		{"a/x-1.dist-info/METADATA", "Name: x\n", "no form"},
		{"srv/node_modules/a/package.json", `{"name":"a","version":"1.0.0","license":{"type":"ISC"}}`, "npm|a|1.0.0||ISC"},
		{"srv/node_modules/@s/a/package.json", `{"name":"@s/a","version":"1.0.0","licenses":[{"type":"MIT"},"BSD"]}`, "npm|@s/a|1.0.0||MIT OR BSD"},
		{"srv/node_modules/a/node_modules/b/package.json", `{"name":"b","version":"2.0.0"}`, "npm|b|2.0.0"},
		{"srv/node_modules/a/dist/package.json", `{"name":"b","version":"2.0.0"}`, "no form"},
		{"srv/package.json", `{"name":"b","version":"2.0.0"}`, "no form"},
		{"srv/node_modules/a/package.json", `{"type":"module"}`, ""},
		{"srv/node_modules/a/package.json", strings.Repeat(" ", maxJSON+1), "unread: it is larger than 4 MiB"},
		{"srv/node_modules/a/package.json", `[`, "unread: unexpected end of JSON input"},
		{"usr/lib/ruby/gems/3.1.0/specifications/rake-13.0.6.gemspec", "Gem::Specification.new do |s|\n  s.name = \"rake\".freeze\n  s.version = \"13.0.6\"\n  s.licenses = [\"MIT\".freeze]\nend\n", "ruby|rake|13.0.6||MIT"},
		{"usr/lib/ruby/gems/3.1.0/specifications/default/json-2.6.1-x86.gemspec", "x", "ruby|json|2.6.1-x86"},
		{"srv/rake.gemspec", "x", "no form"},
		{"srv/vendor/composer/installed.json", `{"packages":[{"name":"monolog/monolog","version":"3.5.0","license":["MIT"]}]}`, "php|monolog/monolog|3.5.0||MIT"},
		{"srv/vendor/composer/installed.json", `[{"name":"a/b","version":"v1"}]`, "php|a/b|v1"},
		{"srv/vendor/composer/installed.json", `{"packages":[{}]}`, "unread: a package has no name or no version"},
		{"srv/a-1.0.jar", inner, "java|org.a:a|1.0"},
		{"srv/app.war", jar(t, "WEB-INF/lib/a-1.0.jar", inner, "META-INF/MANIFEST.MF", "Implementation-Version: 9\r\n\r\nImplementation-Version: 8\r\n"), "java|org.a:a|1.0\njava|app|9"},
		{"srv/commons-io-2.4.jar", jar(t, "META-INF/MANIFEST.MF", "Bundle-SymbolicName: org.apache.commons-io;x\nImplementation-Vendor-Id: commons-io\n"), "java|commons-io:commons-io|2.4"},
		{"srv/none.jar", jar(t, "a", "b"), ""},
		{"srv/bad.jar", "PK", "unread: zip: not a valid zip file"},
		{"usr/lib/opkg/status", "Package: x\n", "unread: strata does not read this form"},
		{"opt/conda/conda-meta/x.json", "{}", "unread: strata does not read this form"},
		{"srv/app.deps.json", "{}", "unread: strata does not read this form"},
	} {
		if got := told(t, c.name, 0o644, c.data); got != c.want {
			t.Errorf("%s tells\n%s\nexpected\n%s", c.name, got, c.want)
		}
	}
}

// Archives in archives end.
func TestNested(t *testing.T) {
	data := jar(t, "META-INF/maven/org.a/a/pom.properties", pomOfA)
	for range maxNested {
		data = jar(t, "x.jar", data)
	}
	if got := told(t, "srv/x.jar", 0, data); got != "" {
		t.Errorf("%d deep: %s", maxNested+1, got)
	}
	bomb := jar(t, "META-INF/MANIFEST.MF", strings.Repeat("a", maxText+1))
	if got := told(t, "srv/x.jar", 0, bomb); !strings.Contains(got, "too large") {
		t.Errorf("a large manifest: %s", got)
	}
}

// What this test's own program says of itself is what go version -m says.
func TestGoProgram(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(told(t, "usr/bin/program", 0o755, string(data)), "\n")
	out, err := exec.Command("go", "version", "-m", program).Output()
	if err != nil {
		t.Skip("needs the go command")
	}
	want := []string{}
	for line := range strings.Lines(string(out)) {
		if w := strings.Fields(line); len(w) >= 3 && w[0] == "dep" {
			want = append(want, "go|"+w[1]+"|"+w[2])
		}
	}
	if !strings.HasPrefix(got[0], "go|stdlib|1.") {
		t.Errorf("the first is %s", got[0])
	}
	got = slices.DeleteFunc(got, func(line string) bool {
		return strings.Contains(line, "|stdlib|") || strings.Contains(line, "strata-build")
	})
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-go version -m +told)\n%s", d)
	}
	if got := told(t, "usr/bin/program", 0o644, string(data)); got != "no form" {
		t.Errorf("a file that is no program tells %s", got)
	}
}

// rustProgram is an ELF file with nothing but a section of cargo auditable.
func rustProgram(t testing.TB, text string) string {
	t.Helper()
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	io.WriteString(w, text)
	w.Close()
	names := "\x00.dep-v0\x00.shstrtab\x00"
	head := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, Type: 2, Machine: 62, Version: 1, Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 2,
		Shoff: uint64(64 + z.Len() + len(names)),
	}
	sections := []elf.Section64{
		{}, {Name: 1, Type: 1, Off: 64, Size: uint64(z.Len()), Addralign: 1},
		{Name: 9, Type: 3, Off: uint64(64 + z.Len()), Size: uint64(len(names)), Addralign: 1},
	}
	var b bytes.Buffer
	err := errors.Join(binary.Write(&b, binary.LittleEndian, head), binary.Write(&b, binary.LittleEndian, z.Bytes()),
		binary.Write(&b, binary.LittleEndian, []byte(names)), binary.Write(&b, binary.LittleEndian, sections))
	if err != nil {
		t.Fatal(err)
	}
	return b.String() + strings.Repeat("\x00", minProgram)
}

func TestRustProgram(t *testing.T) {
	got := told(t, "usr/bin/rg", 0o755, rustProgram(t, `{"packages":[{"name":"cc","version":"1.0","kind":"build"},{"name":"memchr","version":"2.5.0","source":"crates.io"},{"name":"rg","version":"13.0.0","root":true}]}`))
	if want := "rust|memchr|2.5.0\nrust|rg|13.0.0"; got != want {
		t.Errorf("%s, expected %s", got, want)
	}
	if got := told(t, "usr/bin/rg", 0o755, rustProgram(t, `{`)); !strings.HasPrefix(got, "unread: ") {
		t.Error(got)
	}
	for _, other := range []string{strings.Repeat("#!/bin/sh\n", 10000), "\x7fELF" + strings.Repeat("x", minProgram)} {
		if got := told(t, "usr/bin/x", 0o755, other); got != "" {
			t.Errorf("another program tells %s", got)
		}
	}
}

// What dpkg-query says of this machine is what its list tells.
func TestDpkgQuery(t *testing.T) {
	data, err := os.ReadFile("/var/lib/dpkg/status")
	if err != nil {
		t.Skip("needs a Debian")
	}
	out, err := exec.Command("dpkg-query", "-W", "-f", "${db:Status-Status}|${Package}|${Version}|${Architecture}|${source:Package}|${source:Version}\n").Output()
	if err != nil {
		t.Skip("needs dpkg-query")
	}
	var want, got []string
	for line := range strings.Lines(string(out)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "installed|"); ok {
			want = append(want, rest)
		}
	}
	form, _ := FormOf("var/lib/dpkg/status", 0, 0)
	list, _, err := form.Read("var/lib/dpkg/status", bytes.NewReader(data), -1)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if p.Source == "" {
			p.Source = p.Name
		}
		if p.SourceVersion == "" {
			p.SourceVersion = p.Version
		}
		got = append(got, strings.Join([]string{p.Name, p.Version, p.Architecture, p.Source, p.SourceVersion}, "|"))
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" || len(got) == 0 {
		t.Errorf("%d packages (-dpkg-query +told)\n%s", len(got), d)
	}
}

// What npm ls says of npm itself is what its node_modules tell.
func TestNPMList(t *testing.T) {
	root, err := exec.Command("npm", "root", "-g").Output()
	if err != nil {
		t.Skip("needs npm")
	}
	dir := filepath.Join(strings.TrimSpace(string(root)), "npm")
	out, err := exec.Command("npm", "ls", "--all", "--parseable", "--long", "--prefix", dir).Output()
	if err != nil && len(out) == 0 {
		t.Skip("needs npm as a package")
	}
	want, got := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(string(out)) {
		if w := strings.Split(strings.TrimSpace(line), ":"); len(w) >= 2 && strings.Contains(w[0], "npm/node_modules/") {
			want[w[1]] = true
		}
	}
	err = filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
		rel := strings.TrimPrefix(name, "/")
		form, ok := FormOf(rel, 0, 0)
		if err != nil || !ok || form.Manager != "npm" || !strings.Contains(name, "npm/node_modules/") {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		list, unread, err := form.Read(rel, f, -1)
		for _, p := range list {
			got[p.Name+"@"+p.Version] = true
		}
		if unread != nil {
			t.Error(unread)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range want {
		if !got[name] {
			t.Errorf("npm ls has %s", name)
		}
	}
	if len(want) == 0 {
		t.Skip("npm lists nothing of itself")
	}
}

func TestDebianLicence(t *testing.T) {
	const head = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\n"
	for text, want := range map[string]string{
		head + "License: GPL-2+\n The text\n License: of it\n\nFiles: b\nLicense: Expat\n\nLicense: GPL-2+\n": "GPL-2.0-or-later AND MIT",
		head + "License: GPL-1+ or Artistic\n": "(GPL-1.0-or-later OR Artistic-1.0-Perl)",
		head + "License: own thing\n":          "own thing",
		"License: GPL-2+\n":                    "",
		"":                                     "",
	} {
		if got, err := DebianLicence(strings.NewReader(text)); got != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func FuzzDebianLicence(f *testing.F) {
	f.Add("Format: x\nLicense: GPL-2+ or Artistic\n")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := DebianLicence(strings.NewReader(text)); err != nil || len(got) > 10_000 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

func FuzzForms(f *testing.F) {
	names := []string{
		"var/lib/dpkg/status", "lib/apk/db/installed", "a/site-packages/x-1.dist-info/METADATA", "node_modules/a/package.json",
		"specifications/a-1.gemspec", "vendor/composer/installed.json", "a.jar", "usr/bin/a",
	}
	f.Add(uint8(0), []byte("Package: a\nVersion: 1\n"))
	f.Add(uint8(3), []byte(`{"name":"a","version":"1","license":["MIT"]}`))
	f.Add(uint8(6), []byte(jar(f, "META-INF/maven/org.a/a/pom.properties", pomOfA, "b.jar", jar(f, "META-INF/MANIFEST.MF", "Implementation-Version: 1\n"))))
	f.Add(uint8(7), []byte(rustProgram(f, `{"packages":[{"name":"a","version":"1"}]}`)[:600]))
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		name := names[int(which)%len(names)]
		form, ok := FormOf(name, 0o755, minProgram)
		if !ok {
			t.Fatalf("%s has no form", name)
		}
		list, _, err := form.Read(name, bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			if p.Name == "" || p.Version == "" {
				t.Errorf("package %q of version %q", p.Name, p.Version)
			}
		}
	})
}
