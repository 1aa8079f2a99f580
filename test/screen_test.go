package test

import (
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// screenWait is how long a text may take to appear on a busy machine.
const screenWait = 30 * time.Second

// screen drives a program in a real terminal, that of tmux:
//
//	screen start WIDTHxHEIGHT COMMAND ARGS...
//	screen keys KEY...        as tmux names them: Up, Tab, x; after Escape, which is the last, see what it did
//	screen see PATTERN...     waits until the screen matches all; ! screen see, until it matches none
//	screen until KEY PATTERN  presses a key until the screen matches: a program that comes back may miss the first
//	screen show [colors]      prints the screen; with its colours as escape sequences
//	screen ended              waits until the program has ended
func screen(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: screen start|keys|see|show|ended")
	}
	switch args[0] {
	case "start":
		startScreen(ts, args[1:])
	case "keys":
		if i := slices.Index(args, "Escape"); i > 0 && i < len(args)-1 {
			ts.Fatalf("screen keys: Escape and a key that is read with it are Alt: end with Escape, and see what it does first")
		}
		ts.Check(tmux(ts, append([]string{"send-keys", "-t", "it"}, args[1:]...)...))
	case "see":
		for _, pattern := range args[1:] {
			p, err := regexp.Compile("(?m)" + pattern)
			ts.Check(err)
			waitScreen(ts, func(text string) bool { return p.MatchString(text) != neg }, pattern)
		}
	case "until":
		if len(args) != 3 {
			ts.Fatalf("usage: screen until KEY PATTERN")
		}
		p, err := regexp.Compile("(?m)" + args[2])
		ts.Check(err)
		pressed := time.Time{}
		waitScreen(ts, func(text string) bool {
			if !p.MatchString(text) && time.Since(pressed) > 5*time.Second {
				ts.Check(tmux(ts, "send-keys", "-t", "it", args[1]))
				pressed = time.Now()
			}
			return p.MatchString(text)
		}, args[2])
	case "show":
		flags := []string{"capture-pane", "-t", "it", "-p"}
		if len(args) > 1 {
			flags = append(flags, "-e")
		}
		ts.Check(tmux(ts, flags...))
	case "ended":
		waitScreen(ts, func(text string) bool { return strings.Contains(text, "[ended with ") }, "the end of the program")
	default:
		ts.Fatalf("screen %s: start, keys, see, show or ended", args[0])
	}
}

func startScreen(ts *testscript.TestScript, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: screen start WIDTHxHEIGHT COMMAND ARGS...")
	}
	width, height, _ := strings.Cut(args[0], "x")
	// The shell stays after the program, so that its last screen and exit code can be seen.
	command := strings.Join(args[1:], " ") + `; echo "[ended with $?]"; exec sleep 1000`
	ts.Check(os.WriteFile(ts.MkAbs(".tmux.conf"), []byte("set -g default-terminal tmux-256color\nset -g escape-time 0\nset -g status off\n"), 0o600))
	ts.Check(tmux(ts, "-f", ts.MkAbs(".tmux.conf"), "new-session", "-d", "-s", "it", "-x", width, "-y", height, "sh", "-c", command))
	server := socket(ts) // which another working directory has another of
	ts.Defer(func() { _ = exec.Command("tmux", "-S", server, "kill-server").Run() })
}

// tmux runs a command of a server of the script's own.
func tmux(ts *testscript.TestScript, args ...string) error {
	return ts.Exec("tmux", append([]string{"-S", socket(ts)}, args...)...)
}

// socket is the server's. Its path may have 108 bytes, which one in the script's folder could exceed.
func socket(ts *testscript.TestScript) string {
	sum := fnv.New32a()
	io.WriteString(sum, ts.MkAbs("."))
	return filepath.Join(os.TempDir(), fmt.Sprintf("strata-tmux-%x", sum.Sum32()))
}

// waitScreen waits until the screen is as it should be.
func waitScreen(ts *testscript.TestScript, good func(string) bool, what string) {
	text := ""
	for end := time.Now().Add(screenWait); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		out, err := exec.Command("tmux", "-S", socket(ts), "capture-pane", "-t", "it", "-p").Output()
		ts.Check(err)
		if text = string(out); good(text) {
			return
		}
	}
	ts.Fatalf("the screen never came to %s:\n%s", what, text)
}
