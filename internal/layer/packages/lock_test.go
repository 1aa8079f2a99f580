package packages

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

var locks = map[string]struct {
	text string
	want string
}{
	"package-lock.json": {`{"lockfileVersion": 3, "packages": {"": {"name": "app"}, "node_modules/a": {"version": "1.0.0"}, "apps/x": {"version": "1"},
	  "node_modules/a/node_modules/@s/b": {"version": "2.0.0", "dev": true}, "node_modules/x": {"link": true, "resolved": "apps/x"},
	  "node_modules/alias": {"name": "real", "version": "3.0.0"}}, "dependencies": {"a": {"version": "1.0.0"}}}`,
		"npm @s/b 2.0.0, npm a 1.0.0, npm real 3.0.0"},
	"old/package-lock.json": {`{"lockfileVersion": 1, "dependencies": {"a": {"version": "1.0.0", "dependencies": {"b": {"version": "1.1.0"}}},
	  "b": {"version": "2.0.0", "requires": {"c": "1"}}, "c": {"version": "1.0.0", "dependencies": {"b": {"version": "1.1.0"}}}}}`,
		"npm a 1.0.0, npm b 1.1.0, npm b 1.1.0, npm b 2.0.0, npm c 1.0.0"},
	"requirements-dev.txt": {"bottle==0.12.23\nrequests[socks] == 2.31.0 ; python_version > '3' # why\n-r other.txt\nflask>=2\nsix==1.16.0 \\\n    --hash=sha256:00\ngit+https://host/x.git\nstar==1.*\nx===1.0+local\n",
		"python bottle 0.12.23, python requests 2.31.0, python six 1.16.0, python x 1.0+local"},
	"poetry.lock": {"[[package]]\nname = \"a\"\nversion = \"1\"\n\n[[package]]\nname = \"b\"\nversion = \"2\"\n[package.source]\ntype = \"git\"\n[metadata]\ncontent-hash = \"x\"\n",
		"python a 1, python b 2"},
	"Cargo.lock": {"version = 3\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n[[package]]\nname = \"serde\"\nversion = \"1.0.1\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n",
		"rust serde 1.0.1"},
	"go.mod": {"module example.org/a\n\ngo 1.22\n\nrequire (\n\tgolang.org/x/sys v0.1.0\n\texample.org/b v1.0.0 // indirect\n)\nrequire example.org/c v1.2.3\nreplace example.org/b => example.org/fork v1.0.1\nreplace example.org/c => ../c\n",
		"go example.org/c v1.2.3, go example.org/fork v1.0.1, go golang.org/x/sys v0.1.0"},
	"Gemfile.lock": {"GEM\n  remote: https://rubygems.org/\n  specs:\n    rack (2.2.3)\n    rails (7.0.0)\n      rack (>= 2.0)\n\nDEPENDENCIES\n  rails (= 7.0.0)\n",
		"ruby rack 2.2.3, ruby rails 7.0.0"},
	"composer.lock": {`{"packages": [{"name": "v/a", "version": "1.0.0", "license": ["MIT"]}], "packages-dev": []}`, "php v/a 1.0.0"},
}

func TestLocks(t *testing.T) {
	for name, c := range locks {
		form, ok := LockOf(name)
		if !ok {
			t.Errorf("%s is no lock file", name)
			continue
		}
		list, unread, err := form.Read(name, strings.NewReader(c.text), -1)
		if err != nil || unread != nil {
			t.Errorf("%s: %v %v", name, unread, err)
		}
		lines := listed(Listing{Packages: list})
		slices.Sort(lines)
		if got := strings.Join(lines, ", "); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if _, ok := LockOf("node_modules/a/package.json"); ok {
		t.Error("package.json locks nothing")
	}
}

func FuzzLocks(f *testing.F) {
	var names []string
	for name, c := range locks {
		names = append(names, name)
		f.Add(name, []byte(c.text))
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if !slices.Contains(names, name) {
			return
		}
		form, _ := LockOf(name)
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
