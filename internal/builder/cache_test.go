package builder_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/sandbox/runner"
)

// What changes between two builds, and which steps of the second run. A step is named by its first two words.
func TestWhatIsCached(t *testing.T) {
	const whole = "FROM base\nARG A=1\nENV E=1\nWORKDIR /w\nCOPY f d/ ./\nRUN echo $A $E\nADD a.tar /t/\nRUN echo end\n"
	all := []string{"WORKDIR /w", "COPY f", "RUN echo", "ADD a.tar", "RUN echo"}
	replace := func(old, new string) func(b *bed, o *builder.Request) {
		return func(b *bed, _ *builder.Request) { b.write("Dockerfile", strings.Replace(whole, old, new, 1)) }
	}
	writeContext := func(b *bed) {
		b.write("Dockerfile", whole)
		b.write(".dockerignore", "d/ignored\n")
		for name, text := range map[string]string{"f": "file", "d/in": "inner", "d/twin": "inner", "d/ignored": "", "a.tar": string(baseTar(b.t, "1"))} {
			b.write(name, text)
		}
		check(b.t, os.Symlink("in", filepath.Join(b.dir, "d/link")))
		b.setTimes(time.Unix(1e9, 0)) // a layer holds them: they are to be the same in each context
	}
	built := map[string]*bed{}
	for _, engine := range []dialect.Dialect{dialect.Graph(), dialect.Classic()} {
		b := newBed(t)
		writeContext(b)
		check(t, b.build(func(o *builder.Request) { o.Target.Dialect = engine }).err)
		built[engine.String()] = b
	}
	for _, test := range []struct {
		name    string
		change  func(b *bed, o *builder.Request)
		graph   []string // that run again
		classic []string // the same where nil
		refused string   // the engine that does not know it
	}{
		{name: "nothing", change: func(*bed, *builder.Request) {}},
		{name: "a new time", change: func(b *bed, _ *builder.Request) {
			now := time.Now().Add(time.Hour)
			check(b.t, os.Chtimes(filepath.Join(b.dir, "f"), now, now))
		}},
		{name: "the same bytes written again", change: func(b *bed, _ *builder.Request) { b.write("f", "file") }},
		{name: "a new inode", change: func(b *bed, _ *builder.Request) {
			b.write("new", "file")
			check(b.t, os.Rename(filepath.Join(b.dir, "new"), filepath.Join(b.dir, "f")))
		}},
		{name: "owner on the host", change: func(b *bed, _ *builder.Request) { check(b.t, os.Chown(filepath.Join(b.dir, "f"), 12, 34)) }},
		{name: "what is ignored", change: func(b *bed, _ *builder.Request) {
			b.write("d/ignored", "other")
			check(b.t, os.Chmod(filepath.Join(b.dir, "d/ignored"), 0o600))
		}},
		{name: "what nothing copies", change: func(b *bed, _ *builder.Request) { b.write("unused", "x") }},
		{name: "the mode of what is only looked into", change: func(b *bed, _ *builder.Request) {
			check(b.t, os.Chmod(filepath.Join(b.dir, "d"), 0o700))
		}},
		{name: "another name of a build argument that nothing declares", change: func(_ *bed, o *builder.Request) { o.Target.Args = map[string]string{"B": "1"} }},
		{name: "the argument's default given", change: func(_ *bed, o *builder.Request) { o.Target.Args = map[string]string{"A": "1"} }},
		{name: "a proxy", change: func(_ *bed, o *builder.Request) { o.Target.Args = map[string]string{"HTTP_PROXY": "http://p"} }},
		{name: "comments and blanks", change: replace("COPY f d/ ./", "# a comment\nCOPY   f d/ \\\n  ./")},
		{name: "LABEL before RUN", change: replace("RUN echo $A", "LABEL l=1\nRUN echo $A"), classic: []string{"LABEL l=1", "RUN echo", "ADD a.tar", "RUN echo"}},
		{name: "CMD first", change: replace("WORKDIR", "CMD [\"x\"]\nWORKDIR"), classic: append([]string{"CMD [\"x\"]"}, all...)},
		{name: "a variable that comes to the same", change: replace("/w", "/$U${E:+w}"), graph: []string{}, classic: []string{}},

		{name: "contents", change: func(b *bed, _ *builder.Request) { b.write("f", "other") }, graph: all[1:]},
		{name: "contents of the same size, with the time put back", change: func(b *bed, _ *builder.Request) {
			path := filepath.Join(b.dir, "f")
			st, err := os.Stat(path)
			check(b.t, err)
			b.write("f", "FILE")
			check(b.t, os.Chtimes(path, st.ModTime(), st.ModTime()))
		}, graph: all[1:]},
		{name: "mode", change: func(b *bed, _ *builder.Request) { check(b.t, os.Chmod(filepath.Join(b.dir, "f"), 0o755)) }, graph: all[1:]},
		{name: "setuid", change: func(b *bed, _ *builder.Request) {
			check(b.t, os.Chmod(filepath.Join(b.dir, "f"), 0o644|os.ModeSetuid))
		}, graph: all[1:]},
		{name: "a new file", change: func(b *bed, _ *builder.Request) { b.write("d/new", "") }, graph: all[1:]},
		{name: "a new directory", change: func(b *bed, _ *builder.Request) { check(b.t, os.Mkdir(filepath.Join(b.dir, "d/new"), 0o755)) }, graph: all[1:]},
		{name: "a file gone", change: func(b *bed, _ *builder.Request) { check(b.t, os.Remove(filepath.Join(b.dir, "d/in"))) }, graph: all[1:]},
		{name: "a new name", change: func(b *bed, _ *builder.Request) {
			check(b.t, os.Rename(filepath.Join(b.dir, "d/in"), filepath.Join(b.dir, "d/im")))
		}, graph: all[1:]},
		{name: "where a link leads", change: func(b *bed, _ *builder.Request) {
			check(b.t, os.Remove(filepath.Join(b.dir, "d/link")))
			check(b.t, os.Symlink("f", filepath.Join(b.dir, "d/link")))
		}, graph: all[1:]},
		{name: "a link becomes what it led to", change: func(b *bed, _ *builder.Request) {
			check(b.t, os.Remove(filepath.Join(b.dir, "d/link")))
			b.write("d/link", "inner")
		}, graph: all[1:]},
		{name: "a copy becomes a hard link", change: func(b *bed, _ *builder.Request) {
			check(b.t, os.Remove(filepath.Join(b.dir, "d/twin")))
			check(b.t, os.Link(filepath.Join(b.dir, "d/in"), filepath.Join(b.dir, "d/twin")))
		}, graph: all[1:]},
		{name: "what is ignored no longer", change: func(b *bed, _ *builder.Request) { b.write(".dockerignore", "") }, graph: all[1:]},
		{name: "the archive", change: func(b *bed, _ *builder.Request) { b.write("a.tar", string(baseTar(b.t, "2"))) }, graph: all[3:]},
		{name: "chown", change: replace("COPY f", "COPY --chown=1 f"), graph: append([]string{"COPY --chown=1"}, all[2:]...)},
		{name: "chmod", change: replace("COPY f", "COPY --chmod=600 f"), graph: append([]string{"COPY --chmod=600"}, all[2:]...), refused: "classic"},
		{name: "destination", change: replace("d/ ./", "d/ ./x/"), graph: all[1:]},
		{name: "order of sources", change: replace("f d/", "d/ f"), graph: []string{"COPY d/"}, classic: []string{"COPY d/", "RUN echo", "ADD a.tar", "RUN echo"}},
		{name: "ADD for COPY", change: replace("COPY f", "ADD f"), graph: []string{"ADD f"}, classic: []string{"ADD f", "RUN echo", "ADD a.tar", "RUN echo"}},
		{name: "a command", change: replace("$A $E", "$A  $E"), graph: all[2:3], classic: all[2:]},
		{name: "the last command", change: replace("echo end", "echo END"), graph: all[4:]},
		{name: "exec form", change: replace("RUN echo end", `RUN ["echo","end"]`), graph: []string{`RUN ["echo","end"]`}},
		{name: "user", change: replace("RUN echo end", "USER bin\nRUN echo end"), graph: all[4:], classic: []string{"USER bin", "RUN echo"}},
		{name: "directory", change: replace("RUN echo end", "WORKDIR /tmp\nRUN echo end"), graph: []string{"WORKDIR /tmp", "RUN echo"}},
		{name: "environment", change: replace("E=1", "E=2"), graph: []string{"RUN echo", "RUN echo"}, classic: append([]string{"ENV E=2"}, all...)},
		{name: "a new variable", change: replace("RUN echo end", "ENV N=\nRUN echo end"), graph: all[4:], classic: []string{"ENV N=", "RUN echo"}},
		{name: "build argument", change: func(_ *bed, o *builder.Request) { o.Target.Args = map[string]string{"A": "2"} },
			graph: []string{"RUN echo", "RUN echo"}, classic: all[2:]},
		{name: "network", change: func(_ *bed, o *builder.Request) { o.Sandbox.Network = runner.NetworkHost },
			graph: []string{"RUN echo", "RUN echo"}, classic: all[2:]},
		{name: "shell", change: replace("RUN echo end", "SHELL [\"/bin/sh\",\"-ec\"]\nRUN echo end"), graph: all[4:], classic: []string{"SHELL [\"/bin/sh\",\"-ec\"]", "RUN echo"}},
		{name: "base", change: func(b *bed, _ *builder.Request) { b.makeBase("2") }, graph: all, classic: append([]string{"ARG A=1", "ENV E=1"}, all...)},
	} {
		for _, engine := range []string{"graph", "classic"} {
			if engine == test.refused {
				continue
			}
			t.Run(test.name+"/"+engine, func(t *testing.T) {
				if testing.Short() && engine == "classic" {
					t.Skip("needs half a minute for all: run without -short")
				}
				t.Parallel()
				want := test.graph
				options := []func(*builder.Request){}
				if engine == "classic" {
					options = append(options, classic)
					if test.classic != nil {
						want = test.classic
					}
				}
				b := built[engine].copy(t)
				writeContext(b)
				first := b.build(options...)
				check(t, first.err)
				if first.ran() > 0 {
					t.Fatalf("in the copy of the store %q", first.steps)
				}
				options = append(options, func(o *builder.Request) { test.change(b, o) })
				second := b.build(options...)
				check(t, second.err)
				var ran []string
				for _, s := range second.steps {
					if text, ok := strings.CutPrefix(s, "run "); ok {
						words := strings.Fields(text)
						ran = append(ran, strings.Join(words[:2], " "))
					}
				}
				if strings.Join(ran, "|") != strings.Join(want, "|") {
					t.Errorf("ran again: %q\nwant %q", ran, want)
				}
			})
		}
	}
}

// An empty directory makes the destination; a pattern that matches nothing does not.
func TestEmptySelections(t *testing.T) {
	b := newBed(t)
	b.write("Dockerfile", "FROM base\nCOPY e* /made/\n")
	without := b.build()
	check(t, without.err)
	check(t, os.Mkdir(filepath.Join(b.dir, "e"), 0o755))
	with := b.build()
	check(t, with.err)
	if _, made := b.tree(without.id)["made"]; made {
		t.Error("nothing was copied, and /made is there")
	}
	if _, made := b.tree(with.id)["made"]; !made {
		t.Error("an empty directory was copied to /made, which is not there")
	}
}

// A step that ran again and gave the same files keeps its layer, and with it the keys of what follows.
func TestNoCacheKeepsEqualLayers(t *testing.T) {
	b := newBed(t)
	// The time of /same is another one in each run: the second from 1970 that two random bytes say.
	b.write("Dockerfile", "FROM base\nRUN echo same >/same; touch -d @$(od -An -N2 -tu2 /dev/urandom | tr -d ' ') /same\nRUN cat /proc/sys/kernel/random/uuid >/random\nCOPY f /\n")
	b.write("f", "f")
	first := b.build()
	check(t, first.err)
	second := b.build(noCache)
	check(t, second.err)
	if second.ran() != 3 {
		t.Errorf("--no-cache ran %q", second.steps)
	}
	a, c := b.config(first.id).RootFS.DiffIDs, b.config(second.id).RootFS.DiffIDs
	if a[1] != c[1] || a[2] == c[2] || a[3] != c[3] {
		t.Errorf("layers: %s, then %s: the second should differ and no other", a, c)
	}
	third := b.build()
	check(t, third.err)
	if third.id != second.id || third.ran() > 0 {
		t.Errorf("%s after %s, %q", third.id, second.id, third.steps)
	}
}

// Two stages that begin alike run what they share once, with --no-cache too.
func TestSharedSteps(t *testing.T) {
	b := newBed(t)
	b.write("Dockerfile", "FROM base AS a\nRUN echo once\nRUN touch /a\nFROM base\nRUN echo once\nCOPY --from=a /a /\n")
	for _, o := range []func(*builder.Request){func(*builder.Request) {}, noCache} {
		r := b.build(o)
		check(t, r.err)
		if r.output != "once\n" {
			t.Errorf("output %q", r.output)
		}
	}
}

// A layer of a RUN holds what changed, whatever it is.
func TestRunLayers(t *testing.T) {
	for _, test := range []struct {
		name, run string
		want      map[string]string // what the last layer holds: path → type and mode
	}{
		{"mode of the root", "chmod 700 /", map[string]string{"": "d700"}},
		{"a file of the base goes", "rm /etc/version", map[string]string{"etc": "d755", "etc/version": "w0"}},
		{"a directory becomes a file", "rm -r /data && echo >/data", map[string]string{"data": "f644"}},
		{"a file becomes a directory", "rm /etc/version && mkdir /etc/version", map[string]string{"etc": "d755", "etc/version": "d755"}},
		{"a directory is made anew", "rm -r /data && mkdir /data && echo >/data/c", map[string]string{"data": "d755 opaque", "data/c": "f644"}},
		{"a directory is made and removed", "mkdir /n && rmdir /n", map[string]string{}},
		{"one of two names is written to", "echo x >>/data/b", map[string]string{"data": "d755", "data/b": "f644"}},
		{"a third name", "ln /data/a /data/c", map[string]string{"data": "d755", "data/a": "f644", "data/c": "h644"}},
		{"nothing", "true", map[string]string{}},
		{"a new time of a directory only", "touch /data", map[string]string{}}, // as in BuildKit
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBed(t)
			b.write("Dockerfile", "FROM base\nRUN "+test.run+"\n")
			r := b.build()
			check(t, r.err)
			got := b.lastLayer(r.id)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			// And what comes next sees it: a step that changes nothing finds nothing changed.
			b.write("Dockerfile", "FROM base\nRUN "+test.run+"\nCOPY Dockerfile /tmp/\nRUN true\n")
			r = b.build()
			check(t, r.err)
			if got := b.lastLayer(r.id); len(got) > 0 {
				t.Errorf("RUN true changed %v", got)
			}
		})
	}
}

// A step that changes nothing runs each time that it stands in a Dockerfile, and is cached each time after that.
func TestEqualStepsEachRun(t *testing.T) {
	b := newBed(t)
	b.write("Dockerfile", "FROM base\nRUN echo same\nRUN echo same\n")
	for i, want := range []int{2, 0, 2} {
		options := []func(*builder.Request){}
		if i == 2 {
			options = append(options, noCache)
		}
		r := b.build(options...)
		check(t, r.err)
		if got := r.ran(); got != want {
			t.Errorf("build %d: %d steps ran, want %d: %q", i, got, want, r.steps)
		}
	}
}
