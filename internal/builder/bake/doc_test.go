package bake

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// TestExample sees that the example of docs/bake.md is read and has the targets that the page speaks of.
func TestExample(t *testing.T) {
	page, err := os.ReadFile("../../../docs/bake.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```hcl\n")
	text, _, ok := strings.Cut(text, "```")
	if !ok {
		t.Fatal("docs/bake.md has no example")
	}
	c, err := Parse([]File{{"docker-bake.hcl", []byte(text)}}, Environment{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Plan([]string{"default"}, []string{"tools-*.args.VERSION=3"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(mapKeys(p.Targets)), []string{"app", "base", "tools-1", "tools-2"}; !slices.Equal(got, want) {
		t.Errorf("targets %v, want %v", got, want)
	}
	if got := *p.Targets["tools-2"].Args["VERSION"]; got != "3" {
		t.Errorf("VERSION is %s", got)
	}
}

// TestAttributesAreDocumented sees that the table of docs/bake.md has each attribute of a target, and that a file of
// the reference uses it.
func TestAttributesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/bake.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllSubmatch(page, -1) {
		documented[string(row[1])] = true
	}
	paths, err := filepath.Glob("testdata/reference/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var used []byte
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if f.Name != wantFile {
				used = append(used, f.Data...)
			}
		}
	}
	attributes := []string{"matrix", "name"} // hclparser's own
	of := reflect.TypeFor[Target]()
	for i := range of.NumField() {
		if name, kind, _ := strings.Cut(of.Field(i).Tag.Get("hcl"), ","); kind == "optional" {
			attributes = append(attributes, name)
		}
	}
	for _, name := range attributes {
		if !documented[name] {
			t.Errorf("the table of docs/bake.md has no row for %s", name)
		}
		delete(documented, name)
		if !regexp.MustCompile(`(?m)(^|[{,\s])` + name + `\s*=`).Match(used) {
			t.Errorf("no file of testdata/reference uses %s", name)
		}
	}
	for name := range documented {
		t.Errorf("the table of docs/bake.md has a row for %s, which is no attribute", name)
	}
}

// FuzzParse sees that no definition makes bake panic or print what it does not read.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		`target "a" { tags = ["x"] }`, `{"target":{"a":{"args":{"x":null}}}}`, "services:\n  a:\n    build: .\n",
		`variable "x" { default = null }` + "\n" + `target "a" { name = x` + "\n" + `matrix = { v = [x] } }`,
		`function "f" { params = [a]` + "\n" + `result = f(a) }` + "\n" + `target "a" { args = { b = f(1) } }`,
		`target "a" { output = [null, {}, ""], secret = [null] }`, `group "default" { targets = ["default"] }`,
		`target "" {}`, `target {}`, `target "a" "b" {}`,
	} {
		for _, name := range []string{"a.hcl", "a.json", "a.yaml", "-"} {
			f.Add(name, []byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if len(data) > 4096 {
			return
		}
		t.Setenv("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP", "1")
		c, err := Parse([]File{{name, data}}, Environment{})
		if err != nil {
			return
		}
		for _, target := range c.names() {
			p, err := c.Plan([]string{target}, nil)
			if err != nil {
				continue
			}
			if err := p.Print(&strings.Builder{}); err != nil {
				t.Errorf("target %s cannot be printed: %v", target, err)
			}
		}
	})
}
