package main

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// pageArg is the first argument of this program where it is a browser: see lookAtPage.
const pageArg = "page"

// lookAtPage starts the server of strata page with some arguments, reads one of its pages to the end, and ends the server:
// what a person waits for before the browser draws. What the browser takes is measured in test/page, with Chromium.
func lookAtPage(args []string) error {
	binary, path, image := args[0], args[1], args[2]
	cmd := exec.Command(binary, "page", "--no-open", image)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		err = get(context.Background(), strings.TrimSpace(address)+path, discard)
	}
	return errors.Join(err, cmd.Process.Signal(syscall.SIGINT), cmd.Wait())
}

// largeImage is an image of many files in one directory, largeFiles of them.
const (
	largeImage = "bench/files"
	largeFiles = 300_000
)

// makeLarge makes the large image, if it is not there yet.
func (l *look) makeLarge(ctx context.Context, _ builder, _ *scenario) error {
	if l.strata.command(ctx, "image", "inspect", largeImage).Run() == nil {
		return nil
	}
	name := filepath.Join(l.strata.root, "large.tar")
	if err := writeLarge(name); err != nil {
		return err
	}
	return errors.Join(run(l.strata.command(ctx, "import", name, largeImage)), os.Remove(name))
}

func writeLarge(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	buffered := bufio.NewWriter(f)
	out := tar.NewWriter(buffered)
	for i := range largeFiles {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Mode: 0o644, Name: fmt.Sprintf("d/file-%06d", i)}); err != nil {
			return err
		}
	}
	return errors.Join(out.Close(), buffered.Flush())
}

// pages are the scenarios of strata page. A first paint is to come within 0.2 s, of which a browser takes the half.
func (l *look) pages(self string) []*scenario {
	page := func(name, path, image string, reach time.Duration) *scenario {
		s := &scenario{name: "look: " + name, reach: reach, command: func(ctx context.Context) *exec.Cmd {
			cmd := l.strata.command(ctx, image)
			cmd.Args = append([]string{self, pageArg, cmd.Path, path}, cmd.Args[1:]...)
			cmd.Path = self
			return cmd
		}}
		if image == largeImage {
			s.before = l.makeLarge
		}
		return s
	}
	return []*scenario{
		page("the page of an image, from the start of its server", "", "bench/look", 100*time.Millisecond),
		page("its treemap", "bytes?image=bench/look", "bench/look", 200*time.Millisecond),
		page("the page of an image with 300,000 files", "", largeImage, 0),
		page("its list of all files, for the tree", "table?image="+largeImage, largeImage, 0),
	}
}
