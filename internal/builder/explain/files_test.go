package explain

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/layer"
)

func tocOf(t *testing.T, entries ...layer.Entry) *layer.TOC {
	t.Helper()
	list := make([]*layer.Entry, len(entries))
	for i := range entries {
		list[i] = &entries[i]
	}
	toc, err := layer.NewTOC(list)
	if err != nil {
		t.Fatal(err)
	}
	return toc
}

func TestDiffTOC(t *testing.T) {
	file := layer.Entry{Path: "app/a", Type: layer.File, Mode: 0o644, Size: 1, Digest: "sha256:1"}
	other := func(change func(*layer.Entry)) layer.Entry {
		e := file
		change(&e)
		return e
	}
	link := layer.Entry{Path: "app/a", Type: layer.Symlink, Mode: 0o777, Link: "x"}
	for _, test := range []struct {
		name     string
		old, now []layer.Entry
		want     string
	}{
		{"equal", []layer.Entry{file}, []layer.Entry{file}, ""},
		{"times do not count", []layer.Entry{file}, []layer.Entry{other(func(e *layer.Entry) { e.ModTime = 7 })}, ""},
		{"added", nil, []layer.Entry{file}, "app/a added "},
		{"removed", []layer.Entry{file}, nil, "app/a removed "},
		{"contents", []layer.Entry{file}, []layer.Entry{other(func(e *layer.Entry) { e.Digest = "sha256:2" })}, "app/a changed "},
		{"mode", []layer.Entry{file}, []layer.Entry{other(func(e *layer.Entry) { e.Mode = 0o4755 })}, "app/a changed mode 0644 → 4755"},
		{"mode and contents", []layer.Entry{file}, []layer.Entry{other(func(e *layer.Entry) { e.Mode, e.Size = 0o600, 2 })}, "app/a changed mode 0644 → 0600, contents"},
		{"owner", []layer.Entry{file}, []layer.Entry{other(func(e *layer.Entry) { e.UID, e.GID = 1, 2 })}, "app/a changed owner 0:0 → 1:2"},
		{"type", []layer.Entry{file}, []layer.Entry{link}, "app/a changed file → symbolic link"},
		{"link", []layer.Entry{link}, []layer.Entry{{Path: "app/a", Type: layer.Symlink, Mode: 0o777, Link: "y"}}, "app/a changed link to x → y"},
		{"attributes", []layer.Entry{file}, []layer.Entry{other(func(e *layer.Entry) { e.Xattrs = []layer.Xattr{{Name: "user.a", Value: "b"}} })}, "app/a changed extended attributes"},
		{"the way there", []layer.Entry{{Path: "app", Type: layer.Dir, Mode: 0o755}, file}, []layer.Entry{{Path: "app", Type: layer.Dir, Mode: 0o700}, file}, ""},
		{"a directory that was copied", []layer.Entry{{Path: "app/d", Type: layer.Dir, Mode: 0o755}}, []layer.Entry{{Path: "app/d", Type: layer.Dir, Mode: 0o700}}, "app/d changed mode 0755 → 0700"},
	} {
		var got []string
		all, _, err := diffTOC(tocOf(t, test.old...).Each(), tocOf(t, test.now...).Each(), "app")
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all {
			got = append(got, fmt.Sprintf("%s %s %s", d.path(), d.change(), d.detail()))
		}
		if strings.Join(got, "; ") != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestSummary(t *testing.T) {
	for _, test := range []struct {
		r    Reason
		want string
	}{
		{Reason{}, "its sources select the same files in another way"},
		{Reason{Files: []File{{Path: "a", Change: "added"}}}, "a added"},
		{Reason{Files: []File{{Path: "a", Change: "changed", Detail: "mode 1 → 2"}, {Path: "b"}}}, "a changed (mode 1 → 2), and 1 other file"},
		{Reason{Files: []File{{Path: "a", Change: "removed"}, {}}, More: 3}, "a removed, and 4 other files"},
	} {
		if got := summary(&test.r); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

type selected []event.Selected

func (s selected) Selected() []event.Selected { return s }

func nothing(string) bool { return false }

func TestSourceNames(t *testing.T) {
	dir := event.Selected{Path: "src", Name: "src", Dir: true, Holds: func(path string) bool { return path == "a" || path == "sub/b" }}
	file := event.Selected{Path: "x/file", Name: "file"}
	for _, test := range []struct {
		name    string
		dest    string
		destDir bool
		matches []event.Selected
		image   string
		want    string
	}{
		{"in a directory", "/app", false, []event.Selected{dir}, "app/sub/b", "src/sub/b"},
		{"gone from a directory", "/app", false, []event.Selected{dir}, "app/gone", "src/gone"},
		{"gone from one of two", "/app", true, []event.Selected{dir, {Path: "other", Dir: true, Holds: nothing}}, "app/gone", "/app/gone"},
		{"a file under another name", "/etc/conf", false, []event.Selected{file}, "etc/conf", "x/file"},
		{"a file into a directory", "/etc/", true, []event.Selected{file}, "etc/file", "x/file"},
		{"the root", "/", true, []event.Selected{{Path: "", Dir: true, Holds: nothing}}, "main.py", "main.py"},
		{"through a link of the image", "/lib/x", false, []event.Selected{dir}, "usr/lib/x/a", "/usr/lib/x/a"},
	} {
		c := &event.Copied{Dest: test.dest, DestDir: test.destDir, Selection: selected(test.matches)}
		if got := sourceNames(c).of(test.image); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestFirstChange(t *testing.T) {
	for _, test := range []struct {
		name        string
		before, now string
		line        int
		want        []string
	}{
		{"one line", "a\nb\nc\n", "a\nx\nc\n", 2, []string{"-b", "+x"}},
		{"added", "a\nc\n", "a\nb\nc\n", 2, []string{"+b"}},
		{"removed at the end", "a\nb\n", "a\n", 2, []string{"-b"}},
		{"from nothing", "", "a\n", 1, []string{"+a"}},
		{"two places", "a\nb\nc\nd\n", "x\nb\nc\ny\n", 1, []string{"-a", "+x"}},
		{"many", "a\nb\nc\nd\n", "1\n2\n3\n4\n", 1, []string{"-a", "-b", "-c", "+1", "+2", "+3"}},
		{"the end of the last line", "a\n", "a", 0, nil},
		{"control characters", "a\n", "\x1b[2Jb\r\n", 1, []string{"-a", "+?[2Jb"}},
		{"a secret", "a\n", "TOKEN=x\n", 1, []string{"-a", "+TOKEN=(hidden)"}},
		{"a long line", "a\n", strings.Repeat("é", 200), 1, []string{"-a", "+" + strings.Repeat("é", maxLineText-1) + "…"}},
	} {
		line, got := firstChange(test.before, test.now)
		if diff := cmp.Diff(test.want, got); diff != "" || line != test.line {
			t.Errorf("%s: line %d, want %d: %s", test.name, line, test.line, diff)
		}
	}
}
