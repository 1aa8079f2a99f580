package buildcontext

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/selection"
)

// What --parents and --exclude select, as the targets of the items; "~" marks a directory that is only on the way.
func TestSelectFiltered(t *testing.T) {
	dir := plant(t, "a/b/c/f: 1", "a/b/c/g.md: 2", "a/b/x/f: 3", "a/top.md: 4", "e/f: 5", "l -> a")
	for _, tt := range []struct {
		pattern string
		o       selection.Options
		want    string
		err     string
	}{
		{"a", selection.Options{Exclude: []string{"*.md"}}, "b b/c b/c/f b/c/g.md b/x b/x/f", ""},
		{"a", selection.Options{Exclude: []string{"**/*.md"}}, "b b/c b/c/f b/x b/x/f", ""},
		{"a", selection.Options{Exclude: []string{"b/c/"}}, "b b/x b/x/f top.md", ""},
		{"a", selection.Options{Exclude: []string{"/b/c", "./b/x"}}, "b b/c b/c/f b/c/g.md top.md", ""}, // not relative: nothing
		{"a", selection.Options{Exclude: []string{"b", "!b/x"}}, "~b b/x b/x/f top.md", ""},
		{"a", selection.Options{Exclude: []string{"**", "!**/f"}}, "~b ~b/c b/c/f ~b/x b/x/f", ""},
		{"a", selection.Options{Exclude: []string{"!b", "b"}}, "top.md", ""},
		{"a", selection.Options{Exclude: []string{"*"}}, "", ""},
		{"a/*", selection.Options{Exclude: []string{"c", "top.md"}}, "x x/f", ""},
		{"a/top.md", selection.Options{Exclude: []string{"*.md"}}, "", ""},
		{"a", selection.Options{Exclude: []string{"[b"}}, "", "COPY --exclude: "},
		{"a/b/c/f", selection.Options{Parents: true}, "~a ~a/b ~a/b/c a/b/c/f", ""},
		{"/a/./b/c", selection.Options{Parents: true}, "~b b/c b/c/f b/c/g.md", ""},
		{"a/b/./../b/x", selection.Options{Parents: true}, "", "no such file"},
		{"./a/*/c/*.md", selection.Options{Parents: true}, "~a ~a/b ~a/b/c a/b/c/g.md", ""},
		{"**/f", selection.Options{Parents: true}, "~a ~a/b ~a/b/c a/b/c/f ~a/b/x a/b/x/f ~e e/f", ""},
		{"a/**/c", selection.Options{Parents: true, Exclude: []string{"**/*.md"}}, "~a ~a/b a/b/c a/b/c/f", ""},
		{"a/b", selection.Options{Parents: true, Exclude: []string{"a/b"}}, "", "no such file"},
		{"nothing/**", selection.Options{Parents: true}, "", ""},
		{"a/nothing", selection.Options{Parents: true}, "", "no such file"},
		{"l/b/c/f", selection.Options{Parents: true}, "", "no such file"}, // a link is no directory on the way
		{"l/./b/c/f", selection.Options{Parents: true}, "~b ~b/c b/c/f", ""},
		{"[a", selection.Options{Parents: true}, "", ""},
		{".", selection.Options{Parents: true}, "", "nothing to copy"},
	} {
		tt.o.AllowEmpty = true
		ms, err := selection.Select(bg, open(t, dir, Options{}), tt.pattern, tt.o)
		if tt.err != "" || err != nil {
			if err == nil || tt.err == "" || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s %v: error %v, want %q", tt.pattern, tt.o, err, tt.err)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, targets(ms)); diff != "" {
			t.Errorf("%s %v (-want +got):\n%s", tt.pattern, tt.o, diff)
		}
	}
}

func targets(ms []selection.Match) string {
	var all []string
	for _, m := range ms {
		for _, it := range collect(m.Items) {
			if it.OnTheWay {
				all = append(all, "~"+it.Target)
			} else {
				all = append(all, it.Target)
			}
		}
	}
	return strings.Join(all, " ")
}

// A directory that is only on the way has a sum of its own: the copy treats it differently.
func TestSumOnTheWay(t *testing.T) {
	c := open(t, plant(t, "a/f: 1"), Options{})
	ms, err := selection.Select(bg, c, "a", selection.Options{Parents: true})
	must(t, err)
	items := collect(ms[0].Items)
	selected, err := selection.Sum(bg, c, selection.List(items...))
	must(t, err)
	items[0].OnTheWay = true
	onTheWay, err := selection.Sum(bg, c, selection.List(items...))
	must(t, err)
	if selected == onTheWay {
		t.Error("both have the sum", selected)
	}
}

// Whatever the patterns are: no panic, each item's directory comes before it unless it is the match's own, nothing
// comes twice, and what an exclude matches by its whole name is not selected.
func FuzzFilter(f *testing.F) {
	for _, seed := range [][2]string{
		{"a/**/f", "**/*.md"}, {"a/./b", "!b"}, {"**", "a/b/**"}, {"/./", "["}, {"a/b*/./c", "**\n!**/f"}, {"*", `\*`}, {"", ""},
	} {
		f.Add(seed[0], seed[1], true)
		f.Add(seed[0], seed[1], false)
	}
	dir := plant(f, "a/b/c/f: 1", "a/b/c/g.md: 2", "a/b/x/f: 3", "a/top.md: 4", "e/f: 5", "l -> a")
	f.Fuzz(func(t *testing.T, pattern, exclude string, parents bool) {
		if len(pattern)+len(exclude) > 200 {
			return
		}
		o := selection.Options{AllowEmpty: true, Parents: parents, Exclude: strings.Split(exclude, "\n")}
		ms, err := selection.Select(bg, open(t, dir, Options{}), pattern, o)
		if err != nil {
			return
		}
		for _, m := range ms {
			seen := map[string]bool{"": true}
			for _, it := range collect(m.Items) {
				if m.Dir && (seen[it.Target] || !seen[layer.Parent(it.Target)]) {
					t.Errorf("%q without %q: %q of %s", pattern, exclude, it.Target, targets(ms))
				}
				if m.Dir && !it.OnTheWay && it.Target == exclude {
					t.Errorf("%q is selected though it is excluded", it.Target)
				}
				seen[it.Target] = true
			}
		}
	})
}
