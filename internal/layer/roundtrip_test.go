package layer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/sandbox/snapshot"
	"github.com/strata-build/strata/test/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("owners, devices and overlayfs need root")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sh runs a script in dir. Lines "xattr PATH NAME VALUE" are done afterwards, without a program.
func sh(t testing.TB, dir, script string) {
	t.Helper()
	var rest []string
	var xattrs [][]string
	for line := range strings.SplitSeq(script, "\n") {
		if f := strings.Fields(line); len(f) == 4 && f[0] == "xattr" {
			xattrs = append(xattrs, f[1:])
		} else {
			rest = append(rest, line)
		}
	}
	cmd := exec.Command("sh", "-ec", strings.Join(rest, "\n"))
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	for _, x := range xattrs {
		must(t, unix.Setxattr(filepath.Join(dir, x[0]), x[1], []byte(x[2]), 0))
	}
}

func mkdir(t testing.TB, names ...string) string {
	t.Helper()
	dir := filepath.Join(append([]string{t.TempDir()}, names...)...)
	must(t, os.MkdirAll(dir, 0o755))
	return dir
}

func diff(t testing.TB, dir string, below layer.Tree) *layer.TOC {
	t.Helper()
	toc, err := layer.Diff(t.Context(), dir, below)
	must(t, err)
	return toc
}

// tarOf writes the canonical tar of a tree.
func tarOf(t testing.TB, dir string, toc *layer.TOC) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, layer.WriteTar(t.Context(), &b, toc, layer.TreeSource(dir, toc).Open))
	return b.Bytes()
}

// sameTOC compares two TOCs but for offsets.
func sameTOC(t testing.TB, what string, got layer.Table, want *layer.TOC) {
	t.Helper()
	if d := cmp.Diff(entriesOf(want), entriesOf(got), cmpopts.IgnoreFields(layer.Entry{}, "Offset"), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// zoo has one of everything that a layer can hold.
const zoo = `
umask 022
mkdir -p a/b 'sp ace' empty
echo hello > a/file; chmod 4755 a/file; chown 12:34 a/file
ln a/file a/b/hard; ln a/file 0first
ln -s ../nowhere a/link; ln -s / root; ln a/link a/link2
mknod a/char c 1 3; mknod a/block b 7 300; mkfifo a/fifo
: > nothing
chmod 1777 'sp ace'; chown 1000:3000000 'sp ace'
xattr a/b/hard user.note x=y
xattr empty user.note dir
head -c 3000000 /dev/urandom > big
truncate -s 5000000 holes; echo end >> holes
mkdir -p long/$(printf 'd%.0s' $(seq 100))/$(printf 'e%.0s' $(seq 200))
echo deep > long/$(printf 'd%.0s' $(seq 100))/$(printf 'e%.0s' $(seq 200))/$(printf 'f%.0s' $(seq 255))
printf x > "$(printf 'caf\351')"
echo a > a.txt; echo b > a-b
find . -exec touch -h -d '2001-02-03 04:05:06' {} +
chmod 0750 .
`

func TestRoundTrip(t *testing.T) {
	needRoot(t)
	dir := mkdir(t, "tree")
	sh(t, dir, zoo)
	toc := diff(t, dir, nil)
	if got := toc.Lookup("a/file"); got.Type != layer.Hardlink || got.Link != "0first" {
		t.Errorf("a/file is %+v, want a hard link to the first path", got)
	}
	made, err := layer.HashTar(t.Context(), toc, layer.TreeSource(dir, toc).Open)
	must(t, err)
	toc = made.TOC
	tar := tarOf(t, dir, toc)

	scanned, err := layer.Scan(t.Context(), bytes.NewReader(tar), layer.Limits{})
	must(t, err)
	sameTOC(t, "Scan", scanned, toc)
	for i, e := range entriesOf(scanned) {
		if e.Type == layer.File && e.Offset != toc.Entries[i].Offset {
			t.Errorf("%s: Scan finds its contents at %d, HashTar at %d", e.Path, e.Offset, toc.Entries[i].Offset)
		}
	}

	out := mkdir(t, "out")
	unpacked, err := layer.Unpack(t.Context(), bytes.NewReader(tar), out, layer.UnpackOptions{})
	must(t, err)
	sameTOC(t, "Unpack", unpacked, toc)
	sameTOC(t, "the unpacked tree", diff(t, out, nil), toc)

	file := filepath.Join(t.TempDir(), "layer.tar")
	must(t, os.WriteFile(file, tar, 0o644))
	f, err := layer.OpenTar(file)
	must(t, err)
	defer f.Close()
	ext := mkdir(t, "ext")
	table, err := scanned.TOC()
	must(t, err)
	must(t, layer.Extract(t.Context(), table, f, ext, layer.ExtractOptions{}))
	sameTOC(t, "the extracted tree", diff(t, ext, nil), toc)

	for name, src := range map[string]layer.Source{"tree": layer.TreeSource(out, toc), "tar": layer.TarSource(file, toc)} {
		var again bytes.Buffer
		must(t, layer.WriteTar(t.Context(), &again, toc, src.Open))
		if !bytes.Equal(again.Bytes(), tar) {
			t.Errorf("the tar made from the %s differs", name)
		}
	}
	var coded bytes.Buffer
	must(t, toc.Encode(&coded))
	var decoded layer.TOC
	must(t, decoded.Decode(&coded))
	if d := cmp.Diff(toc.Entries, decoded.Entries); d != "" {
		t.Errorf("Decode (-want +got):\n%s", d)
	}
	if toc.ContentID() != decoded.ContentID() || toc.ContentID() != unpacked.ContentID() {
		t.Error("content IDs differ")
	}
}

// What GNU tar and Unpack make of the same tar is the same.
func TestUnpackLikeTar(t *testing.T) {
	needRoot(t)
	base := t.TempDir()
	file := filepath.Join(base, "x.tar")
	must(t, os.Mkdir(filepath.Join(base, "zoo"), 0o755))
	sh(t, filepath.Join(base, "zoo"), zoo)
	for name, args := range map[string]string{
		"gnu":    "--format=gnu -C zoo .",
		"pax":    "--format=pax --xattrs -C zoo .",
		"sparse": "--format=gnu --sparse -C zoo .",
		"paxsp":  "--format=pax --sparse -C zoo .",
		"usr":    "-C /usr lib/systemd share/perl5",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat("/usr/lib/systemd"); name == "usr" && err != nil {
				args = "-C /etc ."
			}
			sh(t, base, "tar -cf x.tar "+args)
			want, got := mkdir(t, "want"), mkdir(t, "got")
			sh(t, want, "tar --numeric-owner --xattrs -xpf "+file)
			f, err := os.Open(file)
			must(t, err)
			defer f.Close()
			toc, err := layer.Unpack(t.Context(), f, got, layer.UnpackOptions{})
			must(t, err)
			wantTOC := diff(t, want, nil)
			if toc.Lookup("") == nil { // the tar does not say
				wantTOC.Entries = wantTOC.Entries[1:]
			}
			if note := toc.Lookup("empty"); name == "pax" && !slices.Equal(note.Xattrs, []layer.Xattr{{Name: "user.note", Value: "dir"}}) {
				t.Errorf("Unpack read the attributes %v", note.Xattrs)
			}
			unpacked := make([]layer.Entry, len(toc.Entries))
			for i, e := range toc.Entries { // Diff reads what a step left, of which user.* do not count
				unpacked[i] = *e
				unpacked[i].Xattrs = layer.Built(e.Xattrs)
			}
			opts := cmp.Options{cmpopts.IgnoreFields(layer.Entry{}, "Offset"), cmpopts.EquateEmpty()}
			// tar makes the parents that have no entry now, Unpack as old as what they hold
			opts = append(opts, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".ModTime" && name == "usr" }, cmp.Comparer(func(a, b int64) bool { return true })))
			if d := cmp.Diff(values(wantTOC.Entries), unpacked, opts); d != "" {
				t.Errorf("Unpack (-tar +ours):\n%s", d)
			}
			_, err = f.Seek(0, io.SeekStart)
			must(t, err)
			scanned, err := layer.Scan(t.Context(), f, layer.Limits{})
			must(t, err)
			sameTOC(t, "Scan", scanned, toc)
		})
	}
}

func values(entries []*layer.Entry) []layer.Entry {
	values := make([]layer.Entry, len(entries))
	for i, e := range entries {
		values[i] = *e
	}
	return values
}

// overlay mounts layers, runs a script in the merged root and returns the upper directory.
func overlay(t *testing.T, lowers []string, script string) (upper, merged string) {
	t.Helper()
	base := t.TempDir()
	for _, d := range []string{"upper", "work", "root"} {
		must(t, os.Mkdir(filepath.Join(base, d), 0o755))
	}
	root := filepath.Join(base, "root")
	must(t, snapshot.Mount(root, lowers, snapshot.Options{Upper: filepath.Join(base, "upper"), Work: filepath.Join(base, "work")}))
	t.Cleanup(func() { must(t, snapshot.Unmount(root)) })
	sh(t, root, script)
	return filepath.Join(base, "upper"), root
}

const lowerScript = `
mkdir -p keep/sub gone/deep swap wiped emptied moved/x etc
echo 1 > keep/a; echo 2 > keep/sub/b; echo 3 > gone/deep/c; echo 4 > swap/d; echo 5 > wiped/e; echo 6 > emptied/f
echo 7 > moved/x/g; echo 8 > etc/conf; echo 9 > file; echo h > h1; ln h1 h2; mkdir hollow
chmod 0555 etc; chown 5:6 etc; chmod 1777 keep
`

// A RUN's changes come through Diff, tar and Unpack, and the result merges to what the container saw.
func TestOverlayRoundTrip(t *testing.T) {
	needRoot(t)
	low := mkdir(t, "low")
	sh(t, low, lowerScript)
	lowTOC := diff(t, low, nil)
	below := layer.NewStack(layer.TreeSource(low, lowTOC))
	upper, merged := overlay(t, []string{low}, `
		rm -rf gone
		rm -rf swap; echo now a file > swap
		rm -rf wiped; mkdir wiped; echo new > wiped/new
		rm -rf hollow; mkdir hollow; echo x > hollow/x
		rm emptied/f
		rm file; mkdir file; echo in > file/in
		mv moved elsewhere
		chmod 700 etc
		chmod 600 keep/a
		echo more >> h1
		ln keep/sub/b keep/sub/b2
		mkdir -p fresh/er/est; echo y > fresh/er/est/y
		echo gone > tmp; rm tmp
		mkdir keep/tmp; rmdir keep/tmp
		xattr etc/conf user.tag v
	`) // etc/conf is copied up, and not changed in what a layer holds
	want := diff(t, merged, nil)
	made, err := layer.DiffTree(t.Context(), upper, layer.Mounted{Stack: below, Dirs: []string{low}}, layer.DiffOptions{})
	must(t, err)
	toc := decoded(t, made.Encoded)
	marks := map[string]string{}
	for _, e := range toc.Entries {
		if e.Opaque || e.Type == layer.Whiteout {
			marks[e.Path] = string(e.Type)
		}
	}
	wantMarks := map[string]string{"gone": "w", "wiped": "d", "emptied/f": "w", "moved": "w"}
	if d := cmp.Diff(wantMarks, marks); d != "" {
		t.Errorf("whiteouts and opaque directories (-want +got):\n%s", d)
	}
	tar := tarOf(t, upper, toc)
	if int64(len(tar)) != made.Size {
		t.Errorf("DiffTree says %d bytes, the tar has %d", made.Size, len(tar))
	}
	if got := digest.FromBytes(tar); got != made.DiffID {
		t.Errorf("DiffTree says %s, the tar has %s", made.DiffID, got)
	}

	out := mkdir(t, "out")
	unpacked, err := layer.Unpack(t.Context(), bytes.NewReader(tar), out, layer.UnpackOptions{Below: below})
	must(t, err)
	sameTOC(t, "Unpack", unpacked, toc)
	sameTOC(t, "Diff of the unpacked tree", diff(t, out, below), toc)
	_, again := overlay(t, []string{out, low}, "true")
	sameTOC(t, "the mounted layers", withoutTimes(diff(t, again, nil)), withoutTimes(want))

	stack := layer.NewStack(layer.TreeSource(low, lowTOC), layer.TreeSource(out, unpacked))
	flat, err := stack.Flatten(t.Context())
	must(t, err)
	sameTOC(t, "the stack", withoutTimes(flat), withoutTimes(withoutRoot(want, flat)))
}

// withoutTimes drops the times: a merged directory's is that of its last copy-up.
func withoutTimes(t *layer.TOC) *layer.TOC {
	c := &layer.TOC{}
	for _, e := range t.Entries {
		d := *e
		d.ModTime = 0
		c.Entries = append(c.Entries, &d)
	}
	return c
}

// withoutRoot gives t the root of other.
func withoutRoot(t, other *layer.TOC) *layer.TOC {
	return &layer.TOC{Entries: append([]*layer.Entry{other.Entries[0]}, t.Entries[1:]...)}
}

// Layer after layer of random changes: the Stack says what overlayfs shows, however the layers were made.
func TestStackLikeOverlay(t *testing.T) {
	needRoot(t)
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			if testing.Short() && seed > 0 {
				t.Skip("needs seven seconds for all: run without -short")
			}
			rnd := rand.New(rand.NewPCG(seed, 1))
			low := mkdir(t, "low")
			sh(t, low, randomScript(rnd, 40))
			dirs := []string{low}
			sources := []layer.Source{layer.TreeSource(low, diff(t, low, nil))}
			grown := layer.NewStack(sources...)
			for range 4 {
				below := layer.NewStack(sources...)
				upper, merged := overlay(t, dirs, randomScript(rnd, 25))
				want := diff(t, merged, nil)
				toc := diff(t, upper, below)
				out := mkdir(t, "out")
				unpacked, err := layer.Unpack(t.Context(), bytes.NewReader(tarOf(t, upper, toc)), out, layer.UnpackOptions{Below: below})
				must(t, err)
				sameTOC(t, "Unpack", unpacked, toc)
				dirs = append([]string{out}, dirs...)
				sources = append(sources, layer.TreeSource(out, unpacked))
				flat, err := layer.NewStack(sources...).Flatten(t.Context())
				must(t, err)
				// link groups that overlayfs broke by copying one name up are groups in the layers' own sense
				sameTOC(t, "the stack", unlinked(flat), unlinked(want))
				grown = grown.With(sources[len(sources)-1])
				again, err := grown.Flatten(t.Context())
				must(t, err)
				sameTOC(t, "the stack made of the one below", again, flat)
				if t.Failed() {
					return
				}
			}
		})
	}
}

// unlinked compares contents only: hard links become files, times go.
func unlinked(t *layer.TOC) *layer.TOC {
	c := withoutTimes(t)
	for i, e := range c.Entries {
		if e.Type == layer.Hardlink {
			d := *t.Lookup(e.Link)
			d.Path, d.ModTime = e.Path, 0
			c.Entries[i] = &d
		}
	}
	return c
}

// randomScript changes a tree of few names, so that changes meet.
func randomScript(rnd *rand.Rand, n int) string {
	path := func() string {
		p := make([]string, 1+rnd.IntN(3))
		for i := range p {
			p[i] = string("abc"[rnd.IntN(3)])
		}
		return strings.Join(p, "/")
	}
	var b strings.Builder
	for i := range n {
		p, q := path(), path()
		switch rnd.IntN(8) {
		case 0:
			fmt.Fprintf(&b, "rm -rf %s\n", p)
		case 1, 2:
			fmt.Fprintf(&b, "mkdir -p %s 2>/dev/null || true\n", p)
		case 3:
			fmt.Fprintf(&b, "rm -rf %s; mkdir -p %s 2>/dev/null || true\n", p, p)
		case 4, 5:
			fmt.Fprintf(&b, "mkdir -p $(dirname %s) 2>/dev/null && echo %d > %s 2>/dev/null || true\n", p, i, p)
		case 6:
			fmt.Fprintf(&b, "mv %s %s 2>/dev/null || true\n", p, q)
		case 7:
			fmt.Fprintf(&b, "ln %s %s 2>/dev/null || chmod %d%d%d %s 2>/dev/null || true\n", p, q, 4+rnd.IntN(4), rnd.IntN(8), rnd.IntN(8), p)
		}
	}
	return b.String()
}

func TestContextEnds(t *testing.T) {
	needRoot(t)
	dir := mkdir(t, "tree")
	sh(t, dir, "for i in $(seq 50); do head -c 100000 /dev/zero > f$i; done")
	toc := diff(t, dir, nil)
	tar := tarOf(t, dir, toc)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := layer.WriteTar(ctx, io.Discard, toc, layer.TreeSource(dir, toc).Open); err == nil {
		t.Error("WriteTar goes on")
	}
	if _, err := layer.Unpack(ctx, bytes.NewReader(tar), mkdir(t, "out"), layer.UnpackOptions{}); err == nil {
		t.Error("Unpack goes on")
	}
}

// withSum ends an encoded TOC as Encode does.
func withSum(body []byte) []byte {
	sum := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
	return binary.LittleEndian.AppendUint32(bytes.Clone(body), sum)
}
