package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// names are those in a directory.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "target")
	for i, mode := range []fs.FileMode{0o600, 0o644} {
		want := fmt.Sprint("text ", i)
		if err := Replace(path, mode, func(f *os.File) error {
			_, err := f.WriteString(want)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if err != nil || st.Mode() != mode {
			t.Errorf("%v, %v", st, err)
		}
		if got, err := os.ReadFile(path); string(got) != want || err != nil {
			t.Errorf("it has %q, %v", got, err)
		}
	}
	failure := errors.New("no")
	if err := Replace(path, 0o600, func(*os.File) error { return failure }); !errors.Is(err, failure) {
		t.Error(err)
	}
	if got := names(t, dir); got != "target" {
		t.Errorf("in the directory are %s", got)
	}
	if err := Replace(filepath.Join(dir, "none", "x"), 0o600, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(filepath.Join(dir, "folder"), 0o600, func(*os.File) error { return nil }); err == nil {
		t.Error("a folder was replaced")
	}
	if got := names(t, dir); got != "folder target" {
		t.Errorf("in the directory are %s", got)
	}
}

// A process that is killed while it writes leaves nothing beside the target, and that as it was.
func TestReplaceKilled(t *testing.T) {
	if path := os.Getenv("REPLACE_AND_DIE"); path != "" {
		err := Replace(path, 0o600, func(f *os.File) error {
			if _, err := f.WriteString("half"); err != nil {
				return err
			}
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		})
		t.Fatal("still alive:", err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "target")
	for _, before := range []string{"", "before"} {
		if before != "" {
			if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(os.Args[0], "-test.run", "^TestReplaceKilled$")
		cmd.Env = append(os.Environ(), "REPLACE_AND_DIE="+path)
		out, err := cmd.CombinedOutput()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			t.Fatalf("%v: %s", err, out)
		}
		want := ""
		if before != "" {
			want = "target"
		}
		if got := names(t, dir); got != want {
			t.Errorf("in the directory are %q, want %q", got, want)
		}
		if got, _ := os.ReadFile(path); string(got) != before {
			t.Errorf("it has %q", got)
		}
	}
}
