package bake

import (
	"testing"
)

// TestFileRelativePaths: with BUILDX_BAKE_FILE_RELATIVE_PATHS a path of a context is relative to the file that has it.
func TestFileRelativePaths(t *testing.T) {
	hcls := []File{
		{"one/docker-bake.hcl", []byte(`
			target "base" {
				context = "src"
				contexts = { lib = "lib", tools = "target:none", image = "docker-image://busybox", here = "cwd://x" }
			}
			target "sole" { context = "src" }
			target "none" {}
			target "none-too" { inherits = ["none"] }
			target "url" { context = "https://example.com/app.git" }
			target "abs" { context = "/abs" }`)},
		{"two/docker-bake.hcl", []byte(`
			target "base" { contexts = { lib = "lib", more = "../more" } }
			target "heir" { inherits = ["base"] }
			target "taken" { context = target.sole.context }
			target "again" { context = "cwd://." }`)},
	}
	compose := []File{
		{"project/compose.yaml", []byte("services:\n  app:\n    build:\n      context: ./app\n")},
		{"over/compose.yaml", []byte("services:\n  app:\n    build:\n      additional_contexts:\n        shared: ./shared\n")},
	}
	for _, test := range []struct {
		files    []File
		variable string
		target   string
		context  string
		contexts map[string]string
	}{
		{hcls, "1", "base", "one/src", map[string]string{"lib": "two/lib", "more": "more", "tools": "target:none", "image": "docker-image://busybox", "here": "cwd://x"}},
		{hcls, "true", "heir", "one/src", map[string]string{"lib": "two/lib"}},
		{hcls, "1", "taken", "one/src", nil},
		{hcls, "1", "none", "one", nil},
		{hcls, "1", "none-too", "one", nil},
		{hcls, "1", "again", ".", nil},
		{hcls, "1", "url", "https://example.com/app.git", nil},
		{hcls, "1", "abs", "/abs", nil},
		{hcls, "", "base", "src", map[string]string{"lib": "lib", "more": "../more"}},
		{hcls, "0", "none", ".", nil},
		{compose, "1", "app", "project/app", map[string]string{"shared": "project/shared"}},
		{compose, "", "app", "app", map[string]string{"shared": "shared"}},
	} {
		t.Setenv(relativeVariable, test.variable)
		c, err := Parse(test.files, Environment{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := c.Plan([]string{test.target}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := p.Targets[test.target]
		if *got.Context != test.context {
			t.Errorf("%s=%s: context of %s is %s, want %s", relativeVariable, test.variable, test.target, *got.Context, test.context)
		}
		for name, want := range test.contexts {
			if got.Contexts[name] != want {
				t.Errorf("%s=%s: context %s of %s is %s, want %s", relativeVariable, test.variable, name, test.target, got.Contexts[name], want)
			}
		}
	}
	t.Setenv(relativeVariable, "maybe")
	if _, err := Parse(hcls, Environment{}); err == nil {
		t.Error("no error for a value that is neither true nor false")
	}
}
