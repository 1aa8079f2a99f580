package buildcontext

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/strata-build/strata/internal/layer/selection"
)

func list(t *testing.T, c *Context) string {
	t.Helper()
	ms, err := selection.Select(bg, c, ".", selection.Options{})
	must(t, err)
	var names []string
	for _, it := range collect(ms[0].Items) {
		names = append(names, it.Target)
	}
	return strings.Join(names, " ")
}

func TestDockerignore(t *testing.T) {
	files := []string{"README.md", "a/b/c.go", "a/b/d.md", "a/e.go", "a/node_modules/m/i.js", "node_modules/x/y.js", "z"}
	const all = "README.md a a/b a/b/c.go a/b/d.md a/e.go a/node_modules a/node_modules/m a/node_modules/m/i.js " +
		"node_modules node_modules/x node_modules/x/y.js z"
	for _, tt := range []struct{ rules, want string }{
		{"", all},
		{"# a\n#z", all},
		{"\ufeffz", strings.TrimSuffix(all, " z")},
		{"q\n\ufeffz", all},
		{"  z  \r\n", strings.TrimSuffix(all, " z")},
		{"/z", strings.TrimSuffix(all, " z")},
		{"./z", strings.TrimSuffix(all, " z")},
		{"*", ""},
		{"**", ""},
		{"*\n!z", "z"},
		{"*\n!a/b", "a a/b a/b/c.go a/b/d.md"},
		{"*\n!a/b/c.go\n!none", "a a/b a/b/c.go"},
		{"**\n!**/*.go", "a a/b a/b/c.go a/e.go"},
		{"a\n!a/*.go\nz\nnode_modules", "README.md a a/e.go"},
		{"*\n!a/*", "a a/b a/b/c.go a/b/d.md a/e.go a/node_modules a/node_modules/m a/node_modules/m/i.js"},
		{"**/node_modules\nREADME*", "a a/b a/b/c.go a/b/d.md a/e.go z"},
		{"node_modules\n*.md\nz", "a a/b a/b/c.go a/b/d.md a/e.go a/node_modules a/node_modules/m a/node_modules/m/i.js"},
		{"**/*.md\n!README.md\n*/node_modules\nnode_modules/**\nz", "README.md a a/b a/b/c.go a/e.go node_modules"},
		{"!z\n*", ""},
		{"a/?\n[^az]*", "a a/e.go a/node_modules a/node_modules/m a/node_modules/m/i.js z"},
	} {
		dir := plant(t, files...)
		must(t, os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte(tt.rules), 0o644))
		c := open(t, dir, Options{})
		got := strings.TrimPrefix(strings.TrimPrefix(list(t, c), ".dockerignore"), " ")
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q: %s", tt.rules, diff)
		}
		patterns, err := ignorefile.ReadAll(strings.NewReader(tt.rules))
		must(t, err)
		pm, err := patternmatcher.New(patterns)
		must(t, err)
		for _, p := range strings.Fields(all) {
			want, err := pm.MatchesOrParentMatches(p)
			must(t, err)
			if c.Ignored(p) != want {
				t.Errorf("%q: Ignored(%q) = %v", tt.rules, p, !want)
			}
		}
	}
}

func TestExcludedNotEntered(t *testing.T) {
	c := open(t, plant(t, "skip/deep/x", "keep/x", ".dockerignore: skip\n!keep/x\n"), Options{})
	if got := list(t, c); got != ".dockerignore keep keep/x" {
		t.Error(got)
	}
	if c.top.child("skip") != nil {
		t.Error("an excluded directory without exceptions was looked at")
	}
}

func TestIgnoredBy(t *testing.T) {
	c := open(t, plant(t, ".dockerignore: # comment\n*.log\n!keep.log\n\nkeep.*\n"), Options{})
	for path, line := range map[string]int{"x.log": 2, "keep.log": 5, "keep.x": 5, "other": 0} {
		if rule, ok := c.IgnoredBy(path); ok != (line > 0) || rule.Line != line {
			t.Errorf("%s: %v %v", path, rule, ok)
		}
	}
}

func TestWhichDockerignore(t *testing.T) {
	other := plant(t, "My: FROM scratch", "My.dockerignore: b")
	dir := plant(t, "a", "b", "c", ".dockerignore: a\n.*", "sub/D", "sub/D.dockerignore: c\n.*\nsub")
	for dockerfile, want := range map[string]string{
		"":                              "b c sub sub/D sub/D.dockerignore",
		"-":                             "b c sub sub/D sub/D.dockerignore",
		filepath.Join(dir, "none"):      "b c sub sub/D sub/D.dockerignore",
		filepath.Join(dir, "sub/D"):     "a b",
		filepath.Join(other, "My"):      ".dockerignore a c sub sub/D sub/D.dockerignore",
		filepath.Join(dir, "a/nodir"):   "b c sub sub/D sub/D.dockerignore",
		filepath.Join(other, "nowhere"): "b c sub sub/D sub/D.dockerignore",
	} {
		if got := list(t, open(t, dir, Options{Dockerfile: dockerfile})); got != want {
			t.Errorf("%q: %s", dockerfile, got)
		}
	}
}

func TestBadDockerignore(t *testing.T) {
	for text, want := range map[string]string{"ok\n!\n": ".dockerignore line 2", "a\n\n[z\n": ".dockerignore line 3"} {
		if _, err := Open(plant(t, ".dockerignore: "+text), Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestReadFile(t *testing.T) {
	secret := plant(t, "s: secret")
	c := open(t, plant(t, "Dockerfile: FROM scratch", ".dockerignore: *", "l -> Dockerfile",
		"out -> "+filepath.Join(secret, "s"), "d/"), Options{})
	for name, want := range map[string]string{"Dockerfile": "FROM scratch", "l": "FROM scratch", ".dockerignore": "*"} {
		if b, err := c.ReadFile(name); err != nil || string(b) != want {
			t.Errorf("%s: %q %v", name, b, err)
		}
		if _, err := c.Lookup(bg, name); err == nil {
			t.Errorf("%s is not excluded", name)
		}
	}
	for _, name := range []string{"out", "../x", "d", "none"} {
		if b, err := c.ReadFile(name); err == nil {
			t.Errorf("%s: %q", name, b)
		}
	}
}
