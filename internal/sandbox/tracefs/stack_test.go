package tracefs_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
	"github.com/strata-build/strata/internal/sandbox/tracefs"
	"github.com/strata-build/strata/internal/sandbox/workspace"
)

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
	w.devices = slices.DeleteFunc(slices.Clone(w.there), func(p string) bool { return !s.isDevice(p) })
	return s
}

func (s *stack) isDevice(p string) bool {
	isChar := func(e *layer.Entry) bool { return e != nil && e.Type == layer.Char }
	return isChar(s.low.entries[p]) || isChar(s.high.entries[p])
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
	var lowers []string
	if observe {
		var layers []tracefs.Layer
		for _, l := range []source{low, high} {
			one := l.served(w.t, w.IntN(3) == 0)
			defer one.Files.Close()
			layers = append(layers, one)
		}
		var err error
		served, err = tracefs.Serve(filepath.Join(dir, "served"), layers)
		check(w.t, err)
		lowers = []string{served.Dir(1), ran, served.Dir(0), w.base}
	} else {
		lowers = []string{w.materialise(filepath.Join(dir, "high"), s.high), ran, w.materialise(filepath.Join(dir, "low"), s.low), w.base}
	}
	root, err := workspace.Mount(dir, workspace.Directories(lowers...), workspace.Attributes{Mode: 0o755})
	check(w.t, err)
	if served != nil {
		check(w.t, served.Detach())
	}
	shell := exec.Command("/bin/busybox", "chroot", root.Root(), "/bin/sh", "-c", "cd /app\n"+strings.Join(script, "\n"))
	var out bytes.Buffer
	shell.Stdout, shell.Stderr = &out, &out
	shell.Env = []string{"PATH=/bin", "LC_ALL=C"}
	shell.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	_ = shell.Run() // how it ends is part of what it says
	fmt.Fprintln(&out, shell.ProcessState.ExitCode())
	for _, l := range script {
		ask(&out, root.Root(), l)
	}
	w.said = append(w.said, out.String())
	check(w.t, root.Unmount())
	check(w.t, os.WriteFile(filepath.Join(root.Upper(), "out"), out.Bytes(), 0o644))
	toc, err := layer.Diff(w.t.Context(), root.Upper(), below)
	check(w.t, err)
	var in *observed.Inputs
	if observe {
		recorders, err := served.Asked()
		check(w.t, err)
		check(w.t, served.Close())
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

// ask does the lines of a script that no program of busybox does: it reads an attribute, or a directory as getdents has
// it, without a stat of each name.
func ask(out io.Writer, root, line string) {
	command, p, _ := strings.Cut(line, " ")
	if !path.IsAbs(p) {
		p = path.Join("/app", p)
	}
	switch p = filepath.Join(root, p); command {
	case "getxattr":
		value := make([]byte, 64)
		n, err := unix.Lgetxattr(p, "user.note", value)
		if err == unix.EOPNOTSUPP { // where no file that is served has any, see GetXAttr
			err = unix.ENODATA
		}
		fmt.Fprintln(out, string(value[:max(n, 0)]), err)
	case "types":
		listed, err := os.ReadDir(p)
		for _, e := range listed {
			fmt.Fprintln(out, e.Name(), e.Type())
		}
		fmt.Fprintln(out, err != nil)
	}
}
