package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// writeTo calls write with the file that -o names, or standard output, which must not be a terminal. A file
// appears when it is complete.
func (a *app) writeTo(path string, write func(io.Writer) error) error {
	if path == "" || path == "-" {
		if isTerminal(a.stdout) {
			return usageError("standard output is a terminal; name a file with -o, or redirect it")
		}
		return buffered(a.stdout, write)
	}
	st, err := os.Stat(path)
	switch {
	case err == nil && st.IsDir():
		return usageError("-o %s: it is a directory", path)
	case err == nil && !st.Mode().IsRegular(): // a device or pipe, which a file must not replace
		return writeDirect(path, write)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return writeNew(path, write)
}

func writeDirect(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return buffered(f, write)
}

func writeNew(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // of no effect once it has its name
	defer f.Close()
	if err := buffered(f, write); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

func buffered(f *os.File, write func(io.Writer) error) error {
	b := bufio.NewWriterSize(f, 1<<20)
	if err := write(b); err != nil {
		return err
	}
	return b.Flush()
}
