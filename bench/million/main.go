// Command million measures the verbs that look at images, and the explorer, on an image of a million files. The image has
// no layers on disk: its tables of contents are made from tars that exist only while they are read.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

func main() {
	files := flag.Int("files", 1_000_000, "how many files the image has")
	runs := flag.Int("runs", 5, "how often each command is measured")
	binary := flag.String("strata", "bin/strata", "the program; make build writes it")
	into := flag.String("fill", "", "only make a store with the image in this directory")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	var err error
	if *into != "" {
		err = fill(ctx, *into, *files)
	} else {
		err = measureAll(ctx, *binary, *files, *runs)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "million:", err)
		os.Exit(1)
	}
}

func measureAll(ctx context.Context, binary string, files, runs int) error {
	root, err := os.MkdirTemp("", "strata-million-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	if err := fillElsewhere(ctx, root, files); err != nil {
		return err
	}
	fmt.Printf("%d files; medians of %d runs\n\n| work | time | peak memory |\n|---|---|---|\n", files, runs)
	for _, args := range [][]string{
		{"log", imageName}, {"du", imageName}, {"blame", imageName, "/" + fileName(files/2)}, {"blame", imageName, "/" + dirName(3)},
		{"explore", "--ci", "--highestUserWastedPercent", "disabled", imageName},
	} {
		if err := measureVerb(ctx, binary, root, args, runs); err != nil {
			return err
		}
	}
	return measureExplorer(ctx, binary, root, runs)
}

// fillElsewhere fills the store in another process: what this one holds when it starts a command counts as the command's peak
// (getrusage(2), ru_maxrss is kept over execve).
func fillElsewhere(ctx context.Context, root string, files int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, self, "-fill", root, "-files", fmt.Sprint(files)).CombinedOutput(); err != nil {
		return fmt.Errorf("making the image: %w\n%s", err, out)
	}
	return nil
}

func command(ctx context.Context, binary, root string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "STRATA_ROOT="+root, "TERM=xterm-256color", "CI=")
	return cmd
}

func measureVerb(ctx context.Context, binary, root string, args []string, runs int) error {
	var times []time.Duration
	var most int64
	for range runs {
		cmd := command(ctx, binary, root, args...)
		start := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", cmd, err, out)
		}
		times = append(times, time.Since(start))
		most = max(most, memory(cmd))
	}
	row(fmt.Sprintf("`%s`", args[0]), median(times), most)
	return nil
}

// memory is the most that a process held at once, in bytes.
func memory(cmd *exec.Cmd) int64 { return cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss * 1024 }

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

func row(name string, d time.Duration, memory int64) {
	text := ""
	if memory > 0 {
		text = fmt.Sprintf("%.0f MB", float64(memory)/1e6)
	}
	fmt.Printf("| %s | %.3f s | %s |\n", name, d.Seconds(), text)
}
