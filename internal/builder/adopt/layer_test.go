package adopt

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

func TestCompareLayers(t *testing.T) {
	type entry = layer.Entry
	dir := func(path string) entry { return entry{Path: path, Type: layer.Dir, Mode: 0o755, ModTime: 1} }
	file := func(path, text string) entry {
		return entry{Path: path, Type: layer.File, Mode: 0o644, Size: int64(len(text)), Digest: digest.FromString(text), ModTime: 2}
	}
	toc := func(entries ...entry) *layer.TOC {
		var list []*entry
		for _, e := range entries {
			list = append(list, &e)
		}
		c, err := layer.NewTOC(list)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	tmp := entry{Path: "tmp", Type: layer.Dir, Mode: 0o1777}
	below := layer.NewStack(layer.TarSource("", toc(dir("app"), file("app/old", "old"), tmp)))
	made := []entry{file("app/a", "text"), dir("app/d"), file("app/d/b", "b"),
		{Path: "app/d/l", Type: layer.Symlink, Link: "b", Mode: 0o777}, {Path: "app/d/z", Type: layer.Hardlink, Link: "app/d/b"}}

	with := func(change func(e *entry), more ...entry) []entry {
		there := append([]entry{dir("app")}, made...)
		for i := range there {
			there[i].ModTime = 99
			if change != nil {
				change(&there[i])
			}
		}
		return append(there, more...)
	}
	at := func(path string, f func(e *entry)) func(*entry) {
		return func(e *entry) {
			if e.Path == path {
				f(e)
			}
		}
	}
	for _, tt := range []struct {
		name  string
		there []entry
		want  string // "" if it is the same
	}{
		{"the same at another time", with(nil), ""},
		{"with the root", with(nil, dir("")), ""},
		{"without the parents", with(nil)[1:], ""},
		{"mode of a symbolic link", with(at("app/d/l", func(e *entry) { e.Mode = 0o755 })), ""},
		{"one byte", with(at("app/a", func(e *entry) { e.Digest = digest.FromString("tExt") })), "the content of /app/a differs"},
		{"one byte in a file with two names", with(at("app/d/b", func(e *entry) { e.Digest = digest.FromString("B") })), "the content of /app/d/b"},
		{"size", with(at("app/a", func(e *entry) { e.Size++ })), "the content of /app/a"},
		{"mode", with(at("app/a", func(e *entry) { e.Mode = 0o600 })), "the mode (0644 and 0600) of /app/a"},
		{"setuid", with(at("app/d/b", func(e *entry) { e.Mode = 0o4644 })), "the mode"},
		{"mode of a directory", with(at("app/d", func(e *entry) { e.Mode = 0o700 })), "the mode"},
		{"user", with(at("app/a", func(e *entry) { e.UID = 1 })), "the owner (0:0 and 1:0) of /app/a"},
		{"group", with(at("app/a", func(e *entry) { e.GID = 1 })), "the owner"},
		{"type", with(at("app/a", func(e *entry) { *e = entry{Path: "app/a", Type: layer.Fifo, Mode: 0o644} })), "the type"},
		{"target of a link", with(at("app/d/l", func(e *entry) { e.Link = "c" })), "the target of /app/d/l"},
		{"hard link that is a copy", with(at("app/d/z", func(e *entry) { *e = file("app/d/z", "b") })), "the type of /app/d/z"},
		{"capability", with(at("app/a", func(e *entry) { e.Xattrs = []layer.Xattr{{Name: "security.capability", Value: "x"}} })), "an extended attribute of /app/a"},
		{"file more", with(nil, file("app/more", "")), "its layer also has /app/more"},
		{"file that is below, again", with(nil, file("app/old", "old")), "its layer also has /app/old"},
		{"directory more", with(nil, dir("app/e")), "its layer also has /app/e"},
		{"directory that is below, but not on the way", with(nil, tmp), "its layer also has /tmp"},
		{"directory on the way with another mode", with(at("app", func(e *entry) { e.Mode = 0o700 })), "the mode (0755 and 0700) of /app"},
		{"whiteout", with(nil, entry{Path: "app/old", Type: layer.Whiteout}), "its layer deletes /app/old"},
		{"opaque directory", with(at("app/d", func(e *entry) { e.Opaque = true })), "its layer replaces the directory /app/d"},
		{"opaque directory on the way", with(at("app", func(e *entry) { e.Opaque = true })), "its layer replaces the directory /app"},
		{"file less", with(nil)[:5], "its layer lacks /app/d/z"},
		{"nothing", nil, "its layer lacks /app/a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := CompareLayers(t.Context(), toc(made...), toc(tt.there...), below)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want && (tt.want == "" || !strings.HasPrefix(got, tt.want)) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}

	t.Run("a directory that is there as it is made", func(t *testing.T) {
		got, err := CompareLayers(t.Context(), toc(dir("app"), file("app/a", "x")), toc(file("app/a", "x")), below)
		if got != "" || err != nil {
			t.Error(got, err)
		}
		changed := dir("app")
		changed.Mode = 0o700
		if got, _ := CompareLayers(t.Context(), toc(changed, file("app/a", "x")), toc(file("app/a", "x")), below); got != "its layer lacks /app" {
			t.Error(got)
		}
	})
	t.Run("a file without a digest", func(t *testing.T) {
		unknown := file("a", "x")
		unknown.Digest = ""
		if got, _ := CompareLayers(t.Context(), toc(unknown), toc(unknown), below); got != "the content of /a differs" {
			t.Error(got)
		}
	})
}
