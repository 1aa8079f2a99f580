package real

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// leading are steps that come before everything that is copied or mounted of a context, in every example: their keys
// are always the same. They install what there is today, so they are not run again for the comparison.
var leading = []string{"target=/var/lib/apt,", "python -m venv"}

// dated are files that hold the time at which they were made, modules that Python has compiled, and timeNamed those that
// have it as their name: npm's logs.
var (
	dated     = regexp.MustCompile(`/__pycache__/.*\.pyc$`)
	timeNamed = regexp.MustCompile(`/\.npm/_logs/[0-9TZ_-]+-debug-\d+\.log$`)
)

// A row of the table says what came of an example's steps when it was built after a change.
type row struct {
	Example, Change string
	Ran             []string // steps that ran
	Read            []string // steps that were hits by what they had read
	Same            int      // how many steps were hits by their keys
	Compared        bool     // the results with those of a build that runs all
}

// changeAll makes the example's changes one after the other, and builds the image, and the stage that runs the
// example's own tests, after each. Then it compares all of them with what comes of running their steps.
func (b *bench) changeAll() (rows []row) {
	targets := [][]string{nil}
	if b.example.check != "" {
		targets = append(targets, []string{"--target", b.example.check})
	}
	for _, args := range targets {
		b.build(args...)
	}
	var compare []func()
	for i, script := range b.example.changes {
		command(b.t, b.dir, "sh", "-euc", script)
		r := row{Example: b.example.name, Change: script}
		then := fmt.Sprintf("%s.%d", b.dir, i) // the context as it is now
		check(b.t, os.CopyFS(then, os.DirFS(b.dir)))
		for j, args := range targets {
			cached := fmt.Sprintf("%s:cached%d.%d", b.image, i, j)
			steps, _ := b.build(append([]string{"-t", cached}, args...)...)
			r.add(steps)
			if *uncached || slices.ContainsFunc(steps, func(s step) bool { return s.read() != "" }) {
				r.Compared = true
				compare = append(compare, func() { b.compare(then, cached, script, steps, args) })
			}
		}
		rows = append(rows, r)
	}
	for _, c := range compare {
		c()
	}
	return rows
}

// compare builds a context as it was after a change without taking steps from the cache, and compares the result with
// what came of the cache then.
func (b *bench) compare(context, cached, script string, steps []step, args []string) {
	b.t.Helper()
	const plain = "real/uncached"
	again := append([]string{"-t", plain}, args...)
	for _, s := range steps {
		if !slices.ContainsFunc(leading, func(text string) bool { return strings.Contains(s.instruction, text) }) {
			again = append(again, "--no-cache-filter", s.place())
		}
	}
	now := b.dir
	b.dir = context
	b.build(again...)
	b.dir = now
	for _, line := range differences(b.t, cached, plain) {
		b.t.Errorf("after %s, the build %v differs from one without the cache: %s", script, args, line)
	}
}

// differences are what two images have not in common.
func differences(t *testing.T, a, b string) (lines []string) {
	t.Helper()
	var d struct {
		Files []struct{ Change, Path, Detail string }
		// Config is what their configurations have not in common.
		Config []json.RawMessage
	}
	check(t, json.Unmarshal([]byte(command(t, "", "strata", "diff", "--json", a, b)), &d))
	for _, f := range d.Files {
		if !timeNamed.MatchString(f.Path) && (f.Change != "changed" || !dated.MatchString(f.Path)) {
			lines = append(lines, fmt.Sprintf("%s was %s (%s)", f.Path, f.Change, f.Detail))
		}
	}
	for _, c := range d.Config {
		lines = append(lines, string(c))
	}
	return lines
}

// add adds steps, but for those that an earlier build has told of: in this one they are hits by their keys.
func (r *row) add(steps []step) {
	for _, s := range steps {
		name := s.short()
		switch known := slices.Contains(r.Ran, name) || slices.ContainsFunc(r.Read, func(text string) bool { return strings.HasPrefix(text, name+" (") }); {
		case known:
		case !s.cached:
			r.Ran = append(r.Ran, name)
		case s.read() != "":
			r.Read = append(r.Read, name+" ("+s.read()+")")
		default:
			r.Same++
		}
	}
}

var (
	placeOf = regexp.MustCompile(`^\[(?:(\S+) )?(\d+)/\d+\] `)
	flagOf  = regexp.MustCompile(`\s+--\S+(\s+"\w+://\S+)?|\s+\(set -.*\)`)
	readOf  = regexp.MustCompile(`^read (?:(none|\d+) of (\d+)|the one) `)
)

// place is what --no-cache-filter calls the step: build:2.
func (s step) place() string {
	m := placeOf.FindStringSubmatch(s.instruction)
	if m[1] == "" {
		return m[2]
	}
	return m[1] + ":" + m[2]
}

// short is the step as a table has room for it: its stage, where that has a name, and how its instruction begins.
func (s step) short() string {
	const room = 26
	m := placeOf.FindStringSubmatch(s.instruction)
	text := flagOf.ReplaceAllString(s.instruction[len(m[0]):], "")
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > room {
		text = strings.TrimSpace(text[:room]) + "…"
	}
	if m[1] == "" || strings.HasPrefix(m[1], "stage-") {
		return "`" + text + "`"
	}
	return m[1] + " `" + text + "`"
}

// read is how much the step has read of what was copied or mounted, "" unless that made it a hit: "2 of 5".
func (s step) read() string {
	switch m := readOf.FindStringSubmatch(s.remark); {
	case m == nil:
		return ""
	case m[1] == "":
		return "1 of 1"
	default:
		return m[1] + " of " + m[2]
	}
}

// table is a table of what came of all changes, with the sum above it.
func table(rows []row) string {
	var b strings.Builder
	var ran, read, same, compared int
	for _, r := range rows {
		ran, read, same = ran+len(r.Ran), read+len(r.Read), same+r.Same
		if r.Compared {
			compared++
		}
	}
	fmt.Fprintf(&b, "%d edits, %d steps: %d ran, %d were hits by what they had read, %d by their keys. After %d edits, all with such a hit among\n"+
		"them, the results were compared with those of running the steps, and are the same.\n\n", len(rows), ran+read+same, ran, read, same, compared)
	b.WriteString("| | edit | ran | hits by what they had read | by key |\n|---|---|---|---|---|\n")
	name := ""
	for _, r := range rows {
		if r.Example != name {
			name = r.Example
		} else {
			r.Example = ""
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %d |\n", r.Example, r.Change, strings.Join(r.Ran, ", "), strings.Join(r.Read, ", "), r.Same)
	}
	return b.String()
}

// Where documents have the tables.
const (
	tableBegins    = "<!-- made by make test-real TABLE=docs/observed.md -->\n\n"
	packagesBegins = "<!-- made by make test-real PACKAGES=docs/scan.md -->\n\n"
	tableEnds      = "\n<!-- end of the table -->\n"
)

// keepRows keeps rows in a file, in the place of those of the same examples, and returns all that are there.
func keepRows(t *testing.T, file string, rows []row) (all []row) {
	t.Helper()
	var kept []row
	text, err := os.ReadFile(file)
	if !os.IsNotExist(err) {
		check(t, err)
		check(t, json.Unmarshal(text, &kept))
	}
	for _, e := range examples {
		of := func(r row) bool { return r.Example != e.name }
		mine := slices.DeleteFunc(slices.Clone(rows), of)
		if len(mine) == 0 {
			mine = slices.DeleteFunc(slices.Clone(kept), of)
		}
		all = append(all, mine...)
	}
	text, err = json.Marshal(all)
	check(t, err)
	check(t, os.WriteFile(file, text, 0o644))
	return all
}

// writeTable puts a table into a document, behind the line that it begins with.
func writeTable(t *testing.T, file, begins, table string) {
	t.Helper()
	text, err := os.ReadFile(file)
	check(t, err)
	before, rest, ok := strings.Cut(string(text), begins)
	_, after, found := strings.Cut(rest, tableEnds)
	if !ok || !found {
		t.Fatalf("%s has no place for the table", file)
	}
	check(t, os.WriteFile(file, []byte(before+begins+table+tableEnds+after), 0o644))
}
