package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/strata-build/strata/internal/event/progress"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/store/disk"
)

// standardOutput remembers that something could not be written, so that a command whose output was lost does not
// succeed: strata build -q >/dev/full.
type standardOutput struct {
	*os.File

	mu  sync.Mutex // a display writes while a command does
	err error      // the first
}

// Write implements io.Writer.
func (o *standardOutput) Write(p []byte) (int, error) {
	n, err := o.File.Write(p)
	if errors.Is(err, syscall.EBADF) {
		err = errClosedOutput
	}
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.err == nil {
			o.err = err
		}
	}
	return n, err
}

// ReadFrom implements io.ReaderFrom by means of Write.
func (o *standardOutput) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{o}, r)
}

// errClosedOutput says that there is no standard output: strata images >&-. Package main sees to it that writing
// fails then.
var errClosedOutput = errors.New("standard output is closed; redirect it to a file, or to /dev/null")

// failure is the first error of Write.
func (o *standardOutput) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// WriteString implements io.StringWriter.
func (o *standardOutput) WriteString(s string) (int, error) { return o.Write([]byte(s)) }

// texts is standard output for texts of images, registries and Dockerfiles: as they are in a file or pipe, harmless
// on a terminal.
func (a *app) texts() io.Writer {
	if human.IsTerminal(a.stdout.File) {
		return human.Visible(a.stdout)
	}
	return a.stdout
}

// writeTo calls write with the file of -o, or with standard output, which must not be a terminal.
// The file appears under its name when it is complete.
func (a *app) writeTo(ctx context.Context, path string, write func(io.Writer) error) error {
	if path == "" || path == "-" {
		if human.IsTerminal(a.stdout.File) {
			return usageError("standard output is a terminal; name a file with -o, or redirect it")
		}
		return buffered(stoppable{ctx, a.stdout}, write)
	}
	st, err := os.Stat(path)
	switch {
	case err == nil && st.IsDir():
		return usageError("-o %s: it is a directory", path)
	case err == nil && !st.Mode().IsRegular(): // a device or pipe, which a file must not replace
		return writeDirect(ctx, path, write)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return writeNew(path, write)
}

// layersOnTerminal shows layers on their way on standard error if that is a terminal, and else nothing: what is saved
// and looked at may go to standard output, and docker says nothing of it.
func (a *app) layersOnTerminal() *progress.Layers {
	return progress.NewLayers(a.stderr, !human.IsTerminal(a.stderr))
}

func writeDirect(ctx context.Context, path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return buffered(stoppable{ctx, f}, write)
}

func writeNew(path string, write func(io.Writer) error) error {
	return disk.Replace(path, 0o600, func(f *os.File) error {
		if err := buffered(f, write); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
		return nil
	})
}

// writeSmall writes a file that tells of a result, such as that of --iidfile. Links are followed, and devices and pipes
// written to.
func writeSmall(path string, data []byte) error {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return os.WriteFile(path, data, 0o644)
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return disk.Replace(path, 0o644, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

func buffered(f io.Writer, write func(io.Writer) error) error {
	b := bufio.NewWriterSize(f, 1<<20)
	if err := write(b); err != nil {
		return err
	}
	return b.Flush()
}

// stoppable is a writer to a pipe or device. When ctx is done, Write returns even if nobody reads
// from the pipe. Data that is being written then is dropped.
type stoppable struct {
	ctx context.Context
	f   io.Writer
}

func (s stoppable) Write(p []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := s.f.Write(p)
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-s.ctx.Done():
		return 0, context.Cause(s.ctx)
	}
}
