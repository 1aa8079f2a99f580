package habits

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

// page is where the table is shown, between two marks.
const (
	page  = "../../docs/from-docker.md"
	begin = "<!-- The tables below are made of test/habits/habits.txtar: go test ./test/habits -run TestPage -write -->\n"
	end   = "<!-- End of the tables. -->\n"
)

var write = flag.Bool("write", false, "write the tables into docs/from-docker.md")

// results are what the page says of each mode.
var results = map[string]string{
	"same":    "same output",
	"code":    "same exit code",
	"new":     "works; Docker 20.10, with which this is compared, does not know it",
	"differs": "another exit code: ",
}

// tables are the habits as the page shows them.
func tables(all []habit) string {
	var b strings.Builder
	section := ""
	for _, h := range all {
		if h.mode == "setup" {
			continue
		}
		if h.section != section {
			section = h.section
			fmt.Fprintf(&b, "\n### %s\n\n| as typed | with strata in the place of docker |\n|---|---|\n", section)
		}
		fmt.Fprintf(&b, "| `%s` | %s%s |\n", strings.ReplaceAll(h.line, "|", "\\|"), results[h.mode], h.note)
	}
	return b.String() + "\n"
}

// TestPage: the page shows the habits as they are tested.
func TestPage(t *testing.T) {
	all, _ := readTable(t)
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, hasBegin := strings.Cut(string(data), begin)
	old, after, hasEnd := strings.Cut(rest, end)
	if !hasBegin || !hasEnd {
		t.Fatalf("%s has no place for the tables", page)
	}
	want := tables(all)
	if *write {
		if err := os.WriteFile(page, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old != want {
		t.Errorf("%s does not show the habits as they are: go test ./test/habits -run TestPage -write", page)
	}
}
