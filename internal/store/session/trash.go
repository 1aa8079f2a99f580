package session

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/strata-build/strata/internal/store/disk"
)

// Trash is a folder of work under way for what is taken out of the store. Things lose their names
// at once, so that who makes one anew finds no half of it, and are removed when the trash is
// emptied, or with what is left of the process.
type Trash struct {
	dir string
	n   int
}

// Trash makes an empty trash.
func (s *Session) Trash() (*Trash, error) {
	dir, err := s.Temp("gone")
	if err != nil {
		return nil, err
	}
	return &Trash{dir: dir}, nil
}

// Take moves a file or folder of the store into the trash, if it is there.
func (t *Trash) Take(path string) error {
	if err := os.Rename(path, filepath.Join(t.dir, strconv.Itoa(t.n))); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	t.n++
	return nil
}

// Empty removes the trash and returns what was in it in bytes on this disk.
func (t *Trash) Empty() (freed int64, err error) {
	freed, err = disk.ContentsUsage(t.dir)
	return freed, errors.Join(err, t.Close())
}

// Close removes the trash without measuring what is in it.
func (t *Trash) Close() error { return os.RemoveAll(t.dir) }
