package packages

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/layer/packages"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/anatomy/anatomytest"
	"github.com/strata-build/strata/internal/transfer"
)

func of(t *testing.T, m *transfer.Mover, text string) *Inventory {
	t.Helper()
	im, err := anatomy.Open(t.Context(), m, text)
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	inv, err := Of(t.Context(), im)
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

// lines are the packages of an inventory, and what each layer did.
func lines(inv *Inventory) string {
	var b strings.Builder
	for _, p := range inv.Packages {
		fmt.Fprintf(&b, "%s %s %s layer %d %v %s %s\n", p.Manager, p.Name, p.Version, p.Layer.Layer, p.Layer.Base, p.Path, p.PURL)
	}
	for _, l := range inv.Layers {
		for _, c := range l.Changes {
			fmt.Fprintf(&b, "%d: %s\n", l.Layer, c)
		}
	}
	for _, u := range inv.Unread {
		fmt.Fprintf(&b, "layer %d: %s\n", u.Layer.Layer, u)
	}
	return b.String()
}

func status(packages ...string) string {
	text := "var/lib/dpkg/status="
	for _, p := range packages {
		name, version, _ := strings.Cut(p, "_")
		text += "Package: " + name + "\nStatus: install ok installed\nArchitecture: amd64\nVersion: " + version + "\n\n"
	}
	return text
}

const metadata = "Metadata-Version: 2.1\nName: %s\nVersion: %s\nLicense: MIT\n\nText.\nVersion: 9\n"

func python(name, version string) string {
	return "usr/lib/python3/site-packages/" + name + "-" + version + ".dist-info/METADATA=" + fmt.Sprintf(metadata, name, version)
}

func TestOf(t *testing.T) {
	m := anatomytest.Mover(t)
	tars := [][]byte{
		anatomytest.Tar(t, "usr/lib/os-release=ID=debian\nVERSION_ID=\"12\"\n", status("libc6_2.36-9", "tar_1.34"), python("pip", "23.0")),
		anatomytest.Tar(t, status("libc6_2.36-9", "tar_1.35", "curl_7.88")),
		anatomytest.Tar(t, "usr/lib/python3/site-packages/.wh.pip-23.0.dist-info=", python("pip", "24.0"),
			"srv/node_modules/@a/b/package.json={\"name\":\"@a/b\",\"version\":\"1.0.0\",\"license\":\"MIT\"}", "srv/node_modules/c/package.json={"),
		anatomytest.Tar(t, status("libc6_2.36-9", "curl_7.88"), "var/lib/pacman/local/a-1/desc=x", "var/lib/pacman/local/b-1/desc=x"),
	}
	anatomytest.Load(t, m, anatomytest.Save(t, anatomytest.WithoutLastRow(t, anatomytest.Image(t, "me/base:1", tars[:2]...)), anatomytest.Image(t, "me/app:1", tars...)))
	inv := of(t, m, "me/app:1")
	want := `dpkg curl 7.88 layer 2 true /var/lib/dpkg/status pkg:deb/debian/curl@7.88?arch=amd64&distro=debian-12
dpkg libc6 2.36-9 layer 1 true /var/lib/dpkg/status pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12
npm @a/b 1.0.0 layer 3 false /srv/node_modules/@a/b/package.json pkg:npm/%40a/b@1.0.0
python pip 24.0 layer 3 false /usr/lib/python3/site-packages/pip-24.0.dist-info/METADATA pkg:pypi/pip@24.0
1: + libc6 2.36-9
1: + tar 1.34
1: + pip 23.0
2: + curl 7.88
2: tar 1.34 → 1.35
3: + @a/b 1.0.0
3: pip 23.0 → 24.0
4: - tar 1.35
layer 3: what npm has installed is not known: /srv/node_modules/c/package.json: unexpected end of JSON input
layer 4: what pacman has installed is not known: /var/lib/pacman/local/a-1/desc and 1 more: strata does not read this form
`
	if d := cmp.Diff(want, lines(inv)); d != "" {
		t.Errorf("(-expected +found)\n%s", d)
	}
	if got := inv.Packages[0].Ecosystem; got != "Debian:12" {
		t.Errorf("ecosystem %q", got)
	}
	if got := inv.Packages[2].Licence; got != "MIT" {
		t.Errorf("licence %q", got)
	}
}

// An archive is compressed and read from its beginning; what is found is the same.
func TestOfArchive(t *testing.T) {
	m := anatomytest.Mover(t)
	file := anatomytest.Save(t, anatomytest.Image(t, "me/app:1", anatomytest.Tar(t, "etc/os-release=ID=alpine\nVERSION_ID=3.19.1",
		"lib/apk/db/installed=P:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\no:musl\n\nP:musl-utils\nV:1.2.4-r2\nA:x86_64\no:musl\n\n", "srv/x.jar=none")))
	got := lines(of(t, m, "docker-archive:"+file))
	want := `apk musl 1.2.4-r2 layer 1 false /lib/apk/db/installed pkg:apk/alpine/musl@1.2.4-r2?arch=x86_64&distro=alpine-3.19.1
apk musl-utils 1.2.4-r2 layer 1 false /lib/apk/db/installed pkg:apk/alpine/musl-utils@1.2.4-r2?arch=x86_64&distro=alpine-3.19.1&upstream=musl
1: + musl 1.2.4-r2
1: + musl-utils 1.2.4-r2
layer 1: what java has installed is not known: /srv/x.jar: zip: not a valid zip file
`
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-expected +found)\n%s", d)
	}
}

// What a distribution has packed is its package's.
func TestOwner(t *testing.T) {
	m := anatomytest.Mover(t)
	six := func(dir string) string {
		return dir + "/six-1.16.0.dist-info/METADATA=" + fmt.Sprintf(metadata, "six", "1.16.0")
	}
	file := anatomytest.Save(t, anatomytest.Image(t, "me/app:1",
		anatomytest.Tar(t, status("python3-six_1.16.0-4"), six("usr/lib/python3/dist-packages"), six("usr/local/lib/python3/dist-packages"),
			"var/lib/dpkg/info/python3-six:all.list=/.\n/usr/lib/python3/dist-packages/six-1.16.0.dist-info/METADATA\n"),
		anatomytest.Tar(t, six("usr/lib/python3.12/site-packages"), "lib/apk/db/installed=P:py3-six\nV:1-r0\nF:usr/lib/python3.12/site-packages/six-1.16.0.dist-info\nR:METADATA\n")))
	got := map[string]string{}
	for _, p := range of(t, m, file).Packages {
		if p.Owner != "" {
			got[p.Path] = p.Owner
		}
	}
	want := map[string]string{
		"/usr/lib/python3/dist-packages/six-1.16.0.dist-info/METADATA":    "python3-six",
		"/usr/lib/python3.12/site-packages/six-1.16.0.dist-info/METADATA": "py3-six",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-expected +found)\n%s", d)
	}
}

func TestFilter(t *testing.T) {
	p := &Package{Ecosystem: "Debian:12", Layer: Origin{Base: true}}
	p.Manager, p.Name, p.Layer.Layer = "dpkg", "libc6", 1
	for text, want := range map[string]bool{
		"type=dpkg": true, "type=deb": true, "type=rpm": false, "name=lib*": true, "name=libc": false, "ecosystem=Debian": true,
		"ecosystem=Debian:12": true, "ecosystem=Deb": false, "layer=1": true, "layer=2": false, "base=true": true, "base=false": false,
	} {
		f, err := ParseFilter([]string{text})
		if err != nil || f.Matches(p) != want {
			t.Errorf("%s: %v, %v", text, f.Matches(p), err)
		}
	}
	for _, text := range []string{"type", "x=y", "layer=a", "base=maybe", "name=["} {
		if _, err := ParseFilter([]string{text}); err == nil {
			t.Errorf("%s is a filter", text)
		}
	}
}

func FuzzPURL(f *testing.F) {
	f.Add("ID=debian\nVERSION_ID=12\n", "dpkg", "libc6", "1:2.36+dfsg-9", "amd64")
	f.Add("ID=alpine\nVERSION_ID=3.19.1\n", "npm", "@a/b", "1.0.0", "")
	f.Fuzz(func(t *testing.T, osRelease, manager, name, version, architecture string) {
		d := parseOSRelease([]byte(osRelease))
		p := packages.Package{Manager: manager, Name: name, Version: version, Details: packages.Details{Architecture: architecture, Source: name}}
		ecosystem(manager, d)
		if u := purl(p, d); strings.ContainsAny(u, " \n\"<>\\") {
			t.Errorf("%q", u)
		}
	})
}
