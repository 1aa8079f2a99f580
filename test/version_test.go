package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strata-build/strata/test/testbed"
)

// The version follows from git's tags.
func TestVersion(t *testing.T) {
	root, err := testbed.Root()
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(filepath.Join(root, "packaging/version"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "packaging/version")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, script, 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir), "GIT_CONFIG_GLOBAL=/dev/null",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	want := func(version string) {
		t.Helper()
		version = strings.ReplaceAll(version, "COMMIT", "g"+run("git", "rev-parse", "--short=12", "HEAD"))
		if got := run(file); got != version {
			t.Errorf("it is %s, want %s", got, version)
		}
	}
	commit := func() { run("git", "commit", "-q", "--allow-empty", "-m", "more") }

	if got := run(file); got != "0.0.0-unknown" {
		t.Errorf("without git it is %s", got)
	}
	run("git", "init", "-q")
	run("git", "add", "packaging")
	commit()
	want("0.0.0-dev.1+COMMIT")
	run("git", "tag", "v1.2.3-rc.1")
	want("1.2.3-rc.1")
	commit()
	want("1.2.3-rc.1.dev.1+COMMIT")
	run("git", "tag", "-a", "-m", "v1.2.3", "v1.2.3")
	run("git", "tag", "other")
	want("1.2.3")
	if err := os.WriteFile(file, append(script, '\n'), 0o755); err != nil {
		t.Fatal(err)
	}
	want("1.2.4-dev.0+COMMIT.dirty")
	run("git", "checkout", "-q", ".")
	commit()
	commit()
	want("1.2.4-dev.2+COMMIT")
}
