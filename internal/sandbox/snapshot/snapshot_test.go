package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/test/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
}

// layerDir makes a lower directory with one file, whose name and contents are name.
func layerDir(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{name, "same"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func subdirs(t testing.TB, names ...string) []string {
	t.Helper()
	base := t.TempDir()
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = filepath.Join(base, n)
		if err := os.Mkdir(out[i], 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func mustMount(t testing.TB, target string, lowers []string, o Options) {
	t.Helper()
	if err := Mount(target, lowers, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Unmount(target); err != nil {
			t.Error(err)
		}
	})
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMountWritable(t *testing.T) {
	needRoot(t)
	a, b := layerDir(t, "a"), layerDir(t, "b")
	d := subdirs(t, "upper", "work", "root")
	mustMount(t, d[2], []string{b, a, b}, Options{Upper: d[0], Work: d[1]})
	if got := read(t, d[2]+"/same") + read(t, d[2]+"/a"); got != "ba" {
		t.Errorf("the topmost layer does not win: %q", got)
	}
	if err := os.WriteFile(d[2]+"/new", []byte("n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(d[2] + "/a"); err != nil {
		t.Fatal(err)
	}
	if err := Unmount(d[2]); err != nil {
		t.Fatal(err)
	}
	// The upper is a lower by one rename, though its mount was volatile.
	moved := filepath.Join(filepath.Dir(d[0]), "moved")
	if err := os.Rename(d[0], moved); err != nil {
		t.Fatal(err)
	}
	e := subdirs(t, "upper", "work")
	mustMount(t, d[2], []string{moved, b, a}, Options{Upper: e[0], Work: e[1]})
	if got := read(t, d[2]+"/new"); got != "n" {
		t.Errorf("new file: %q", got)
	}
	if _, err := os.Stat(d[2] + "/a"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the removed file is back: %v", err)
	}
}

func TestMountReadOnly(t *testing.T) {
	needRoot(t)
	a, b, c := layerDir(t, "a"), layerDir(t, "b"), layerDir(t, "c")
	for _, tt := range []struct {
		name   string
		lowers []string
		upper  string
		want   string
	}{
		{"none", nil, "", ""},
		{"one", []string{a}, "", "a same"},
		{"one twice", []string{a, a}, "", "a same"},
		{"two", []string{b, a}, "", "a b same"},
		{"upper", []string{b, a}, c, "a b c same"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := subdirs(t, "root")
			mustMount(t, d[0], tt.lowers, Options{Upper: tt.upper, ReadOnly: true})
			entries, err := os.ReadDir(d[0])
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, e := range entries {
				names = append(names, e.Name())
			}
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.upper != "" && read(t, d[0]+"/same") != "c" {
				t.Error("the upper is not on top")
			}
			if err := os.WriteFile(d[0]+"/x", nil, 0o644); !errors.Is(err, unix.EROFS) {
				t.Errorf("writing gives %v, want EROFS", err)
			}
		})
	}
}

func TestMountNoLowers(t *testing.T) {
	needRoot(t)
	d := subdirs(t, "upper", "work", "root")
	mustMount(t, d[2], nil, Options{Upper: d[0], Work: d[1]})
	if err := os.WriteFile(d[2]+"/x", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d[0] + "/x"); err != nil {
		t.Error(err)
	}
}

// Both ways to mount take as many layers as overlayfs does, and paths that do not fit in the mount API's 255 bytes or would need escapes.
func TestMountMany(t *testing.T) {
	needRoot(t)
	base := filepath.Join(t.TempDir(), strings.Repeat("long", 40), `odd,na:me\`)
	var lowers []string
	for i := range MaxLowers {
		dir := filepath.Join(base, fmt.Sprint(i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		lowers = append(lowers, dir)
	}
	for name, open := range map[string]func([]string, Options) (int, error){"api": openByAPI, "mount": openByMount} {
		t.Run(name, func(t *testing.T) {
			upper, work := filepath.Join(base, "upper-"+name), filepath.Join(base, "work-"+name)
			for _, d := range []string{upper, work} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			fd, err := open(lowers[:MaxLowers-1], Options{Upper: upper, Work: work})
			if err != nil {
				t.Fatal(err)
			}
			root := os.NewFile(uintptr(fd), "root")
			defer root.Close()
			target := subdirs(t, "root")[0]
			if err := Attach(fd, target); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = Unmount(target) })
			entries, err := os.ReadDir(target)
			if err != nil || len(entries) != MaxLowers-1 {
				t.Errorf("%d entries, error %v", len(entries), err)
			}
		})
	}
	if _, err := Open(append(lowers, t.TempDir()), Options{ReadOnly: true}); err == nil || !strings.Contains(err.Error(), "squash") {
		t.Errorf("501 layers give %v", err)
	}
}

func TestMountErrors(t *testing.T) {
	needRoot(t)
	a := layerDir(t, "a")
	d := subdirs(t, "upper", "work", "root")
	if err := Mount(d[2], []string{a}, Options{Upper: d[0]}); err == nil {
		t.Error("a writable mount without work directory is not refused")
	}
	missing := filepath.Join(d[2], "missing")
	if err := Mount(d[2], []string{missing, a}, Options{Upper: d[0], Work: d[1]}); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("a missing lower gives %v", err)
	}
	if err := Mount(missing, []string{a}, Options{ReadOnly: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing target gives %v", err)
	}
	if err := Unmount(d[2]); err != nil {
		t.Errorf("unmounting what is not mounted gives %v", err)
	}
	if err := explain("opening overlayfs", unix.ENODEV); !errors.Is(err, ErrNoOverlay) {
		t.Errorf("ENODEV gives %v", err)
	}
}

func BenchmarkMount(b *testing.B) {
	needRoot(b)
	for _, n := range []int{2, 20} {
		b.Run(fmt.Sprint(n, "layers"), func(b *testing.B) {
			var lowers []string
			for i := range n {
				lowers = append(lowers, layerDir(b, fmt.Sprint("l", i)))
			}
			base := b.TempDir()
			target := filepath.Join(base, "root")
			if err := os.Mkdir(target, 0o755); err != nil {
				b.Fatal(err)
			}
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				upper, work := filepath.Join(base, fmt.Sprint("u", i)), filepath.Join(base, fmt.Sprint("w", i))
				for _, d := range []string{upper, work} {
					if err := os.Mkdir(d, 0o755); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				if err := Mount(target, lowers, Options{Upper: upper, Work: work}); err != nil {
					b.Fatal(err)
				}
				if err := Unmount(target); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
