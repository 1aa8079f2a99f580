package export

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
)

// result makes files of entries; a file holds its path.
func result(t *testing.T, entries ...*layer.Entry) *files {
	t.Helper()
	for _, e := range entries {
		if e.Type == layer.File {
			e.Size = int64(len(e.Path))
		}
	}
	toc, err := layer.NewTOC(entries)
	if err != nil {
		t.Fatal(err)
	}
	return &files{toc, func(_ context.Context, e *layer.Entry) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(e.Path)), nil
	}}
}

func writeInto(t *testing.T, dir string, f *files) error {
	t.Helper()
	d, err := openDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if err := d.write(context.Background(), f); err != nil {
		return err
	}
	return d.finish()
}

// What is in the way of a file is replaced, never followed: nothing outside the directory changes.
func TestDirectoryFollowsNoLinks(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"file": secret, "hard": secret, "dir": outside, "up": "..", "link": outside} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	f := result(t,
		&layer.Entry{Path: "dir", Type: layer.Dir, Mode: 0o750, ModTime: 1e9},
		&layer.Entry{Path: "dir/secret", Type: layer.File, Mode: 0o4711, ModTime: 1e9},
		&layer.Entry{Path: "disk", Type: layer.Block, Mode: 0o660, Major: 8},
		&layer.Entry{Path: "file", Type: layer.File, Mode: 0o640, ModTime: 1e9},
		&layer.Entry{Path: "hard", Type: layer.Hardlink, Link: "file"},
		&layer.Entry{Path: "link", Type: layer.Symlink, Link: "/etc/passwd", ModTime: 1e9},
		&layer.Entry{Path: "up", Type: layer.Fifo, Mode: 0o622, ModTime: 1e9},
	)
	for range 2 { // again, over what the first time left
		if err := writeInto(t, dir, f); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(secret); err != nil || string(data) != "keep" {
			t.Fatalf("the file outside is %q, %v", data, err)
		}
		entries, err := os.ReadDir(outside)
		if err != nil || len(entries) != 1 {
			t.Fatalf("outside there are %v, %v", entries, err)
		}
		for path, mode := range map[string]uint32{
			"dir": unix.S_IFDIR | 0o750, "dir/secret": unix.S_IFREG | 0o711, "file": unix.S_IFREG | 0o640,
			"hard": unix.S_IFREG | 0o640, "link": unix.S_IFLNK | 0o777, "up": unix.S_IFIFO | 0o622,
		} {
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(dir, path), &st); err != nil {
				t.Fatal(err)
			}
			if st.Mode != mode || st.Mtim.Sec != 1e9 || int(st.Uid) != os.Geteuid() {
				t.Errorf("%s: mode %o, time %d, owner %d; want %o, 1e9 and ours", path, st.Mode, st.Mtim.Sec, st.Uid, mode)
			}
		}
		all, err := os.ReadDir(dir)
		if err != nil || len(all) != 5 {
			t.Fatalf("in the directory there are %v, %v", all, err)
		}
	}
}

func TestDirectoryReplacesKinds(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "c"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	f := result(t,
		&layer.Entry{Path: "a", Type: layer.File, Mode: 0o644},
		&layer.Entry{Path: "c", Type: layer.Dir, Mode: 0o755},
		&layer.Entry{Path: "c/d", Type: layer.File, Mode: 0o644},
	)
	if err := writeInto(t, dir, f); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "a", "c/d": "c/d"} {
		if data, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
}

// A write that fails leaves what was there, and nothing half-made beside it.
func TestDirectoryKeepsWhatItCannotReplace(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("before"), 0o644); err != nil {
		t.Fatal(err)
	}
	f := result(t, &layer.Entry{Path: "a", Type: layer.File, Mode: 0o644})
	f.open = func(context.Context, *layer.Entry) (io.ReadCloser, error) { return io.NopCloser(failing{}), nil }
	if err := writeInto(t, dir, f); err == nil {
		t.Fatal("no error")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v, %v", entries, err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(data) != "before" {
		t.Errorf("%q, %v", data, err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
