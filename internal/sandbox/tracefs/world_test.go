package tracefs_test

import (
	"context"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
	"github.com/strata-build/strata/internal/sandbox/tracefs"
	"github.com/strata-build/strata/internal/sandbox/workspace"
)

// files is a layer that is only in memory: entries by path, and contents by digest.
type files struct {
	entries  map[string]*layer.Entry
	contents map[digest.Digest]string // shared by all
}

func (f *files) clone() *files {
	c := &files{map[string]*layer.Entry{}, f.contents}
	for p, e := range f.entries {
		d := *e
		d.Xattrs = slices.Clone(e.Xattrs)
		c.entries[p] = &d
	}
	return c
}

// toc is the layer with those hard links left out that lead nowhere.
func (f *files) toc(t testing.TB) *layer.TOC {
	var entries []*layer.Entry
	for _, p := range slices.Sorted(maps.Keys(f.entries)) {
		e := *f.entries[p]
		if e.Type == layer.Hardlink {
			if to := f.entries[e.Link]; to == nil || to.Type != layer.File {
				continue
			}
		}
		entries = append(entries, &e)
	}
	toc, err := layer.NewTOC(entries)
	check(t, err)
	return toc
}

// source is a layer as a Stack takes it.
type source struct {
	toc *layer.TOC
	all map[digest.Digest]string
}

func (s source) TOC(context.Context) (*layer.TOC, error) { return s.toc, nil }

func (s source) Open(_ context.Context, e *layer.Entry) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(s.all[e.Digest])), nil
}

// served is the layer with its files in a tree, or one after the other as in a tar.
func (s source) served(t testing.TB, asTree bool) tracefs.Layer {
	if asTree {
		dir := filepath.Join(t.TempDir(), "tree")
		check(t, workspace.Mkdir(dir, 0o755))
		check(t, layer.Materialise(t.Context(), s.toc, layer.FileSource{Open: s.Open}, dir))
		f, err := os.Open(dir)
		check(t, err)
		return tracefs.Layer{TOC: s.toc, View: observed.NewView(s.toc), Files: f}
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "files"))
	check(t, err)
	at := int64(0)
	for _, e := range s.toc.Entries {
		if e.Type == layer.File {
			_, err := f.WriteString(s.all[e.Digest])
			check(t, err)
			e.Offset = at
			at += e.Size
		}
	}
	return tracefs.Layer{TOC: s.toc, View: observed.NewView(s.toc), Files: f}
}

// world makes layers, edits and scripts at random.
type world struct {
	*rand.Rand
	t        testing.TB
	base     string // the tree below all
	baseTOC  *layer.TOC
	contents map[digest.Digest]string
	program  string   // a program that can be copied
	said     []string // what the runs have printed
	there    []string // paths of the case, which scripts use more often than others
	devices  []string // those of them that are devices
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 7)), t: t, contents: map[digest.Digest]string{}, base: filepath.Join(t.TempDir(), "base")}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs a static busybox: apt-get install busybox-static")
	}
	for _, d := range []string{"", "bin", "app", "app/a", "app/base", "app/base/deep"} {
		check(t, workspace.Mkdir(filepath.Join(w.base, d), 0o755))
	}
	check(t, os.WriteFile(filepath.Join(w.base, "bin/busybox"), busybox, 0o755))
	list, err := exec.Command("/bin/busybox", "--list").Output()
	check(t, err)
	for _, name := range strings.Fields(string(list)) {
		if name != "busybox" {
			check(t, os.Symlink("busybox", filepath.Join(w.base, "bin", name)))
		}
	}
	for _, f := range []string{"app/a/base", "app/base/file", "app/base/deep/file"} {
		check(t, os.WriteFile(filepath.Join(w.base, f), []byte(f), 0o644))
	}
	w.baseTOC, err = layer.Diff(t.Context(), w.base, nil)
	check(t, err)
	w.program = string(busybox)
	return w
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) pick(from ...string) string { return from[w.IntN(len(from))] }

// path is one of few, so that scripts and edits meet. Some are in directories of the base.
func (w *world) path() string {
	p := "app"
	for range 1 + w.IntN(3) {
		p = path.Join(p, w.pick("a", "b", "c", "base", "deep", "x.py"))
	}
	return p
}

func (w *world) file() *layer.Entry {
	text := w.pick("", "one", "two", "three", "#!/bin/sh\necho ran\n", "#!/bin/sh\ncat a\n")
	switch w.IntN(40) {
	case 0:
		text = strings.Repeat(w.pick("x", "y"), 300_000) + text
	case 1:
		text = w.program + text
	}
	d := digest.FromString(text)
	w.contents[d] = text
	e := &layer.Entry{Type: layer.File, Size: int64(len(text)), Digest: d, Mode: 0o644}
	if strings.HasPrefix(text, "#!") || len(text) > 500_000 || w.IntN(4) == 0 {
		e.Mode = 0o755
	}
	return e
}

// put gives a path an entry, with directories above it.
func (w *world) put(f *files, p string, e *layer.Entry) {
	for dir := layer.Parent(p); dir != ""; dir = layer.Parent(dir) {
		if old := f.entries[dir]; old == nil || old.Type != layer.Dir {
			f.entries[dir] = &layer.Entry{Path: dir, Type: layer.Dir, Mode: 0o755, ModTime: 1e9}
		}
	}
	w.remove(f, p)
	e.Path, e.ModTime = p, 1e9
	if e.Type == layer.Hardlink {
		e.ModTime = 0
	}
	f.entries[p] = e
}

func (w *world) remove(f *files, p string) {
	for q := range f.entries {
		if q == p || strings.HasPrefix(q, p+"/") {
			delete(f.entries, q)
		}
	}
}

// add puts something at a random path.
func (w *world) add(f *files) {
	p := w.path()
	switch w.IntN(12) {
	case 0, 1:
		w.put(f, p, &layer.Entry{Type: layer.Dir, Mode: 0o755})
	case 2:
		w.put(f, p, &layer.Entry{Type: layer.Symlink, Mode: 0o777, Link: w.pick("a", "b", "../a", "base", "../base/deep", "c/x.py")})
	case 3, 5, 6:
		if to := w.some(f, layer.File); to != "" && to != p && !strings.HasPrefix(to, p+"/") && !strings.HasPrefix(p, to+"/") {
			w.put(f, p, &layer.Entry{Type: layer.Hardlink, Link: to})
		}
	case 4:
		if w.IntN(3) > 0 {
			w.put(f, p, w.device())
			break
		}
		w.put(f, p, &layer.Entry{Type: layer.Whiteout})
		f.entries[p].ModTime = 0
	default:
		e := w.file()
		if w.IntN(4) == 0 {
			e.Xattrs = []layer.Xattr{{Name: "user.note", Value: w.pick("1", "2")}}
		}
		w.put(f, p, e)
	}
}

// device is a device that no driver has, so that nothing comes of opening it.
func (w *world) device() *layer.Entry {
	return &layer.Entry{Type: layer.Char, Mode: 0o644, Major: 510, Minor: uint32(w.IntN(3))}
}

// some is a path of a type; "" if there is none.
func (w *world) some(f *files, types ...layer.Type) string {
	var all []string
	for p, e := range f.entries {
		if slices.Contains(types, e.Type) {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	return all[w.IntN(len(all))]
}

// edit changes a layer as people do.
func (w *world) edit(f *files) {
	switch w.IntN(10) {
	case 9:
		if p := w.some(f, layer.Char); p != "" {
			f.entries[p].Minor = (f.entries[p].Minor + 1) % 3
		} else if p := w.some(f, layer.File, layer.Dir); p != "" && p != "app" { // another type, whose name is the same
			w.put(f, p, &layer.Entry{Type: layer.Dir, Mode: 0o755})
		}
	case 0, 1, 2:
		if p := w.some(f, layer.File); p != "" { // its contents, often of the same size
			x, old := w.file(), f.entries[p]
			x.Mode, x.Xattrs, x.UID, x.GID = old.Mode, old.Xattrs, old.UID, old.GID
			x.Path, x.ModTime = p, 1e9
			f.entries[p] = x
		}
	case 3:
		if p := w.some(f, layer.File, layer.Dir); p != "" {
			e := f.entries[p]
			switch w.IntN(5) {
			case 0:
				e.Mode ^= 0o050
			case 1:
				e.UID = 1 - min(e.UID, 1)
			default: // which few scripts ask for
				e.Xattrs = nil
				if w.IntN(3) > 0 {
					e.Xattrs = []layer.Xattr{{Name: "user.note", Value: w.pick("1", "2")}}
				}
			}
		}
	case 4:
		if p := w.some(f, layer.File, layer.Symlink, layer.Dir, layer.Whiteout, layer.Hardlink); p != "" && p != "app" {
			w.remove(f, p)
		}
	case 5:
		if p := w.some(f, layer.Symlink); p != "" {
			f.entries[p].Link = w.pick("a", "b", "../a", "base")
		}
	case 6:
		if p := w.some(f, layer.Dir); p != "" && p != "app" && w.IntN(3) == 0 {
			f.entries[p].Opaque = !f.entries[p].Opaque
		}
	default:
		w.add(f)
	}
}

// anyPath is a path that a script names.
func (w *world) anyPath() string {
	if len(w.there) == 0 || w.IntN(4) == 0 {
		return w.path()
	}
	return w.there[w.IntN(len(w.there))]
}

// line is a command of a script.
func (w *world) line() string {
	p, q := "/"+w.anyPath(), "/"+w.anyPath()
	if w.IntN(3) == 0 {
		p = strings.TrimPrefix(p, "/app/") // the scripts run there
	}
	switch w.IntN(45) {
	case 0, 1:
		return "cat " + p
	case 2:
		return "wc -c " + p
	case 3:
		return "stat -c '%a %u:%g %F' " + p
	case 4:
		return "test -f " + p + " && echo file"
	case 5:
		return "test -d " + p + " && echo dir"
	case 6:
		return "test -x " + p + " && echo executable"
	case 7:
		return "test -L " + p + " && readlink " + p
	case 8:
		return "echo " + p + "/*"
	case 9:
		return "find " + p + " | sort"
	case 10:
		return "find " + p + " -type f | sort | xargs cat"
	case 11:
		return "ls -ln " + p + " | sed 's/  */ /g' | grep -v ^total | cut -d' ' -f1,3-5,9-"
	case 12:
		return "cat " + p + "/* | head -c 100"
	case 13, 14:
		return "mv " + p + " " + q
	case 15:
		return "rm -rf " + p
	case 16:
		return "rmdir " + p
	case 17:
		return "chmod 700 " + p
	case 18:
		return "echo more >> " + p
	case 19:
		return "echo new > " + p
	case 20:
		return "mkdir -p " + p + "/made"
	case 21:
		return "echo new > " + p + "/made"
	case 22:
		return p + " echo executed"
	case 23:
		return "ln " + p + " " + q
	case 24:
		return "ln -s a " + p
	case 25:
		return "cp -a " + p + " " + q
	case 26:
		return "cd " + p + " && pwd -P && rm -rf " + q + "; ls; cd /app"
	case 27:
		return "rm -rf " + p + "; mkdir -p " + p + "; touch " + p + "/again"
	case 28:
		return "chown 7 " + p
	case 29:
		return "truncate -s 1 " + p
	case 30:
		return "ls " + p
	case 31:
		return "stat -c '%h %s' $(find " + p + " -type f | sort)"
	case 33, 34, 35:
		return "test -f " + p + " && stat -c %h " + p
	case 36, 39:
		return "types /" + layer.Parent(w.anyPath()) // done by ask, after the others
	case 37, 40:
		if len(w.devices) > 0 {
			p = "/" + w.pick(w.devices...)
		}
		return "stat -c '%F %t:%T' " + p
	case 32:
		return "touch /tmp-$(ls -d " + p + "/* | wc -l)"
	}
	return "getxattr " + p // done by ask, too
}

func (w *world) script() []string {
	var lines []string
	for range 1 + w.IntN(4) {
		lines = append(lines, w.line())
	}
	return lines
}
