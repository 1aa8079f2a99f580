package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/strata-build/strata/test/testbed"
)

const (
	architecturePage = "docs/architecture.md"
	internalPath     = "github.com/strata-build/strata/internal/"
)

// neighbourhoods reads the table of docs/architecture.md: each folder of internal/ and those that it may import. A folder
// in a folder may have a row of its own.
func neighbourhoods(t *testing.T, root string) map[string][]string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, architecturePage))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z/]+)/` \\|[^|]*\\|([^|]*)\\|$")
	name := regexp.MustCompile("`([a-z/]+)/`")
	table := map[string][]string{}
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		table[m[1]] = []string{m[1]}
		for _, on := range name.FindAllStringSubmatch(m[2], -1) {
			table[m[1]] = append(table[m[1]], on[1])
		}
	}
	return table
}

// rowOf is the row that a path below internal/ belongs to: that of its first folders which have one, or its first folder.
func rowOf(table map[string][]string, path string) string {
	for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
		if _, ok := table[dir]; ok {
			return dir
		}
	}
	first, _, _ := strings.Cut(path, "/")
	return first
}

// eachSource parses every Go file below internal/ that is no test. path is relative to internal/.
func eachSource(t *testing.T, root string, visit func(path string, f *ast.File)) {
	t.Helper()
	top := filepath.Join(root, "internal")
	err := filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		visit(rel, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every neighbourhood imports only those that docs/architecture.md lets it stand on, and each has a row there.
func TestNeighbourhoods(t *testing.T) {
	root, err := testbed.Root()
	if err != nil {
		t.Fatal(err)
	}
	table := neighbourhoods(t, root)
	used := map[string]bool{}
	eachSource(t, root, func(path string, f *ast.File) {
		from := rowOf(table, path)
		allowed, ok := table[from]
		if !ok {
			t.Errorf("%s: %s has no row for %s/", path, architecturePage, from)
			return
		}
		used[from] = true
		if strings.HasSuffix(filepath.Dir(path), "test") {
			return // helpers of tests
		}
		for _, spec := range f.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			rest, ours := strings.CutPrefix(name, internalPath)
			if !ours {
				continue
			}
			if to := rowOf(table, rest+"/"); !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s: %s does not let %s/ stand on %s/", path, rest, architecturePage, from, to)
			}
		}
	})
	for name := range table {
		if !used[name] {
			t.Errorf("%s has a row for %s/, which is not there", architecturePage, name)
		}
	}
}

// maxFields is how many fields a struct has at most. What has more is several things in one.
const maxFields = 15

// TestStructsAreSmall looks at all packages but those that hold flags, what a person is shown of an image, and the attributes of
// a bake file's target, which hclparser reads into one flat struct.
func TestStructsAreSmall(t *testing.T) {
	root, err := testbed.Root()
	if err != nil {
		t.Fatal(err)
	}
	eachSource(t, root, func(path string, f *ast.File) {
		if strings.HasPrefix(path, "cli/") || strings.HasPrefix(path, "look/") || path == "builder/bake/target.go" {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok && s.Fields.NumFields() > maxFields {
				t.Errorf("%s: %s has %d fields, more than %d: put what belongs together into a struct", path, spec.Name, s.Fields.NumFields(), maxFields)
			}
			return true
		})
	})
}

// TestContributing: docs/contributing.md sends nobody to a file that is not there, nor to more than three places.
func TestContributing(t *testing.T) {
	root, err := testbed.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs/contributing.md"))
	if err != nil {
		t.Fatal(err)
	}
	path := regexp.MustCompile("`((?:internal|docs|test)/[^`]*|README.md)`")
	rows := 0
	for line := range strings.Lines(string(page)) {
		places := path.FindAllStringSubmatch(line, -1)
		for _, p := range places {
			if _, err := os.Stat(filepath.Join(root, p[1])); err != nil {
				t.Errorf("docs/contributing.md: %v", err)
			}
		}
		if strings.HasPrefix(line, "| a") {
			rows++
			if n := strings.Count(line, ";") + 1; n > 3 {
				t.Errorf("docs/contributing.md: %d places: %s", n, line)
			}
		}
	}
	if rows < 10 {
		t.Errorf("docs/contributing.md has %d changes", rows)
	}
}
