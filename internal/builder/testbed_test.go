package builder_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/sandbox/tracefs"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
	"github.com/strata-build/strata/test/testbed"
)

// childStore names the variable that makes the test program a build of its own: the store's folder; the context
// is the working directory.
const childStore = "STRATA_TEST_CHILD_STORE"

func TestMain(m *testing.M) {
	runner.Init()
	tracefs.Init()
	if root := os.Getenv(childStore); root != "" {
		os.Exit(child(root))
	}
	os.Exit(testbed.Main(m))
}

// child builds like a strata of its own would, and prints what the steps print.
func child(root string) int {
	s, err := store.Open(root)
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	defer s.Close()
	m := &transfer.Mover{Store: s, Registry: &registry.Client{}, Platform: platform}
	r := newRecorder()
	r.to = os.Stdout
	_, err = builder.Run(context.Background(), m, request(".", r))
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return 0
}

var platform = ocispec.Platform{OS: "linux", Architecture: "amd64"}

// bed is a store with the image "base", and a context.
type bed struct {
	t     testing.TB
	root  string
	dir   string // the context
	store *store.Store
}

func newBed(t testing.TB) *bed {
	b := newBareBed(t)
	b.makeBase("1")
	return b
}

func newBareBed(t testing.TB) *bed {
	if os.Geteuid() != 0 {
		t.Skip("steps run in overlay mounts, which take root")
	}
	b := &bed{t: t, root: filepath.Join(t.TempDir(), "store"), dir: t.TempDir()}
	b.open()
	t.Cleanup(func() { b.store.Close() })
	return b
}

// copy is a bed with a copy of the store of b, to which no build may write meanwhile, and an empty context.
func (b *bed) copy(t testing.TB) *bed {
	c := &bed{t: t, root: filepath.Join(t.TempDir(), "store"), dir: t.TempDir()}
	whole := testbed.Store{Root: b.root}
	check(t, whole.Copy(t.Context(), c.root))
	c.open()
	t.Cleanup(func() { c.store.Close() })
	return c
}

func (b *bed) open() {
	forms, err := store.ParseForms(os.Getenv(testbed.FormVariable))
	check(b.t, err)
	s, err := store.Open(b.root)
	check(b.t, err)
	b.store = s.WithForms(forms)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// makeBase builds the image "base": busybox, two accounts, and version in /etc/version.
func (b *bed) makeBase(version string) {
	b.t.Helper()
	dir := b.t.TempDir()
	check(b.t, os.WriteFile(filepath.Join(dir, "base.tar"), baseTar(b.t, version), 0o644))
	check(b.t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nADD base.tar /\nCMD [\"sh\"]\n"), 0o644))
	ref, err := reference.ParseNormalizedNamed("base:latest")
	check(b.t, err)
	r := b.build(func(o *builder.Request) {
		o.Source.Context, o.Output.Tags, o.Cache.NoCache = dir, []reference.Named{ref}, false
	})
	check(b.t, r.err)
}

var busybox = sync.OnceValues(func() ([]byte, error) { return os.ReadFile("/bin/busybox") })

func baseTar(t testing.TB, version string) []byte {
	t.Helper()
	program, err := busybox()
	if err != nil {
		t.Skip("no static busybox to run steps with: apt-get install busybox-static")
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	add := func(h tar.Header, data string) {
		h.Size = int64(len(data))
		check(t, w.WriteHeader(&h))
		_, err := w.Write([]byte(data))
		check(t, err)
	}
	for _, d := range []string{"bin/", "etc/", "data/"} {
		add(tar.Header{Name: d, Typeflag: tar.TypeDir, Mode: 0o755}, "")
	}
	add(tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, "")
	add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, string(program))
	for _, name := range strings.Fields("sh cat sha256sum rm chmod mkdir ln mv echo find sort id stat touch sleep xargs true test ls chown cp rmdir usleep date") {
		add(tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, "")
	}
	add(tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, "root:x:0:0::/:/bin/sh\nbin:x:2:3::/:/bin/sh\n")
	add(tar.Header{Name: "etc/group", Typeflag: tar.TypeReg, Mode: 0o644}, "root:x:0:\nbin:x:2:\nstaff:x:50:\n")
	add(tar.Header{Name: "etc/version", Typeflag: tar.TypeReg, Mode: 0o644}, version)
	add(tar.Header{Name: "data/a", Typeflag: tar.TypeReg, Mode: 0o644}, "base a")
	add(tar.Header{Name: "data/b", Typeflag: tar.TypeLink, Linkname: "data/a", Mode: 0o644}, "")
	check(t, w.Close())
	return buf.Bytes()
}

// write writes a file of the context.
func (b *bed) write(name, text string) {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	check(b.t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(b.t, os.WriteFile(path, []byte(text), 0o644))
}

// setTimes sets the modification time of all that is in the context.
func (b *bed) setTimes(to time.Time) {
	b.t.Helper()
	at, err := unix.TimeToTimespec(to)
	check(b.t, err)
	check(b.t, filepath.WalkDir(b.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
	}))
}

// result is what a build gave, and what its steps did.
type result struct {
	*recorder
	id    digest.Digest
	built *explain.Build
	err   error
}

// build builds the context with the graph engine, unless options say otherwise.
func (b *bed) build(options ...func(*builder.Request)) *result {
	return b.buildContext(context.Background(), options...)
}

func (b *bed) buildContext(ctx context.Context, options ...func(*builder.Request)) *result {
	r := &result{recorder: newRecorder()}
	o := request(b.dir, r.recorder)
	for _, f := range options {
		f(&o)
	}
	m := &transfer.Mover{Store: b.store, Registry: &registry.Client{}, Platform: platform}
	got, err := builder.Run(ctx, m, o)
	r.id, r.built, r.err = got.ID, got.Build, err
	return r
}

// request asks for a build of a directory with the graph engine.
func request(dir string, events event.Sink) builder.Request {
	return builder.Request{
		Source:  builder.Source{Context: dir},
		Target:  builder.Target{Dialect: dialect.Graph(), Platform: platform},
		Sandbox: builder.Sandbox{Network: runner.NetworkNone},
		Events:  events,
	}
}

func noCache(o *builder.Request) { o.Cache.NoCache = true }
func classic(o *builder.Request) { o.Target.Dialect = dialect.Classic() }

// config is an image's config.
func (b *bed) config(id digest.Digest) *image.Config {
	b.t.Helper()
	c, err := b.store.Config(id)
	check(b.t, err)
	config, err := image.Parse(c.Data)
	check(b.t, err)
	return config
}

// tree is the merged state of an image: each path with what it is.
func (b *bed) tree(id digest.Digest) map[string]string {
	b.t.Helper()
	stack, err := b.store.Stack(b.config(id).RootFS.DiffIDs)
	check(b.t, err)
	t, err := stack.Flatten(b.t.Context())
	check(b.t, err)
	out := map[string]string{}
	for _, e := range t.Entries {
		out[e.Path] = describe(e)
	}
	return out
}

// recorder is a sink that remembers.
type recorder struct {
	mu       sync.Mutex
	to       *os.File
	steps    []string // "hit COPY a b" and "run RUN c", in the order in which they ended
	output   string
	failed   map[string]error
	started  chan string       // what begins to run, for those who listen
	gate     func(step string) // called before a step runs
	warnings []string
}

func newRecorder() *recorder {
	return &recorder{failed: map[string]error{}, started: make(chan string, 1000)}
}

func (r *recorder) Send(e event.Event) {
	if e, ok := e.(event.Running); ok {
		r.started <- e.Vertex.Text
		if r.gate != nil {
			r.gate(e.Vertex.Text)
		}
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e := e.(type) {
	case event.Finding:
		r.warnings = append(r.warnings, e.Text)
	case event.Warning:
		r.warnings = append(r.warnings, e.Text)
	case event.Output:
		r.output += string(e.Data)
		if r.to != nil {
			r.to.Write(e.Data)
		}
	case event.Finished:
		if e.Vertex.Kind.IsStep() {
			r.finish(e)
		}
	}
}

func (r *recorder) finish(e event.Finished) {
	switch e.Status {
	case event.Done:
		r.steps = append(r.steps, "run "+e.Vertex.Text)
	case event.Cached:
		r.steps = append(r.steps, "hit "+e.Vertex.Text)
	case event.Failed:
		r.failed[e.Vertex.Text] = e.Err
	case event.Canceled:
		r.failed[e.Vertex.Text] = context.Canceled
	}
}

// ran counts the steps that ran.
func (r *recorder) ran() (n int) {
	for _, s := range r.steps {
		if strings.HasPrefix(s, "run ") {
			n++
		}
	}
	return n
}

// lastLayer is what the topmost layer of an image holds: type and mode by path.
func (b *bed) lastLayer(id digest.Digest) map[string]string {
	b.t.Helper()
	chain := b.config(id).RootFS.DiffIDs
	l, err := b.store.Layer(chain[len(chain)-1])
	check(b.t, err)
	toc, err := l.Source().TOC(b.t.Context())
	check(b.t, err)
	out := map[string]string{}
	for _, e := range toc.Entries {
		out[e.Path] = fmt.Sprintf("%c%o", e.Type, e.Mode)
		if e.Opaque {
			out[e.Path] += " opaque"
		}
	}
	return out
}
