package runner

import (
	"bufio"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// A container's terminal has the size of ours, follows it, and takes ctrl-C; ours is as before at the end.
func TestTerminal(t *testing.T) {
	r := busyboxRoot(t, nil)
	ours, path, err := console.NewPty()
	must(t, err)
	defer ours.Close()
	must(t, ours.Resize(console.WinSize{Height: 20, Width: 70}))
	host, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	defer host.Close()
	before, err := unix.IoctlGetTermios(int(host.Fd()), unix.TCGETS)
	must(t, err)

	type result struct {
		code int
		err  error
	}
	done := make(chan result, 1)
	go func() {
		code, err := Run(context.Background(), Spec{
			Rootfs: r.merged, StateDir: t.TempDir(), Streams: Streams{Terminal: true, Stdin: host, Stdout: host},
			Args: []string{"/bin/sh", "-c", `
				tty; stty size; echo ready
				until [ "$(stty size)" = "33 99" ]; do sleep 0.01; done; echo resized
				read -r line; echo "got $line"
				trap 'echo interrupted; exit 5' INT; echo sleeping; while :; do sleep 0.01; done`},
		})
		done <- result{code, err}
	}()

	screen := bufio.NewScanner(ours)
	expect := func(want string) {
		t.Helper()
		for screen.Scan() {
			if strings.TrimRight(screen.Text(), "\r") == want {
				return
			}
		}
		t.Fatalf("the terminal never showed %q: %v", want, screen.Err())
	}
	expect("/dev/pts/0")
	expect("20 70")
	expect("ready")
	must(t, ours.Resize(console.WinSize{Height: 33, Width: 99}))
	must(t, unix.Kill(os.Getpid(), unix.SIGWINCH)) // the test is not in the terminal's foreground, so no one sends it
	expect("resized")
	_, err = ours.Write([]byte("hello\r"))
	must(t, err)
	expect("got hello")
	expect("sleeping")
	_, err = ours.Write([]byte{3}) // ctrl-C
	must(t, err)
	expect("^Cinterrupted")
	if got := <-done; got.code != 5 || got.err != nil {
		t.Errorf("got %d, %v", got.code, got.err)
	}
	after, err := unix.IoctlGetTermios(int(host.Fd()), unix.TCGETS)
	must(t, err)
	if *after != *before {
		t.Errorf("the terminal's mode was not restored: %+v, was %+v", after, before)
	}
}

// Without a terminal on our side a container's terminal still is one.
func TestTerminalIntoBuffer(t *testing.T) {
	r := busyboxRoot(t, nil)
	got, code := r.sh(t, Spec{Streams: Streams{Terminal: true}}, "tty; echo err >&2; ls -l /dev/console | cut -c1; exit 3")
	if want := "/dev/pts/0\r\nerr\r\nc\r\n"; got != want || code != 3 {
		t.Errorf("got %q, %d; want %q, 3", got, code, want)
	}
}
