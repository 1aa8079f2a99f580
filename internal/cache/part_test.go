package cache

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The names of parts are in the keys of all records that people have, so they stay.
func TestPartNames(t *testing.T) {
	const want = "arg script env user dir network host hostname ulimit shm security mount mounted secret ssh " +
		"path dest chown chmod unpack parents link inline content order exclude url file unpack-url git subdir git-dir submodules mtime " +
		"platform chain after instruction owners volume tables layers source dir strict mount"
	var names []string
	for n := partUnknown + 1; n < partCount; n++ {
		names = append(names, n.String())
		if n != PartSourceDir && n != PartMountSource && partNamed(n.String()) != n {
			t.Errorf("%q means part %d and part %d", n, n, partNamed(n.String()))
		}
	}
	if diff := cmp.Diff(want, strings.Join(names, " ")); diff != "" {
		t.Error(diff)
	}
}

func TestShow(t *testing.T) {
	for _, test := range []struct {
		part   PartName
		values []string
		want   string
	}{
		{PartUser, nil, "root"},
		{PartUser, []string{""}, "root"},
		{PartUser, []string{"me"}, "me"},
		{PartHost, []string{"a", "b"}, "a b"},
		{PartContent, nil, ""},
	} {
		if got := test.part.Show(test.values); got != test.want {
			t.Errorf("%s %q: %q, want %q", test.part, test.values, got, test.want)
		}
	}
}

func TestDifferences(t *testing.T) {
	before := []Part{{"arg", "a"}, {"arg", "b"}, {"user", "me"}, {"dir", "/"}, {"gone", "1"}}
	after := []Part{{"arg", "a"}, {"dir", "/"}, {"new", "2"}, {"host", "h"}}
	want := []Difference{
		{PartArg, "shell", []string{"a", "b"}, []string{"a"}},
		{partUnknown, "new", nil, []string{"2"}},
		{PartHost, "--add-host", nil, []string{"h"}},
		{PartUser, "user", []string{"me"}, nil},
		{partUnknown, "gone", []string{"1"}, nil},
	}
	if diff := cmp.Diff(want, Differences(before, after)); diff != "" {
		t.Error(diff)
	}
}

// TestNamesStandHere looks for a Part that is made elsewhere under a name that the table has. The
// methods of Key and Record take no string.
func TestNamesStandHere(t *testing.T) {
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" || filepath.Base(filepath.Dir(path)) == "cache" {
			return nil
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if !imports(f) {
			return nil
		}
		ast.Inspect(f, func(n ast.Node) bool {
			for _, name := range partLiterals(n) {
				if partNamed(name) != partUnknown {
					t.Errorf("%s: the name of the part %q stands here; write cache.Part… for it", files.Position(n.Pos()), name)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// imports says whether a file uses this package.
func imports(f *ast.File) bool {
	for _, i := range f.Imports {
		if strings.HasSuffix(i.Path.Value, `/internal/cache"`) {
			return true
		}
	}
	return false
}

// partLiterals are the strings in a call of Add, Values or Part and in a Part that is written out.
func partLiterals(n ast.Node) []string {
	var where []ast.Expr
	switch n := n.(type) {
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.SelectorExpr); ok && len(n.Args) > 0 && (f.Sel.Name == "Add" || f.Sel.Name == "Values" || f.Sel.Name == "Part") {
			where = n.Args[:1]
		}
	case *ast.CompositeLit:
		if s, ok := n.Type.(*ast.SelectorExpr); ok && s.Sel.Name == "Part" {
			where = n.Elts
		}
	}
	var found []string
	for _, e := range where {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			e = kv.Value
		}
		if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if text, err := strconv.Unquote(l.Value); err == nil {
				found = append(found, text)
			}
		}
	}
	return found
}
