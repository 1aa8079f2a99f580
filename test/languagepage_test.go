package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/command"

	"github.com/strata-build/strata/test/testbed"
)

const languagePage = "docs/dockerfile.md"

// pageRow is a row of the page's tables: what it is about, whether there is such a thing, and the test or the reason.
type pageRow struct{ about, mark, proof string }

// languageRows reads the tables whose second column is a mark. A `\|` in a cell is no border.
func languageRows(t *testing.T, root string) []pageRow {
	page, err := os.ReadFile(filepath.Join(root, languagePage))
	if err != nil {
		t.Fatal(err)
	}
	var rows []pageRow
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.ReplaceAll(strings.TrimSpace(line), `\|`, "\x00"), "|")
		if len(cells) != 5 || strings.TrimSpace(cells[2]) == "" || strings.HasPrefix(cells[2], "-") {
			continue
		}
		rows = append(rows, pageRow{strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3])})
	}
	return rows
}

// Every row of docs/dockerfile.md names a test that exists, or a reason.
func TestLanguagePage(t *testing.T) {
	root, err := testbed.Root()
	if err != nil {
		t.Fatal(err)
	}
	rows := languageRows(t, root)
	if len(rows) < 200 {
		t.Fatalf("%d rows: the tables were not understood", len(rows))
	}
	seen := map[string]bool{}
	for _, row := range rows {
		if seen[row.about] {
			t.Errorf("%s: twice", row.about)
		}
		seen[row.about] = true
		names := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row.proof, -1)
		switch row.mark {
		case "✔":
			if len(names) == 0 {
				t.Errorf("%s: no test is named", row.about)
			}
			for _, name := range names {
				if !testExists(t, root, name[1]) {
					t.Errorf("%s: there is no test %s", row.about, name[1])
				}
			}
		case "✗":
			if row.proof == "" {
				t.Errorf("%s: no reason is given", row.about)
			}
		default:
			t.Errorf("%s: %q is neither ✔ nor ✗", row.about, row.mark)
		}
	}
	for name := range command.Commands {
		name = strings.ToUpper(name)
		found := false
		for about := range seen {
			found = found || strings.Contains(about, name)
		}
		if !found {
			t.Errorf("%s has no row", name)
		}
	}
}

// testExists knows a transcript script/NAME, a comparison equal/NAME, and package.TestName.
func testExists(t *testing.T, root, name string) bool {
	kind, rest, _ := strings.Cut(name, "/")
	switch kind {
	case "script":
		return exists(filepath.Join(root, "test/script", rest+".txtar"))
	case "equal":
		return exists(filepath.Join(root, "test/equal/cases", rest+".txtar"))
	}
	dir, function, ok := strings.Cut(name, ".")
	if !ok || !regexp.MustCompile(`^(Test|Fuzz)\w+$`).MatchString(function) {
		return false
	}
	var files []string
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(name string, _ os.DirEntry, err error) error {
		if filepath.Base(filepath.Dir(name)) == dir && strings.HasSuffix(name, "_test.go") {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(source), "\nfunc "+function+"(") {
			return true
		}
	}
	return false
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
