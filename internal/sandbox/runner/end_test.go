package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// builderArg makes the test binary a builder that can be killed.
const builderArg = "runner-test-builder"

// builder runs a step that does not end by itself, as a user, "insecure" or with "limits".
func builder(rootfs, stateDir, user, script string) {
	spec := Spec{
		Rootfs: rootfs, StateDir: stateDir, Streams: Streams{Stdout: os.Stdout, Stderr: os.Stderr},
		Args: []string{"/bin/sh", "-c", script},
	}
	switch user {
	case "insecure":
		spec.Insecure = true
	case "limits":
		spec.Limits.Memory = 64 << 20
	default:
		spec.User = user
	}
	_, err := Run(context.Background(), spec)
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// containerProcesses counts the processes whose root directory is r.
func (r rootfs) processes(t *testing.T) int {
	t.Helper()
	pids, err := filepath.Glob("/proc/[0-9]*")
	must(t, err)
	count := 0
	for _, pid := range pids {
		mounts, err := os.ReadFile(pid + "/mountinfo")
		if err != nil || !strings.Contains(string(mounts), "upperdir="+r.upper+",") {
			continue
		}
		// Of those that see the mount, the ones for which it is the root.
		if strings.Contains(string(mounts), " / / ") && !strings.Contains(string(mounts), " / "+r.merged+" ") {
			count++
		}
	}
	return count
}

// waitFor polls, for what the kernel does on its own time.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("%s: not after a minute", what)
}

// notifyWriter closes seen at the first output.
type notifyWriter struct {
	seen chan struct{}
	once sync.Once
}

func (w *notifyWriter) Write(b []byte) (int, error) {
	w.once.Do(func() { close(w.seen) })
	return len(b), nil
}

func TestCancel(t *testing.T) {
	r := busyboxRoot(t, nil)
	ctx, cancel := context.WithCancelCause(context.Background())
	started := &notifyWriter{seen: make(chan struct{})}
	go func() {
		<-started.seen
		if r.processes(t) == 0 {
			t.Error("no process of the container was found while it ran: the test sees nothing")
		}
		cancel(errors.New("enough"))
	}()
	code, err := Run(ctx, Spec{
		Rootfs: r.merged, StateDir: t.TempDir(), Streams: Streams{Stdout: started},
		Args: []string{"/bin/sh", "-c", "trap '' TERM INT; (sleep 1000 & sleep 1000) & echo started; sleep 1000"},
	})
	if code != 128+int(unix.SIGKILL) || err == nil || err.Error() != "enough" {
		t.Errorf("got %d, %v", code, err)
	}
	if n := r.processes(t); n != 0 {
		t.Errorf("%d processes are left", n)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	if n := strings.Count(string(mounts), r.merged); n != 1 {
		t.Errorf("%d mounts under the root file system, want the one of the test:\n%s", n, mounts)
	}
	expectTree(t, r.upper, nil)
}

func TestCancelledBefore(t *testing.T) {
	r := busyboxRoot(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, Spec{Rootfs: r.merged, StateDir: t.TempDir(), Args: []string{"true"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Cancelling at any moment of a start leaves nothing.
func TestCancelWhileStarting(t *testing.T) {
	r := busyboxRoot(t, nil)
	for delay := time.Millisecond; delay < 40*time.Millisecond; delay += 3 * time.Millisecond {
		ctx, cancel := context.WithTimeout(context.Background(), delay)
		state := t.TempDir()
		_, err := Run(ctx, Spec{Rootfs: r.merged, StateDir: state, Args: []string{"sleep", "1000"}})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: %v", delay, err)
		}
		if left, _ := filepath.Glob(state + "/strata-*"); r.processes(t) != 0 || len(left) != 0 {
			t.Errorf("after %v: %d processes and %v are left", delay, r.processes(t), left)
		}
	}
	expectTree(t, r.upper, nil)
}

// A builder that is killed takes its containers along.
func TestKilledBuilder(t *testing.T) {
	r := busyboxRoot(t, nil)
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe, builderArg, r.merged, t.TempDir(), "", "sleep 1000 & echo started; sleep 1000")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if _, err := io.ReadFull(out, make([]byte, len("started\n"))); err != nil {
		t.Fatal(err)
	}
	if n := r.processes(t); n != 2 && n != 3 {
		t.Errorf("%d processes run, want the shell and two sleeps", n)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	waitFor(t, "no process of the container is left", func() bool { return r.processes(t) == 0 })
}

func TestSignals(t *testing.T) {
	r := busyboxRoot(t, nil)
	signals := make(chan os.Signal, 1)
	started := &notifyWriter{seen: make(chan struct{})}
	go func() {
		<-started.seen
		signals <- unix.SIGTERM
	}()
	var errs bytes.Buffer
	_, code := r.sh(t, Spec{Streams: Streams{Signals: signals, Stdout: started, Stderr: &errs}}, "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done")
	if code != 7 {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}

// Runs beside each other do not get in each other's way.
func TestConcurrentRuns(t *testing.T) {
	r := busyboxRoot(t, nil)
	var group sync.WaitGroup
	for i := range 4 {
		other := busyboxRoot(t, nil)
		group.Go(func() {
			for range 3 {
				want := fmt.Sprintf("%d\n", i)
				if got, code := other.sh(t, Spec{}, fmt.Sprintf("echo %d; ls -d /proc/[0-9]* | wc -l >&2", i)); !strings.HasPrefix(got, want) || code != 0 {
					t.Errorf("got %q, %d", got, code)
				}
			}
		})
	}
	group.Wait()
	expectTree(t, r.upper, nil)
}
