package buildcontext

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/selection"
)

func collect(items selection.Items) (all []selection.Item) {
	_ = items(bg, func(it *selection.Item) error {
		all = append(all, *it)
		return nil
	})
	return all
}

// show writes matches as "path[/] target[=link]…".
func show(ms []selection.Match) (out []string) {
	for _, m := range ms {
		s := "/" + m.Path
		if m.Dir {
			s += "/"
		}
		for _, it := range collect(m.Items) {
			s += " " + it.Target
			if it.Name != "" {
				s += "@" + it.Name
			}
			if it.Entry.Type == layer.Symlink {
				s += "->" + it.Entry.Link
			}
			if it.Link != "" {
				s += "=" + it.Link
			}
			if m.Dir && !strings.HasSuffix(it.Entry.Path, it.Target) || !m.Dir && it.Entry.Path != m.Path {
				s += "!" + it.Entry.Path
			}
		}
		out = append(out, s)
	}
	return out
}

func TestSelect(t *testing.T) {
	c := open(t, plant(t,
		"f: 1", "dir/b/c: 2", "dir/a.txt: 3", "dir/b.txt: 3", "dir/l -> a.txt", "dir/out -> /etc/passwd", "empty/",
		"linkf -> f", "linkd -> dir", "abs -> /dir/b", "chain -> linkd/b", "up -> ../../f", "dangling -> nowhere",
		"out -> ../nowhere", "abs2 -> /no/such", "loop1 -> loop2", "loop2 -> loop1", "toparent -> dir/..",
		"hidden/x", "sub/hide/me", "hl/a: 5", "hl/b = hl/a", "hl2 = hl/a", `we*ird: 6`, "[x]: 7", ".hid: 8", "Makefile: 9",
		`back\slash: 1`, "tohidden -> hidden/x", ".dockerignore: hidden\n\nsub/hide\n",
	), Options{})
	for _, tt := range []struct {
		pattern string
		want    []string // or
		err     string
	}{
		// The leading slash, "./" and a trailing slash do not matter.
		{"f", []string{"/f @f"}, ""},
		{"/f", []string{"/f @f"}, ""},
		{"./f", []string{"/f @f"}, ""},
		{"dir/../f", []string{"/f @f"}, ""},
		{"hl/", []string{"/hl/ a b=a"}, ""},
		// A directory stands for its contents, in canonical order; symlinks in it stay.
		{"dir", []string{"/dir/ a.txt b b/c b.txt l->a.txt out->/etc/passwd"}, ""},
		{"empty", []string{"/empty/"}, ""},
		// ".." stays inside; if nothing is there, it led out.
		{"../f", []string{"/f @f"}, ""},
		{"../../dir/b", []string{"/dir/b/ c"}, ""},
		{"../g", nil, "forbidden path outside the build context: ../g;"},
		{"/../g", nil, "forbidden path outside the build context: /../g;"},
		{"../g*", nil, "forbidden path outside the build context: ../g*;"},
		// Wildcards.
		{"dir/*.txt", []string{"/dir/a.txt @a.txt", "/dir/b.txt @b.txt"}, ""},
		{"d?r/b/*", []string{"/dir/b/c @c"}, ""},
		{"[a-e]*/[b]", []string{"/dir/b/ c"}, ""},
		{"dir/**", []string{"/dir/a.txt @a.txt", "/dir/b/ c", "/dir/b.txt @b.txt", "/dir/l @l!dir/a.txt"}, "symlink /dir/out leads to /etc/passwd"},
		{"*/c", nil, "COPY failed: */c: no such file"},
		{"?", []string{"/f @f"}, ""},
		{".hi*", []string{"/.hid @.hid"}, ""},
		{"*hid", []string{"/.hid @.hid"}, ""},
		{`we\*ird`, nil, "no such file"}, // without a wildcard the backslash is part of the name
		{`back\slash`, []string{`/back\slash @back\slash`}, ""},
		{`w?\*ird`, []string{"/we*ird @we*ird"}, ""},
		{"[[]x]", []string{"/[x] @[x]"}, ""},
		{"[x", nil, "this is no pattern"},
		{"f/*", nil, "no such file"},
		{"nodir/*", nil, "COPY failed: nodir/* (/nodir): no such file"},
		{"nothing*", nil, "no such file"},
		// Symlinks at the top and on the way are followed, absolute ones from the root.
		{"linkf", []string{"/linkf @linkf!f"}, ""},
		{"linkd", []string{"/linkd/ a.txt b b/c b.txt l->a.txt out->/etc/passwd"}, ""},
		{"linkd/b", []string{"/linkd/b/ c"}, ""},
		{"linkd/*.txt", []string{"/dir/a.txt @a.txt", "/dir/b.txt @b.txt"}, ""},
		{"link?", []string{"/linkd/ a.txt b b/c b.txt l->a.txt out->/etc/passwd", "/linkf @linkf!f"}, ""},
		{"link?/b", nil, "no such file"}, // a wildcard does not go through symlinks
		{"abs", []string{"/abs/ c"}, ""},
		{"chain", []string{"/chain/ c"}, ""},
		{"up", []string{"/up @up!f"}, ""}, // ".." stops at the root
		{"toparent/f", []string{"/toparent/f @f!f"}, ""},
		{"dangling", nil, "COPY failed: dangling (/nowhere): no such file"},
		{"out", nil, "outside the build context: out: symlink /out leads to ../nowhere"},
		{"abs2/x", nil, "outside the build context: abs2/x: symlink /abs2 leads to /no/such"},
		{"loop1", nil, "too many levels of symbolic links"},
		// .dockerignore.
		{"hidden/x", nil, "COPY failed: hidden/x is in the build context but excluded by .dockerignore line 1 (hidden)"},
		{"hidden", nil, "excluded by .dockerignore line 1"},
		{"sub/hide/me", nil, "excluded by .dockerignore line 3 (sub/hide)"},
		{"tohidden", nil, "COPY failed: tohidden (/hidden/x) is in the build context but excluded"},
		{"hidden/nope", nil, "no such file"},
		{"sub", []string{"/sub/"}, ""},
		// Hard links count inside one match.
		{"hl", []string{"/hl/ a b=a"}, ""},
		{"hl/*", []string{"/hl/a @a", "/hl/b @b"}, ""},
		// Near misses.
		{"makefile", nil, "did you mean Makefile?"},
		{"dir/a.tx", nil, "did you mean dir/a.txt?"},
		{"dri/b/c", nil, "did you mean dir?"},
		{"f/g", nil, "no such file"},
	} {
		ms, err := selection.Select(bg, c, tt.pattern, selection.Options{})
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error %v, want %s; matches %v", tt.pattern, err, tt.err, show(ms))
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.pattern, err)
		} else if diff := cmp.Diff(tt.want, show(ms)); diff != "" {
			t.Errorf("%s: %s", tt.pattern, diff)
		}
	}
}

func TestSelectRoot(t *testing.T) {
	c := open(t, plant(t, "a/b", "c"), Options{})
	for _, pattern := range []string{"", ".", "/", "./", "a/..", ".."} {
		ms, err := selection.Select(bg, c, pattern, selection.Options{})
		if diff := cmp.Diff([]string{"// a a/b c"}, show(ms)); diff != "" || err != nil || ms[0].Name != "" {
			t.Errorf("%q: %v %s", pattern, err, diff)
		}
	}
}

func TestSelectOptions(t *testing.T) {
	c := open(t, plant(t, "f"), Options{})
	var outside *selection.OutsideError
	if _, err := selection.Select(bg, c, "../f", selection.Options{Strict: true}); !errors.As(err, &outside) {
		t.Error("strict:", err)
	}
	if ms, err := selection.Select(bg, c, "x*", selection.Options{AllowEmpty: true}); err != nil || len(ms) != 0 {
		t.Error("allow empty:", ms, err)
	}
	var missing *selection.NotFoundError
	if _, err := selection.Select(bg, c, "x", selection.Options{AllowEmpty: true}); !errors.As(err, &missing) || !errors.Is(err, fs.ErrNotExist) {
		t.Error("a source without wildcards must be there:", err)
	}
	if _, err := selection.Select(bg, c, "x", selection.Options{Instruction: "ADD"}); err == nil || !strings.HasPrefix(err.Error(), "ADD failed: x:") {
		t.Error("instruction:", err)
	}
	canceled, cancel := context.WithCancel(bg)
	cancel()
	if _, err := selection.Select(canceled, open(t, plant(t, "d/f"), Options{}), ".", selection.Options{}); !errors.Is(err, context.Canceled) {
		t.Error("canceled:", err)
	}
}
