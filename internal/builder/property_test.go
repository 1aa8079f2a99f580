package builder_test

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/test/testbed"
)

var (
	edits = flag.Int("edits", 60, "how many edits TestCachedEqualsUncached makes")
	seed  = flag.Uint64("seed", 0, "what its edits follow from; 0 takes one by the time")
)

// A build from the cache gives what a build of every step gives: the same files in every layer and the same
// config but for times, or an error for an error. Random Dockerfiles and contexts are edited at random, and
// built after each edit in a store that remembers everything, and with --no-cache in another one.
func TestCachedEqualsUncached(t *testing.T) {
	if testing.Short() {
		t.Skip("needs ten seconds: run without -short")
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("to repeat: -edits %d -seed %d", *edits, *seed)
	cached, plain := newBed(t), newBed(t)
	w := newWorld(t, *seed, cached.dir)
	var log []string
	built, failed, hits := 0, 0, 0
	for i := range *edits {
		what := w.edit(func(version string) { cached.makeBase(version); plain.makeBase(version) })
		w.write()
		log = append(log, fmt.Sprintf("%d: %s", i, what))
		options := func(o *builder.Request) { o.Source.Context, o.Target.Args = w.dir, w.args }
		engine := func(o *builder.Request) {}
		if w.IntN(3) == 0 && !needsBuildKit(w.text()) {
			engine = classic
		}
		check(t, os.RemoveAll(filepath.Join(plain.root, "contexts")))
		a, b := cached.build(options, engine), plain.build(options, engine, noCache)
		if (a.err == nil) != (b.err == nil) {
			t.Fatalf("edits:\n%s\n%s\nwith cache: %v\nwithout: %v", tail(log), w.text(), a.err, b.err)
		}
		if a.err != nil {
			failed++
			w.goBack()
			continue
		}
		built++
		w.keep()
		hits += len(a.steps) - a.ran()
		if diff := cmp.Diff(contents(b, plain), contents(a, cached)); diff != "" {
			t.Fatalf("edits:\n%s\n%s\n%s\nsteps: %q\nwithout the cache (-) and with it (+):\n%s",
				tail(log), w.text(), cmp.Diff(plain.tree(b.id), cached.tree(a.id)), a.steps, diff)
		}
		again := cached.build(options, engine)
		check(t, again.err)
		if again.ran() > 0 || again.id != a.id {
			t.Fatalf("edits:\n%s\n%s\nbuilding again gave %s after %s and ran %q", tail(log), w.text(), again.id, a.id, again.steps)
		}
	}
	if *edits >= 300 { // by then a RUN was made on several layers of COPY
		check(t, testbed.CheckForm(cached.root))
	}
	t.Logf("%d builds, %d that failed alike, %d steps from the cache", built, failed, hits)
	if *edits >= 30 && (built < *edits/3 || hits == 0) {
		t.Error("too few builds to tell anything")
	}
}

func tail(log []string) string { return strings.Join(log[max(0, len(log)-5):], "\n") }

// imageContents is what two builds must have in common: not which layer has a file, since a file that is copied twice is in
// the upper one only where its time has changed meanwhile.
type imageContents struct {
	Layers int
	Files  map[string]string
	Config any
}

func contents(r *result, b *bed) imageContents {
	b.t.Helper()
	c := b.config(r.id)
	out := imageContents{Layers: len(c.RootFS.DiffIDs), Files: map[string]string{}}
	stack, err := b.store.Stack(c.RootFS.DiffIDs)
	check(b.t, err)
	check(b.t, stack.Walk(b.t.Context(), "", func(e *layer.Entry) error {
		out.Files[e.Path] = describe(e)
		return nil
	}))
	c.RootFS.DiffIDs, c.Created, c.Cached, c.Stages = nil, nil, nil, nil
	for i := range c.History {
		c.History[i].Created = nil
	}
	out.Config = c
	return out
}

func describe(e *layer.Entry) string {
	return fmt.Sprintf("%c %o %d:%d %d %s %s %v", e.Type, e.Mode, e.UID, e.GID, e.Size, e.Digest, e.Link, e.Xattrs)
}

// world is a Dockerfile and a context that change.
type world struct {
	*rand.Rand
	t      testing.TB
	dir    string
	stages [][]string
	args   map[string]string
	ignore string

	good  [][]string // the last stages that could be built
	wrong int        // failures since then
}

func newWorld(t testing.TB, seed uint64, dir string) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 1)), t: t, dir: dir, args: map[string]string{}}
	w.stages = [][]string{{"RUN true"}, {"RUN true"}}
	w.keep()
	for range 8 {
		w.change()
	}
	return w
}

func (w *world) pick(from ...string) string { return from[w.IntN(len(from))] }

func (w *world) keep() { w.good, w.wrong = clone(w.stages), 0 }

// goBack makes a Dockerfile of one that cannot be built, so that most can.
func (w *world) goBack() {
	if w.stages = clone(w.good); w.wrong > 2 {
		w.stages = [][]string{{"RUN true"}, {"RUN true"}}
	}
	w.wrong++
}

func clone(stages [][]string) (out [][]string) {
	for _, s := range stages {
		out = append(out, slices.Clone(s))
	}
	return out
}

// text is the Dockerfile.
func (w *world) text() string {
	var b strings.Builder
	for i, s := range w.stages {
		from := "base"
		if i > 0 && len(s)%3 == 0 {
			from = fmt.Sprintf("s%d", i-1)
		}
		fmt.Fprintf(&b, "FROM %s AS s%d\n", from, i)
		for _, line := range s {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

func (w *world) write() {
	check(w.t, os.WriteFile(filepath.Join(w.dir, "Dockerfile"), []byte(w.text()), 0o644))
	check(w.t, os.WriteFile(filepath.Join(w.dir, ".dockerignore"), []byte(w.ignore), 0o644))
}

// needsBuildKit says whether the classic engine refuses the Dockerfile.
func needsBuildKit(text string) bool {
	return slices.ContainsFunc([]string{"--link", "--exclude", "--parents", "<<"}, func(flag string) bool { return strings.Contains(text, flag) })
}

func (w *world) instruction(stage int) string {
	place := func() string {
		return w.pick("/x", "/x/", "y", "./", "/x/z/", "/new/deep/f", "/link/", "/data/", "/data/a", "/dangling")
	}
	flags := w.pick("", "", "", "--chown=1000 ", "--chown=bin ", "--chown=7:staff ", "--chmod=0640 ", "--chmod=0755 --chown=3:4 ")
	if w.IntN(4) == 0 {
		flags += w.pick("--link ", "--link ", "--exclude=f? ", "--exclude=d0 --exclude=!d0/f* ", "--exclude=**/f1 --link ")
	}
	source := w.pick(".", "f0", "f1", "d0", "d1/", "d*", "f?", "f0 d0", "d0 d1", "d1 d0", "none*", "d0/f*", "l0", "*.tar", "d0/d1")
	switch w.IntN(15) {
	case 14:
		return w.pick(
			fmt.Sprintf("COPY %s<<EOF %s\n$V %d\nEOF", flags, place(), w.IntN(3)),
			fmt.Sprintf("COPY --parents %s%s %s", flags, w.pick("d0/f0", "**/f1", "d*/./f?", "./d0/d1"), place()))
	case 0, 1, 2:
		return fmt.Sprintf("COPY %s%s %s", flags, source, place())
	case 3:
		if stage > 0 {
			from := w.pick("/x", "/data", "/data/*", "/etc/version", "/x/*", "y", "/link")
			return fmt.Sprintf("COPY --from=%d %s%s %s", w.IntN(stage), flags, from, place())
		}
		return fmt.Sprintf("COPY --from=base %s/data %s", flags, place())
	case 4:
		return fmt.Sprintf("ADD %s%s %s", flags, w.pick("a.tar", "a.tar f0", "d0", "f0"), w.pick("/x/", "./", "/data/", "/"))
	case 5:
		return fmt.Sprintf("ENV V=%d", w.IntN(3))
	case 6:
		return fmt.Sprintf("ARG A=%d", w.IntN(3))
	case 7:
		return "WORKDIR " + w.pick("/", "/x", "y", "/data", "/link")
	case 8:
		return "USER " + w.pick("root", "1000", "bin", "0:50")
	case 9:
		return fmt.Sprintf("LABEL l=%d", w.IntN(3))
	}
	return "RUN " + w.pick(
		`echo "$V $A" >>log; true`, `cd / && find . ! -path "./proc*" ! -path "./sys*" ! -path "./dev*" ! -path "./tmp*" -type f | sort | xargs sha256sum >/tmp/sums; true`,
		`rm -rf /x; true`, `rm -rf /data && mkdir /data; true`, `chmod 0750 /x /data; true`, `chmod 0711 /`, `ln -sf x /link; true`, `ln -s /x/there /dangling; true`,
		`ln /data/a /data/hard; true`, `rm -rf /x; echo file >/x; true`, `mv /data /moved; true`, `echo more >>/data/b; true`, `id -u >/tmp/who; true`,
		`mkdir -p /x/z && echo z >/x/z/z; true`, `touch /data/a; true`, `cat /etc/version >>/tmp/version; true`, `true`, `test "$V" != 2`,
		`chown -R 9:9 /x; true`, `rm -f /data/a; true`, `echo $A`,
	)
}

// edit changes one thing and says what.
func (w *world) edit(rebase func(version string)) string {
	stage := w.IntN(len(w.stages))
	lines := &w.stages[stage]
	at := w.IntN(len(*lines) + 1)
	switch w.IntN(14) {
	case 0:
		if len(*lines) < 6 {
			line := w.instruction(stage)
			*lines = slices.Insert(*lines, at, line)
			return "insert " + line
		}
		fallthrough
	case 1:
		if len(*lines) > 1 {
			at = min(at, len(*lines)-1)
			line := (*lines)[at]
			*lines = slices.Delete(*lines, at, at+1)
			return "delete " + line
		}
		fallthrough
	case 2, 3:
		at = min(at, len(*lines)-1)
		(*lines)[at] = w.instruction(stage)
		return "replace by " + (*lines)[at]
	case 4:
		i := w.IntN(len(*lines))
		at = min(at, len(*lines)-1)
		(*lines)[i], (*lines)[at] = (*lines)[at], (*lines)[i]
		return fmt.Sprintf("swap %d and %d of stage %d", i, at, stage)
	case 5:
		if delete(w.args, "A"); w.IntN(2) == 0 {
			w.args["A"] = w.pick("0", "1", "x")
		}
		return fmt.Sprint("arguments ", w.args)
	case 6:
		w.ignore = w.pick("", "f1\n", "d0\n!d0/f1\n", "**/f0\n")
		return "ignore " + w.ignore
	case 7:
		if w.IntN(3) == 0 {
			version := w.pick("1", "2")
			rebase(version)
			return "base " + version
		}
		if len(w.stages) < 3 {
			w.stages = append(w.stages, []string{w.instruction(len(w.stages))})
			return "add a stage"
		}
		w.stages = w.stages[:len(w.stages)-1]
		return "remove a stage"
	}
	return w.change()
}

// change changes the context.
func (w *world) change() string {
	name := w.pick("f0", "f1", "d0/f0", "d0/f1", "d1/f0", "d0/d1/f0", "a.tar")
	path := filepath.Join(w.dir, name)
	check(w.t, os.MkdirAll(filepath.Dir(path), 0o755))
	st, err := os.Lstat(path)
	switch n := w.IntN(9); {
	case name == "a.tar" || err != nil && n < 6:
		data := []byte(w.pick("one", "two", "six"))
		if name == "a.tar" {
			data = w.archive()
		}
		check(w.t, os.RemoveAll(path))
		check(w.t, os.WriteFile(path, data, 0o644))
		return "write " + name
	case n < 3 && st != nil && st.Mode().IsRegular():
		// The same size and time: only ctime tells.
		check(w.t, os.WriteFile(path, []byte(w.pick("one", "two", "six")), 0o644))
		check(w.t, os.Chtimes(path, st.ModTime(), st.ModTime()))
		return "rewrite in place " + name
	case n < 4 && st != nil && st.Mode().IsRegular():
		check(w.t, os.Chmod(path, []os.FileMode{0o644, 0o600, 0o755, 0o755 | os.ModeSetuid}[w.IntN(4)]))
		return "chmod " + name
	case n < 5 && st != nil:
		check(w.t, os.RemoveAll(path))
		return "remove " + name
	case n < 6:
		other := filepath.Join(w.dir, "d0", "link")
		os.Remove(other)
		if os.Link(path, other) == nil {
			return "link d0/link to " + name
		}
		return "nothing"
	case n < 7:
		check(w.t, os.RemoveAll(filepath.Join(w.dir, "l0")))
		check(w.t, os.Symlink(w.pick("f0", "d0", "nowhere", "d0/f0"), filepath.Join(w.dir, "l0")))
		return "symlink l0"
	case n < 8:
		dir := filepath.Join(w.dir, w.pick("d0", "d1", "d2", "d0/empty"))
		if w.IntN(3) == 0 {
			check(w.t, os.RemoveAll(dir))
			return "remove directory " + dir
		}
		check(w.t, os.MkdirAll(dir, 0o755))
		check(w.t, os.Chmod(dir, []os.FileMode{0o755, 0o700}[w.IntN(2)]))
		return "directory " + dir
	default:
		now := time.Now()
		os.Chtimes(path, now, now)
		return "touch " + name
	}
}

func (w *world) archive() []byte {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	headers := []tar.Header{
		{Name: "t/f", Typeflag: tar.TypeReg, Mode: 0o600, Uid: 5, Size: 3},
		{Name: "data/a", Typeflag: tar.TypeReg, Mode: 0o644, Size: 3},
		{Name: "x/", Typeflag: tar.TypeDir, Mode: 0o700},
		{Name: "x/in", Typeflag: tar.TypeReg, Mode: 0o644, Size: 3},
		{Name: "link/in", Typeflag: tar.TypeReg, Mode: 0o644, Size: 3},
		{Name: "y", Typeflag: tar.TypeSymlink, Linkname: "x"},
	}
	for i := range headers {
		if w.IntN(2) == 0 {
			continue
		}
		check(w.t, tw.WriteHeader(&headers[i]))
		if headers[i].Size > 0 {
			_, err := tw.Write([]byte(w.pick("one", "two") + "!")[:3])
			check(w.t, err)
		}
	}
	check(w.t, tw.WriteHeader(&tar.Header{Name: "last", Typeflag: tar.TypeReg, Mode: 0o644}))
	check(w.t, tw.Close())
	return buf.Bytes()
}
