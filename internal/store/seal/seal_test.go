package seal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func sum(t testing.TB, path string) Sum {
	t.Helper()
	s, err := Of(path, "it")
	must(t, err)
	return s
}

// tree makes a tree with some of everything. Its files are an hour old, ctimes aside.
func tree(t testing.TB) string {
	dir := filepath.Join(t.TempDir(), "fs")
	must(t, os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o755))
	for i := range 20 {
		must(t, os.WriteFile(filepath.Join(dir, "a", fmt.Sprint("f", i)), []byte("contents"), 0o644))
	}
	must(t, os.WriteFile(filepath.Join(dir, "a/b/c/deep"), []byte("contents"), 0o644), os.Symlink("a", filepath.Join(dir, "link")))
	return dir
}

// Whatever is done to a tree shows, though its times and sizes are put back; reading it, and its rename, do not.
func TestOf(t *testing.T) {
	for name, test := range map[string]struct {
		do      func(dir string) error
		differs bool
	}{
		"nothing":       {func(string) error { return nil }, false},
		"read":          {func(dir string) error { _, err := os.ReadFile(dir + "/a/f3"); return err }, false},
		"rename":        {func(dir string) error { return os.Rename(dir, filepath.Dir(dir)+"/new") }, false},
		"write":         {func(dir string) error { return writeKeepingTime(dir+"/a/f3", "contentz") }, true},
		"write deep":    {func(dir string) error { return writeKeepingTime(dir+"/a/b/c/deep", "contentz") }, true},
		"truncate":      {func(dir string) error { return os.Truncate(dir+"/a/f3", 3) }, true},
		"chmod":         {func(dir string) error { return os.Chmod(dir+"/a/b", 0o700) }, true},
		"chmod root":    {func(dir string) error { return os.Chmod(dir, 0o700) }, true},
		"touch":         {func(dir string) error { return os.Chtimes(dir+"/a/f3", time.Time{}, time.Unix(7, 0)) }, true},
		"attribute":     {func(dir string) error { return unix.Setxattr(dir+"/a/f3", "user.x", []byte("y"), 0) }, true},
		"remove":        {func(dir string) error { return os.Remove(dir + "/a/b/c/deep") }, true},
		"remove folder": {func(dir string) error { return os.RemoveAll(dir + "/a/b/c") }, true},
		"add":           {func(dir string) error { return os.WriteFile(dir+"/new", nil, 0o644) }, true},
		"link":          {func(dir string) error { return os.Link(dir+"/a/f3", dir+"/twin") }, true},
		"another link": {func(dir string) error {
			err := os.Remove(dir + "/link")
			if err == nil {
				err = os.Symlink("b", dir+"/link")
			}
			return err
		}, true},
		"swap": {func(dir string) error {
			return unix.Renameat2(unix.AT_FDCWD, dir+"/a/f3", unix.AT_FDCWD, dir+"/a/f4", unix.RENAME_EXCHANGE)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t)
			before := sum(t, dir)
			tick(t, dir)
			must(t, test.do(dir))
			if _, err := os.Stat(dir); err != nil {
				dir = filepath.Dir(dir) + "/new"
			}
			if differs := sum(t, dir) != before; differs != test.differs {
				t.Errorf("differs: %v", differs)
			}
		})
	}
}

// tick waits until the clock of the file system has moved, which is that of the kernel's timer.
func tick(t testing.TB, dir string) {
	probe := filepath.Join(t.TempDir(), "probe")
	var first, st unix.Stat_t
	must(t, os.WriteFile(probe, nil, 0o600), unix.Stat(probe, &first))
	for st = first; st.Ctim == first.Ctim; {
		must(t, os.Chmod(probe, 0o600), unix.Stat(probe, &st))
	}
}

// writeKeepingTime writes to a file in place and gives it the time that it had.
func writeKeepingTime(path, text string) error {
	st, err := os.Stat(path)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err == nil {
		err = os.Chtimes(path, st.ModTime(), st.ModTime())
	}
	return err
}

// The seal of one thing is not that of another.
func TestName(t *testing.T) {
	dir := tree(t)
	a, err := Of(dir, "a")
	must(t, err)
	if b, err := Of(dir, "b"); err != nil || a == b {
		t.Errorf("the same seal, %v", err)
	}
	if file := sum(t, dir+"/a/f3"); file == sum(t, dir+"/a/f4") {
		t.Error("two files have the same seal")
	}
	if _, err := Of(dir+"/none", "a"); !os.IsNotExist(err) {
		t.Errorf("of what is not there: %v", err)
	}
}

// What is written is read again; what cannot be read is no seal.
func TestReadWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal")
	must(t, Seals{"toc": "12", "fs": "34"}.Write(path))
	if s := Read(path); len(s) != 2 || s["toc"] != "12" || s["fs"] != "34" {
		t.Errorf("got %v", s)
	}
	must(t, os.WriteFile(path, []byte("\x00\x00 \n\nfs"), 0o600))
	if s := Read(path); s["fs"] != "" || s["toc"] != "" {
		t.Errorf("got %v", s)
	}
	if s := Read(path + "none"); s["fs"] != "" {
		t.Errorf("got %v", s)
	}
}

func BenchmarkOf(b *testing.B) {
	dir := os.Getenv("SEAL_DIR")
	if dir == "" {
		dir = tree(b)
	}
	var from, to unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &from))
	for b.Loop() {
		sum(b, dir)
	}
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &to))
	cpu := to.Utime.Nano() + to.Stime.Nano() - from.Utime.Nano() - from.Stime.Nano()
	b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
}

// A text is what was sealed under its name, and nothing else is.
func TestText(t *testing.T) {
	sealed := SealText([]byte("one\ntwo"), "a")
	if text, ok := OpenText(sealed, "a"); !ok || string(text) != "one\ntwo" {
		t.Errorf("%q, %v", text, ok)
	}
	if _, ok := OpenText(sealed, "b"); ok {
		t.Error("it opens under another name")
	}
	for at := range sealed {
		flipped := bytes.Clone(sealed)
		flipped[at] ^= 1
		if _, ok := OpenText(flipped, "a"); ok {
			t.Errorf("byte %d flipped: it opens", at)
		}
		if _, ok := OpenText(sealed[:at], "a"); ok {
			t.Errorf("cut at %d: it opens", at)
		}
	}
}
