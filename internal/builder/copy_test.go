package builder_test

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/builder"
)

func makeTar(t *testing.T, headers ...tar.Header) string {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = 1
		}
		check(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := w.Write([]byte("t"))
			check(t, err)
		}
	}
	check(t, w.Close())
	return buf.String()
}

// What COPY and ADD make of a destination. The rules are those of tonistiigi/fsutil/copy and of moby's
// archive.Untar.
func TestCopyLayers(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       map[string]string // the last layer
		err        string
	}{
		{name: "a file to a name", text: "COPY f /g", want: map[string]string{"g": "f644"}},
		{name: "a file into a directory", text: "COPY f /new/", want: map[string]string{"new": "d755", "new/f": "f644"}},
		{name: "a file into a directory that is there", text: "COPY f /tmp", want: map[string]string{"tmp": "d1777", "tmp/f": "f644"}},
		{name: "a directory", text: "COPY d /new", want: map[string]string{"new": "d755", "new/a": "f644", "new/b": "f644", "new/sub": "d700"}},
		{name: "into one that is there, whose mode stays", text: "COPY d /tmp", want: map[string]string{"tmp": "d1777", "tmp/a": "f644", "tmp/b": "f644", "tmp/sub": "d700"}},
		{name: "over one below, whose mode changes", text: "RUN mkdir /x /x/sub\nCOPY d /x", want: map[string]string{"x": "d755", "x/a": "f644", "x/b": "f644", "x/sub": "d700"}},
		{name: "through a link", text: "RUN ln -s data /link\nCOPY f /link/", want: map[string]string{"data": "d755", "data/f": "f644"}},
		{name: "through links to nowhere", text: "RUN ln -s /two/x /one; ln -s tmp /two\nCOPY f /one/", want: map[string]string{"tmp": "d1777", "tmp/x": "d755", "tmp/x/f": "f644"}},
		{name: "links in a circle", text: "RUN ln -s /two /one; ln -s one /two\nCOPY f /one/", err: "symbolic links"},
		{name: "over a link", text: "RUN ln -s /data/a /tmp/f\nCOPY f /tmp/", want: map[string]string{"tmp": "d1777", "tmp/f": "f644"}},
		{name: "below a file", text: "COPY f /data/a/", err: "not a directory"},
		{name: "a directory over a file", text: "COPY d /data/a", err: "not a directory"},
		{name: "a file over a directory", text: "RUN mkdir -p /tmp/f\nCOPY f /tmp/", err: "cannot replace"},
		{name: "chmod", text: "COPY --chmod=0711 d /new", want: map[string]string{"new": "d711", "new/a": "f711", "new/b": "f711", "new/sub": "d711"}},
		{name: "hard links", text: "COPY h /h/", want: map[string]string{"h": "d755", "h/a": "f644", "h/b": "h644", "h/c": "h644"}},
		{name: "the first of several names replaced", text: "COPY h d/a /h/", want: map[string]string{"h": "d755", "h/a": "f644", "h/b": "f644", "h/c": "h644"}},
		{name: "an archive goes through a link that it does not name", text: "RUN ln -s data /lib\nADD through.tar /", want: map[string]string{"data": "d755", "data/t": "f644"}},
		{name: "and leaves the mode of a directory that it does not name", text: "ADD tmp.tar /", want: map[string]string{"tmp": "d1777", "tmp/t": "f644"}},
		{name: "and takes the place of a link that it names", text: "RUN ln -s data /lib\nADD named.tar /", want: map[string]string{"lib": "d700", "lib/t": "f644"}},
		{name: "and puts a file for a directory", text: "ADD replace.tar /", want: map[string]string{"data": "f644"}},
		{name: "and keeps hard links and modes", text: "ADD --chmod=777 links.tar /", want: map[string]string{"l1": "f640", "l2": "h640"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			reg := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }
			for name, text := range map[string]string{
				"f": "f", "d/a": "d/a", "d/b": "b", "h/a": "shared",
				"through.tar": makeTar(t, reg("lib/t")), "tmp.tar": makeTar(t, reg("tmp/t")), "replace.tar": makeTar(t, reg("data")),
				"named.tar": makeTar(t, tar.Header{Name: "./lib/", Typeflag: tar.TypeDir, Mode: 0o700}, reg("./lib/t")),
				"links.tar": makeTar(t, tar.Header{Name: "l1", Typeflag: tar.TypeReg, Mode: 0o640}, tar.Header{Name: "l2", Typeflag: tar.TypeLink, Linkname: "l1", Mode: 0o640}),
			} {
				b.write(name, text)
			}
			check(t, os.Mkdir(filepath.Join(b.dir, "d/sub"), 0o700))
			for _, name := range []string{"h/b", "h/c"} {
				check(t, os.Link(filepath.Join(b.dir, "h/a"), filepath.Join(b.dir, name)))
			}
			b.write("Dockerfile", "FROM base\n"+test.text+"\n")
			r := b.build()
			if test.err != "" {
				if r.err == nil || !strings.Contains(r.err.Error(), test.err) {
					t.Errorf("error %v, want %q", r.err, test.err)
				}
				b.clean()
				return
			}
			check(t, r.err)
			if diff := cmp.Diff(test.want, b.lastLayer(r.id)); diff != "" {
				t.Error(diff)
			}
			// What the tables of contents say is what a step sees: nothing changes when one runs on it.
			b.write("Dockerfile", "FROM base\n"+test.text+"\nRUN cat /h/b 2>/dev/null; true\n")
			r = b.build()
			check(t, r.err)
			if got := b.lastLayer(r.id); len(got) > 0 {
				t.Errorf("RUN true changed %v", got)
			}
			if strings.Contains(test.text, " h ") && r.output != "shared" {
				t.Errorf("/h/b holds %q", r.output)
			}
		})
	}
}

// ADD unpacks files with holes, which are not in one piece in a tar.
func TestAddSparse(t *testing.T) {
	b := newBed(t)
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "holes"))
	check(t, err)
	_, err = f.WriteAt([]byte("end"), 1<<20)
	check(t, err)
	check(t, f.Close())
	check(t, exec.Command("tar", "-S", "-C", dir, "-cf", filepath.Join(b.dir, "s.tar"), "holes").Run())
	b.write("Dockerfile", "FROM base\nADD s.tar /\nRUN stat -c %s /holes\n")
	r := b.build()
	check(t, r.err)
	if r.output != "1048579\n" {
		t.Errorf("size %q", r.output)
	}
}

// Attributes of the host's files stay on the host; capabilities that a step sets go with the file.
func TestXattrs(t *testing.T) {
	b := newBed(t)
	b.write("f", "f")
	check(t, unix.Setxattr(filepath.Join(b.dir, "f"), "user.mine", []byte("x"), 0))
	capability := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	check(t, unix.Setxattr(filepath.Join(b.dir, "f"), "security.capability", capability, 0))
	b.write("Dockerfile", "FROM base\nCOPY f /\n")
	r := b.build()
	check(t, r.err)
	if got := b.tree(r.id)["f"]; !strings.HasSuffix(got, "[]") {
		t.Errorf("COPY took attributes: %s", got)
	}
}

// With the classic engine what a RUN changes in a VOLUME is lost; with the graph engine it stays, and neither
// takes the other's for its own.
func TestVolume(t *testing.T) {
	const text = "FROM base\nVOLUME /data\nRUN echo x >/data/new; rm /data/a; echo y >/beside\n"
	b := newBed(t)
	b.write("Dockerfile", text)
	for _, test := range []struct {
		engine func(*builder.Request)
		want   map[string]string
	}{
		{classic, map[string]string{"beside": "f644"}},
		{func(*builder.Request) {}, map[string]string{"beside": "f644", "data": "d755", "data/new": "f644", "data/a": "w0"}},
		{classic, map[string]string{"beside": "f644"}},
	} {
		r := b.build(test.engine)
		check(t, r.err)
		if diff := cmp.Diff(test.want, b.lastLayer(r.id)); diff != "" {
			t.Error(diff)
		}
	}
}

// With the classic engine a VOLUME that no layer has is an empty directory after the first RUN: the mount point that Docker's
// container got. What the step put there is lost. A step that put something else on the way to a volume is no error.
func TestVolumeThatIsNotThere(t *testing.T) {
	b := newBed(t)
	for _, test := range []struct {
		run  string
		want map[string]string
	}{
		{"true", map[string]string{"new": "d755", "new/deep": "d755"}},
		{"echo x >/new/deep/x; chmod 700 /new/deep; echo y >/new/y", map[string]string{"new": "d755", "new/deep": "d755", "new/y": "f644"}},
		{"mv /new /moved; ln -s /moved /new", map[string]string{"new": "l777", "moved": "d755", "moved/deep": "d755"}},
		{"rm -r /data; ln -s /etc /data", map[string]string{"new": "d755", "new/deep": "d755"}},
		{"mv /new /moved; echo x >/new", map[string]string{"new": "f644", "moved": "d755", "moved/deep": "d755"}},
	} {
		b.write("Dockerfile", "FROM base\nVOLUME /new/deep /data\nRUN "+test.run+"\n")
		r := b.build(classic)
		check(t, r.err)
		if diff := cmp.Diff(test.want, b.lastLayer(r.id)); diff != "" {
			t.Errorf("%s: %s", test.run, diff)
		}
	}
}

// A WORKDIR is made for a USER that the image does not know all the same: it belongs to root, as in both of Docker's builders.
func TestWorkdirOfUnknownUser(t *testing.T) {
	b := newBed(t)
	for user, want := range map[string]string{"ghost": " 0:0 ", "ghost:7": " 0:7 ", "7:ghosts": " 7:7 ", "ghost:ghosts": " 0:0 "} {
		b.write("Dockerfile", "FROM base\nUSER "+user+"\nWORKDIR /made\n")
		r := b.build()
		check(t, r.err)
		if got := b.tree(r.id)["made"]; !strings.Contains(got, want) {
			t.Errorf("USER %s: %s, want%s", user, got, want)
		}
		r = b.build(classic) // where root owns it whatever USER says
		check(t, r.err)
		if got := b.tree(r.id)["made"]; !strings.Contains(got, " 0:0 ") {
			t.Errorf("USER %s with the classic engine: %s", user, got)
		}
	}
}

// The author is in the config, and in the rows of the classic engine only.
func TestAuthor(t *testing.T) {
	b := newBed(t)
	b.write("Dockerfile", "FROM base\nMAINTAINER me\nRUN true\n")
	for _, engine := range []func(*builder.Request){func(*builder.Request) {}, classic} {
		r := b.build(engine)
		check(t, r.err)
		c := b.config(r.id)
		want := ""
		if c.History[len(c.History)-1].Comment == "" {
			want = "me"
		}
		if got := c.History[len(c.History)-1].Author; c.Author != "me" || got != want {
			t.Errorf("author %q, in the row %q", c.Author, got)
		}
	}
}

// What Docker's classic builder refuses, BuildKit takes.
func TestMatches(t *testing.T) {
	for _, test := range []struct{ text, classic string }{
		{"COPY none* /x/", "no source files were specified"},
		{"ADD none* nothing? /x/", "ADD failed: no source files were specified"},
		{"COPY none* f1 /x/", ""},
	} {
		b := newBed(t)
		b.write("f1", "1")
		b.write("f2", "2")
		b.write("Dockerfile", "FROM base\n"+test.text+"\n")
		check(t, b.build().err)
		switch err := b.build(classic).err; {
		case test.classic == "":
			check(t, err)
		case err == nil || !strings.Contains(err.Error(), test.classic):
			t.Errorf("%s: %v", test.text, err)
		}
	}
}

// Several files for a destination that is no directory are lost by neither engine.
func TestSeveralFilesOneDestination(t *testing.T) {
	b := newBed(t)
	b.write("f1", "1")
	b.write("f2", "2")
	b.write("Dockerfile", "FROM base\nCOPY f* /x\n")
	for _, err := range []error{b.build().err, b.build(classic).err} {
		if err == nil || !strings.Contains(err.Error(), "with a /") {
			t.Errorf("%v", err)
		}
	}
	b.write("Dockerfile", "FROM base\nCOPY f1 /d/\nCOPY f* /d\n") // a directory that is there
	check(t, b.build().err)
}

// A file that changes between the look at it and its copy is looked at again, once.
func TestChangedUnderCopy(t *testing.T) {
	for _, test := range []struct {
		times int
		ok    bool
	}{{1, true}, {2, false}} {
		b := newBed(t)
		b.write("Dockerfile", "FROM base\nCOPY f /\n")
		b.write("f", "before")
		r := newRecorder()
		left := test.times
		r.gate = func(string) { // after the key was made, before the files are read
			if left--; left >= 0 {
				b.write("f", strings.Repeat("x", left+1)) // another size each time
			}
		}
		got := b.build(func(o *builder.Request) { o.Events = r })
		if ok := got.err == nil; ok != test.ok {
			t.Errorf("changed %d times: %v", test.times, got.err)
		}
		b.clean()
		// The record is that of the contents that were copied.
		b.write("f", "before")
		again := b.build()
		check(t, again.err)
		if again.ran() != 1 {
			t.Errorf("%q", again.steps)
		}
	}
}
