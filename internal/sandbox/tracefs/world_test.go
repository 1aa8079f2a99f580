package tracefs_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

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

// ReadAt and Close implement tracefs.Contents.
func (s source) ReadAt(e *layer.Entry, p []byte, offset int64) (int, error) {
	return copy(p, s.all[e.Digest][min(offset, e.Size):]), nil
}

func (s source) Close() error { return nil }

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
		if w.IntN(3) == 0 {
			w.put(f, p, &layer.Entry{Type: layer.Whiteout})
			f.entries[p].ModTime = 0
		}
	default:
		e := w.file()
		if w.IntN(4) == 0 {
			e.Xattrs = []layer.Xattr{{Name: "user.note", Value: w.pick("1", "2")}}
		}
		w.put(f, p, e)
	}
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
	switch w.IntN(9) {
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
			switch w.IntN(3) {
			case 0:
				e.Mode ^= 0o050
			case 1:
				e.UID = 1 - min(e.UID, 1)
			default:
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
	switch w.IntN(38) {
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
	case 36:
		return "getxattr " + p // done by the test, after the others
	case 32:
		return "touch /tmp-$(ls -d " + p + "/* | wc -l)"
	}
	return "getxattr " + p // done by the test, after the others
}

func (w *world) script() []string {
	var lines []string
	for range 1 + w.IntN(4) {
		lines = append(lines, w.line())
	}
	return lines
}

// stack is the states of a case: the base, a copied layer, one that a RUN made, and another copied one.
type stack struct {
	low, high *files
	ran       *files
}

func (s *stack) sources(w *world) (all []layer.Source, low, high source) {
	low, high = source{s.low.toc(w.t), w.contents}, source{s.high.toc(w.t), w.contents}
	return []layer.Source{layer.TreeSource(w.base, w.baseTOC), low, source{s.ran.toc(w.t), w.contents}, high}, low, high
}

func (w *world) stack() *stack {
	s := &stack{}
	for _, f := range []**files{&s.low, &s.ran, &s.high} {
		*f = &files{map[string]*layer.Entry{"app": {Path: "app", Type: layer.Dir, Mode: 0o755, ModTime: 1e9}}, w.contents}
	}
	for range 3 + w.IntN(10) {
		w.add(s.low)
	}
	for range w.IntN(4) {
		w.add(s.ran)
	}
	for range w.IntN(8) {
		w.add(s.high)
	}
	w.there = slices.Concat(slices.Sorted(maps.Keys(s.low.entries)), slices.Sorted(maps.Keys(s.high.entries)))
	return s
}

func (s *stack) edited(w *world) *stack {
	c := &stack{low: s.low.clone(), high: s.high.clone(), ran: s.ran}
	for range 1 + w.IntN(2) {
		w.edit([]*files{c.low, c.high}[w.IntN(2)])
	}
	return c
}

// run runs a script on a state, and gives the content ID of what it changed, with the inputs if it is observed.
func (w *world) run(s *stack, script []string, observe bool) (digest.Digest, *layer.TOC, *observed.Inputs) {
	dir := w.t.TempDir()
	sources, low, high := s.sources(w)
	below := layer.NewStack(sources...)
	ran := w.materialise(filepath.Join(dir, "ran"), s.ran)
	var served *tracefs.Mount
	var recorders []*observed.Recorder
	var lowers []string
	if observe {
		var layers []tracefs.Layer
		for _, l := range []source{low, high} {
			r := observed.NewRecorder(observed.NewView(l.toc))
			recorders = append(recorders, r)
			layers = append(layers, tracefs.Layer{Recorder: r, Contents: l})
		}
		var err error
		served, err = tracefs.Serve(filepath.Join(dir, "served"), layers)
		check(w.t, err)
		lowers = []string{served.Dir(1), ran, served.Dir(0), w.base}
	} else {
		lowers = []string{w.materialise(filepath.Join(dir, "high"), s.high), ran, w.materialise(filepath.Join(dir, "low"), s.low), w.base}
	}
	root, err := workspace.Mount(dir, lowers, workspace.Attributes{Mode: 0o755})
	check(w.t, err)
	if served != nil {
		check(w.t, served.Detach())
	}
	// A program of its own enters the root. Between fork and exec, a child of this process must not touch what this process
	// serves: Go's runtime may wait for the exec to stop the world.
	shell := exec.Command("/bin/busybox", "chroot", root.Root(), "/bin/sh", "-c", "cd /app\n"+strings.Join(script, "\n"))
	var out bytes.Buffer
	shell.Stdout, shell.Stderr = &out, &out
	shell.Env = []string{"PATH=/bin", "LC_ALL=C"}
	shell.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	_ = shell.Run() // how it ends is part of what it says
	fmt.Fprintln(&out, shell.ProcessState.ExitCode())
	for _, l := range script {
		if p, ok := strings.CutPrefix(l, "getxattr "); ok {
			value := make([]byte, 64)
			n, err := unix.Lgetxattr(filepath.Join(root.Root(), "app", p), "user.note", value)
			fmt.Fprintln(&out, string(value[:max(n, 0)]), err)
		}
	}
	w.said = append(w.said, out.String())
	check(w.t, root.Unmount())
	check(w.t, os.WriteFile(filepath.Join(root.Upper(), "out"), out.Bytes(), 0o644))
	toc, err := layer.Diff(w.t.Context(), root.Upper(), below)
	check(w.t, err)
	var in *observed.Inputs
	if observe {
		check(w.t, served.Err())
		select {
		case <-served.Done():
		case <-time.After(time.Minute):
			w.t.Fatal("the server is still there a minute after the overlay is gone")
		}
		in = &observed.Inputs{}
		for i, r := range recorders {
			in.Trees = append(in.Trees, r.Tree(digest.FromString(fmt.Sprint(i)), ""))
		}
	}
	check(w.t, os.RemoveAll(dir))
	return toc.ContentID(), toc, in
}

func (w *world) materialise(dir string, f *files) string {
	check(w.t, workspace.Mkdir(dir, 0o755))
	from := source{f.toc(w.t), w.contents}
	check(w.t, layer.Materialise(w.t.Context(), from.toc, layer.FileSource{Open: from.Open}, dir))
	return dir
}

// served is a state as the inputs of another are compared with it.
func (s *stack) served(w *world) []observed.Served {
	var list []observed.Served
	for _, f := range []*files{s.low, s.high} {
		list = append(list, observed.Served{Of: digest.FromString("another"), TOC: func() (*layer.TOC, error) { return f.toc(w.t), nil }})
	}
	return list
}

func show(toc *layer.TOC) string {
	var b strings.Builder
	for _, e := range toc.Entries {
		fmt.Fprintf(&b, "%c %s %o %d:%d %d %s %s %v opaque=%v\n", e.Type, e.Path, e.Mode, e.UID, e.GID, e.Size, e.Digest, e.Link, e.Xattrs, e.Opaque)
	}
	return b.String()
}
