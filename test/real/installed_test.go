package real

import (
	"archive/zip"
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// askInside asks the package managers that an image has, as root and in its shell: dpkg, each Python that is there, npm of each
// tree of modules. It prints lines of a manager, a name and a version.
const askInside = `
if command -v dpkg-query >/dev/null; then
	dpkg-query -W -f '${db:Status-Status}\tdpkg\t${Package}\t${Version}\n' | sed -n 's/^installed\t//p'
fi
for python in $(find / -xdev -path '*/bin/python3'); do
	if "$python" -m pip --version >/dev/null 2>&1; then
		"$python" -m pip list --disable-pip-version-check --format freeze | sed 's/==/\t/; s/^/python\t/'
	else
		"$python" -c 'import importlib.metadata as m
for d in m.distributions(): print("python", d.metadata["Name"], d.version, sep="\t")'
	fi
done
if command -v npm >/dev/null; then
	find / -xdev -type d -name node_modules -prune | while read -r modules; do
		# PATH:NAME@VERSION[:WHAT IS WRONG WITH IT]; a link leads to a workspace, which nobody installed.
		(cd "${modules%/*}" && NODE_ENV= npm ls --all --parseable --long 2>/dev/null || true) | grep /node_modules/ | while IFS=: read -r path id more; do
			[ -L "$path" ] || echo "$id" | sed 's/\(.\)@/\1\t/; s/^/npm\t/'
		done
	done
fi
find / -xdev -type f \( -name '*.jar' -o -name '*.war' -o -name '*.ear' \) | sed 's/^/jar\t/'
`

// goInside is where an image is shown this machine's go, a static program, which tells what programs are made of.
const goInside = "/strata-test-go"

// installed are packages as "manager name version".
type installed map[string]bool

func (in installed) add(manager, name, version string) {
	in[manager+" "+name+" "+version] = true
}

// counts says how many there are of each manager: "dpkg 88, python 3".
func (in installed) counts() string {
	n := map[string]int{}
	for line := range in {
		manager, _, _ := strings.Cut(line, " ")
		n[manager]++
	}
	var parts []string
	for _, manager := range slices.Sorted(maps.Keys(n)) {
		parts = append(parts, fmt.Sprintf("%s %d", manager, n[manager]))
	}
	return strings.Join(parts, ", ")
}

// An inventory is a row of the table of what images have installed, by strata packages as by what is in them.
type inventory struct{ image, counts string }

// compareInstalled compares what strata packages says of the image, and of the stage that runs its tests, with what the managers
// inside say.
func (b *bench) compareInstalled() (rows []inventory) {
	images := []string{b.image}
	if b.example.check != "" {
		images = append(images, b.image+":check")
	}
	for _, image := range images {
		want, got := ask(b.t, image), listed(b.t, image)
		for line := range want {
			if !got[line] {
				b.t.Errorf("%s: strata packages does not list %s", image, line)
			}
		}
		for line := range got {
			if !want[line] {
				b.t.Errorf("%s: nothing in the image knows of %s, which strata packages lists", image, line)
			}
		}
		name := b.example.name
		if image != b.image {
			name += ", stage " + b.example.check
		}
		rows = append(rows, inventory{name, got.counts()})
	}
	return rows
}

// listed is what strata packages says.
func listed(t *testing.T, image string) installed {
	t.Helper()
	var v struct {
		Packages []struct{ Manager, Name, Version string }
		Unread   []json.RawMessage
	}
	check(t, json.Unmarshal([]byte(command(t, "", "strata", "packages", "--json", image)), &v))
	if len(v.Unread) > 0 {
		t.Errorf("%s has lists that are not read: %s", image, v.Unread)
	}
	all := installed{}
	for _, p := range v.Packages {
		all.add(p.Manager, p.Name, p.Version)
	}
	return all
}

// ask asks all that is in an image and can tell.
func ask(t *testing.T, image string) installed {
	t.Helper()
	all := installed{}
	goRoot := strings.TrimSpace(command(t, "", goProgram, "env", "GOROOT"))
	out := command(t, "", "strata", "run", "--user", "0", "--network", "none", "-e", "GOROOT=/", "-v", filepath.Join(goRoot, "bin/go")+":"+goInside+":ro",
		"--entrypoint", goInside, image, "version", "-m", "/")
	all.addGo(out)
	shell := []string{"run", "--user", "0", "--network", "none", "-w", "/", "--entrypoint", "/bin/sh", image, "-c"}
	if exec.CommandContext(t.Context(), "strata", append(shell, ":")...).Run() != nil {
		all.addStatusFiles(t, image)
		return all
	}
	for line := range strings.Lines(command(t, "", "strata", append(shell, askInside)...)) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		switch {
		case len(fields) == 2 && fields[0] == "jar":
			all.addJar(t, image, fields[1])
		case len(fields) == 3:
			all.add(fields[0], fields[1], fields[2])
		default:
			t.Errorf("%s: a manager says %q", image, line)
		}
	}
	return all
}

// addGo reads what go version -m prints: a line for each program, and indented ones of its modules.
func (in installed) addGo(out string) {
	var name, version string
	flush := func() {
		if name != "" {
			in.add("go", name, version)
		}
		name, version = "", ""
	}
	for line := range strings.Lines(out) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		switch {
		case !strings.HasPrefix(line, "\t"):
			flush()
			file, compiler, _ := strings.Cut(strings.TrimSpace(line), ": go")
			if file != goInside && !strings.HasPrefix(file, "/proc/") {
				name = "stdlib"
				version, _, _ = strings.Cut(compiler, " ")
			}
		case len(fields) >= 3 && (fields[0] == "mod" || fields[0] == "dep"):
			flush()
			name, version = fields[1], fields[2]
		case len(fields) >= 3 && fields[0] == "=>":
			name, version = fields[1], fields[2]
		}
	}
	flush()
}

// addStatusFiles asks this machine's dpkg-query about the files of an image without a package manager, as if one had installed the
// packages that they tell of.
func (in installed) addStatusFiles(t *testing.T, image string) {
	t.Helper()
	dir := t.TempDir()
	if exec.CommandContext(t.Context(), "strata", "cp", image+":/var/lib/dpkg/status.d", dir).Run() != nil {
		return
	}
	var status strings.Builder
	check(t, filepath.WalkDir(filepath.Join(dir, "status.d"), func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(file)
		fmt.Fprintf(&status, "Status: install ok installed\n%s\n", text)
		return err
	}))
	check(t, os.WriteFile(filepath.Join(dir, "status"), []byte(status.String()), 0o644))
	out := command(t, "", "dpkg-query", "--admindir", dir, "-W", "-f", "${Package}\t${Version}\n")
	lines := bufio.NewScanner(strings.NewReader(out))
	for lines.Scan() {
		name, version, _ := strings.Cut(lines.Text(), "\t")
		in.add("dpkg", name, version)
	}
}

// addJar reads what an archive says of itself: Maven's properties, or else its name and the version in that or in its
// manifest. One that says no version is no package.
func (in installed) addJar(t *testing.T, image, file string) {
	t.Helper()
	dir := t.TempDir()
	command(t, "", "strata", "cp", image+":"+file, dir)
	z, err := zip.OpenReader(filepath.Join(dir, path.Base(file)))
	check(t, err)
	defer z.Close()
	maven := false
	for _, f := range z.File {
		if ok, _ := path.Match("META-INF/maven/*/*/pom.properties", f.Name); ok {
			v := attributes(t, z, f.Name, "=")
			in.add("java", v["groupId"]+":"+v["artifactId"], v["version"])
			maven = true
		}
	}
	name := strings.TrimSuffix(path.Base(file), path.Ext(file))
	if m := versioned.FindStringSubmatch(name); !maven && m != nil {
		in.add("java", m[1], m[2])
	} else if version := attributes(t, z, "META-INF/MANIFEST.MF", ":")["Implementation-Version"]; !maven && version != "" {
		in.add("java", name, version)
	}
}

// versioned matches an archive's name that ends in a version.
var versioned = regexp.MustCompile(`^(.+?)-([0-9].*)$`)

// attributes reads lines of a name and a value.
func attributes(t *testing.T, z *zip.ReadCloser, name, sep string) map[string]string {
	t.Helper()
	f, err := z.Open(name)
	check(t, err)
	defer f.Close()
	v := map[string]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), sep)
		v[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	check(t, lines.Err())
	return v
}

// inventories is a table of what the images have installed.
func inventories(rows []inventory) string {
	var b strings.Builder
	b.WriteString("| | packages |\n|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s |\n", r.image, r.counts)
	}
	return b.String()
}
