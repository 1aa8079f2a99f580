package orphans

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What a state names is killed only if it can be nothing but the container that the state is of.
func TestEndsNothingElse(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	pid := cmd.Process.Pid
	started, ok := StartOf(pid)
	if !ok {
		t.Fatal("when a process started cannot be read")
	}
	other := t.TempDir() // with a name that no container's cgroup has
	session := t.TempDir()
	for name, state := range map[string]string{
		"another that has the number now": fmt.Sprintf(`{"init_process_pid": %d, "init_process_start": %d}`, pid, started+1),
		"no container's first process":    fmt.Sprintf(`{"init_process_pid": %d, "init_process_start": %d}`, pid, started),
		"this process":                    fmt.Sprintf(`{"init_process_pid": %d}`, os.Getpid()),
		"none yet":                        `{"init_process_pid": -1}`,
		"no cgroup of a container":        fmt.Sprintf(`{"cgroup_paths": {"": %q}}`, other),
		"half written":                    `{"init_process_pid": 1`,
	} {
		dir := filepath.Join(session, "run-1", "state", Prefix+name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte(state), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := EndBelow(session); err != nil {
		t.Error(err)
	}
	if err := unix.Kill(pid, 0); err != nil {
		t.Errorf("the process was killed: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
}
