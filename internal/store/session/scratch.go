package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Scratch makes a new folder for what is thrown away when the process ends: Temp, or for a store that cannot be written
// to one below $TMPDIR, in a folder of its own that is swept like the store's.
func (s *Session) Scratch(name string) (string, error) {
	if !s.readOnly {
		return s.Temp(name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for again := true; ; again = false {
		dir, err := s.outside(name)
		if err == nil {
			return dir, nil
		}
		// Another process that ended may have removed the folder just now.
		if !again || !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("making a folder in %s, since the store %s is read-only: %w; set TMPDIR to a folder that can be written to",
				os.TempDir(), s.root, err)
		}
	}
}

func (s *Session) outside(name string) (string, error) {
	if s.scratch == nil {
		root, err := scratchRoot()
		if err != nil {
			return "", err
		}
		if s.scratch, err = Open(root); err != nil {
			s.scratch = nil
			return "", err
		}
	}
	return s.scratch.Temp(name)
}

// scratchRoot is the folder below $TMPDIR, which nobody else can have made or enter.
func scratchRoot() (string, error) {
	root := filepath.Join(os.TempDir(), "strata-scratch-"+strconv.Itoa(os.Geteuid()))
	if err := os.Mkdir(root, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Lstat(root, &st); err != nil {
		return "", &fs.PathError{Op: "lstat", Path: root, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return "", fmt.Errorf("%s belongs to somebody else", root)
	}
	if err := os.Mkdir(filepath.Join(root, "tmp"), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return root, nil
}

// leaveScratch ends the use of the folder below $TMPDIR, and removes it if nobody else uses it.
func (s *Session) leaveScratch() error {
	if s.scratch == nil {
		return nil
	}
	root := s.scratch.root
	err := s.scratch.Close()
	s.scratch = nil
	if os.Remove(filepath.Join(root, "tmp")) == nil {
		_ = os.Remove(root)
	}
	return err
}
