package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/containerd/console"
)

// screen is an explorer on a terminal.
type screen struct {
	cmd     *exec.Cmd
	console console.Console
	output  chan []byte
}

func show(ctx context.Context, binary, root string) (*screen, error) {
	ours, path, err := console.NewPty()
	if err != nil {
		return nil, err
	}
	if err := ours.Resize(console.WinSize{Width: 120, Height: 40}); err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	theirs, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	defer theirs.Close()
	s := &screen{command(ctx, binary, root, "explore", imageName), ours, make(chan []byte, 1000)}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = theirs, theirs, theirs
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	go func() {
		defer close(s.output)
		for {
			buf := make([]byte, 64<<10)
			n, err := ours.Read(buf)
			if err != nil {
				return
			}
			s.output <- buf[:n]
		}
	}()
	return s, nil
}

// quiet is for how long nothing may come before a screen counts as drawn.
const quiet = 200 * time.Millisecond

// drawn waits until the screen is drawn, and says how long that took. text has to be among it.
func (s *screen) drawn(start time.Time, text string) (time.Duration, error) {
	var all []byte
	var last time.Duration
	for {
		select {
		case b, ok := <-s.output:
			if !ok {
				return 0, fmt.Errorf("the explorer ended: %s", all)
			}
			all = append(all, b...)
			last = time.Since(start)
		case <-time.After(quiet):
			if len(all) > 0 && bytes.Contains(all, []byte(text)) {
				return last, nil
			}
			if time.Since(start) > time.Minute {
				return 0, fmt.Errorf("%q never came", text)
			}
		}
	}
}

// end leaves the explorer.
func (s *screen) end() error {
	_, err := s.console.Write([]byte("q"))
	go func() {
		for range s.output { // what it still writes
		}
	}()
	return errors.Join(err, s.cmd.Wait(), s.console.Close())
}

// measureExplorer measures the first screen, and from a key to the end of what it draws.
func measureExplorer(ctx context.Context, binary, root string, runs int) error {
	keys := []struct{ name, press, back string }{
		{"to the tree", "\t", ""}, {"down", "j", "k"}, {"a page down", "\x1b[6~", "\x1b[5~"}, {"to the end of the list", "G", "g"}, {"the whole tree (`a`)", "a", "a"},
		{"sort by size (`s`)", "s", "s"}, {"back to the layers", "\t", ""}, {"the layer below, with all files", "k", "j"},
	}
	times := make([][]time.Duration, len(keys)+1)
	var most int64
	for range runs {
		start := time.Now()
		s, err := show(ctx, binary, root)
		if err != nil {
			return err
		}
		d, err := s.drawn(start, "quit")
		if err != nil {
			return err
		}
		times[0] = append(times[0], d)
		for i, k := range keys {
			for _, press := range []string{k.press, k.back} {
				if press == "" {
					continue
				}
				start := time.Now()
				if _, err := s.console.Write([]byte(press)); err != nil {
					return err
				}
				if d, err = s.drawn(start, ""); err != nil {
					return fmt.Errorf("%s: %w", k.name, err)
				}
				times[i+1] = append(times[i+1], d)
			}
		}
		if err := s.end(); err != nil {
			return err
		}
		most = max(most, memory(s.cmd))
	}
	row("explorer: first screen", median(times[0]), most)
	for i, k := range keys {
		row("explorer: "+k.name, median(times[i+1]), 0)
	}
	return nil
}
