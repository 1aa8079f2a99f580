package test

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/strata-build/strata/test/testbed"
)

const troublePage = "docs/troubleshooting.md"

var verb = regexp.MustCompile(`%[a-z]`)

// messages returns the texts in the sources: string literals, those that + joins as one.
func messages(t *testing.T, root string) []string {
	var texts []string
	eachSource(t, root, func(_ string, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			e, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			text, ok := joined(e)
			if ok && text != "" {
				text = strings.ReplaceAll(text, "`", "")
				texts = append(texts, text, verb.ReplaceAllString(text, "")) // a suggestion, for one, is often empty
			}
			return !ok
		})
	})
	return append(texts, syscall.ENOSPC.Error())
}

// joined is the text of a literal or of a sum that has literals in it.
func joined(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		if e.Op != token.ADD {
			return "", false
		}
		left, isLeft := joined(e.X)
		right, isRight := joined(e.Y)
		return left + right, isLeft || isRight
	}
	return "", false
}

// Each error that the page quotes is one that strata prints: what stands between two … is in a text of the sources.
func TestTroubleshooting(t *testing.T) {
	root, err := testbed.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, troublePage))
	if err != nil {
		t.Fatal(err)
	}
	quoted := regexp.MustCompile("(?m)^### `(.+)`$").FindAllStringSubmatch(string(page), -1)
	if len(quoted) < 15 {
		t.Fatalf("%d errors: the page was not understood", len(quoted))
	}
	all := strings.Join(messages(t, root), "\x00")
	for _, m := range quoted {
		if strings.Contains(all, m[1]) { // a … of the message's own
			continue
		}
		for part := range strings.SplitSeq(m[1], "…") {
			if part = strings.Trim(part, " :;,"); !strings.Contains(all, part) {
				t.Errorf("no message has %q, of %q", part, m[1])
			}
		}
	}
}

// readmeMake are the goals of the Makefile that README.md names in its examples. test/install tries make install.
var readmeMake = map[string]bool{"make install": true}

// Every command of README.md's examples is run by test/script/readme.txtar, in the same order. An ID is $STEP there.
func TestReadme(t *testing.T) {
	root, err := testbed.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(filepath.Join(root, "test/script/readme.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	rest, commands := string(script), 0
	id := regexp.MustCompile(`\b[0-9a-f]{12}\b`)
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		for line := range strings.Lines(block[1]) {
			command, ok := strings.CutPrefix(strings.TrimSpace(line), "# ")
			if !ok || readmeMake[command] {
				continue
			}
			commands++
			command = id.ReplaceAllString(command, "$$STEP")
			_, after, found := strings.Cut(rest, command+"\n")
			if !found {
				t.Errorf("test/script/readme.txtar does not run this, at this place: %s", command)
				continue
			}
			rest = after
		}
	}
	if commands < 5 {
		t.Errorf("%d commands: the page was not understood", commands)
	}
}

// The figures in README.md are those of docs/benchmarks.md: its rows begin as rows there do.
func TestReadmeFigures(t *testing.T) {
	root, err := testbed.Root()
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		page, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(page)
	}
	_, table, _ := strings.Cut(read("README.md"), "\n## How it compares\n")
	measured, rows := read("docs/benchmarks.md"), 0
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "## ") {
			break
		}
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		rows++
		if !strings.Contains(measured, "\n"+strings.TrimSpace(line)) {
			t.Errorf("docs/benchmarks.md has no row that begins with %s", strings.TrimSpace(line))
		}
	}
	if rows < 4 {
		t.Errorf("%d rows: the page was not understood", rows)
	}
}

// Links between pages lead somewhere.
func TestLinks(t *testing.T) {
	root, err := testbed.Root()
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, filepath.Join(root, "README.md"), filepath.Join(root, "CHANGELOG.md"))
	link := regexp.MustCompile(`\]\(([^)#: ]*)(?:#([^)]+))?\)`)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			target := page
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(page), m[1])
			}
			content, err := os.ReadFile(target)
			if err != nil && !isFolder(target) {
				t.Errorf("%s links to %s, which is not there", filepath.Base(page), m[1])
			}
			if m[2] != "" && !hasHeading(string(content), m[2]) {
				t.Errorf("%s links to the heading #%s of %s, which is not there", filepath.Base(page), m[2], filepath.Base(target))
			}
		}
	}
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// hasHeading looks for the heading that GitHub gives this anchor.
func hasHeading(page, anchor string) bool {
	for line := range strings.Lines(page) {
		title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !ok || !strings.HasPrefix(line, "#") {
			continue
		}
		kept := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case strings.ContainsRune("`:,.()'/\"?", r):
				return -1
			}
			return r
		}, strings.ToLower(strings.TrimSpace(title)))
		if kept == anchor {
			return true
		}
	}
	return false
}
