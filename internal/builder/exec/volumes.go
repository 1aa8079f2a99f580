package exec

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	securejoin "github.com/cyphar/filepath-securejoin"

	"github.com/strata-build/strata/internal/layer"
)

// Docker's classic builder runs a step with an anonymous volume on each VOLUME of the state that it starts from: see
// dialect.Run.DiscardsVolumes. Here nothing is mounted; what the step changed there is taken back. What does stay in the
// step's layer is a directory that was missing, which Docker's container got as the volume's mount point: owned by root, with mode 0755.

// makeVolumes makes the directories of volumes that are missing in the mounted root file system.
func (w *work) makeVolumes(volumes map[string]struct{}) error {
	if len(volumes) == 0 {
		return nil
	}
	root, err := os.OpenRoot(w.Root())
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range slices.Sorted(maps.Keys(volumes)) {
		dir, err := w.volume(w.Root(), name)
		if err != nil {
			return fmt.Errorf("making the volume %s: %w", name, err)
		}
		if _, err := root.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := makeAll(root, dir); err != nil {
			return fmt.Errorf("making the volume %s: %w", name, err)
		}
		w.made = append(w.made, dir)
	}
	return nil
}

// volume is where in root the directory of a volume is, relative to it, with no symbolic link in it.
func (w *work) volume(root, name string) (string, error) {
	found, err := securejoin.SecureJoin(root, name)
	if err != nil {
		return "", err
	}
	return filepath.Rel(root, found)
}

// makeAll makes a directory and its parents, 0755 whatever the umask.
func makeAll(root *os.Root, dir string) error {
	for i, c := range dir + "/" {
		if c != '/' {
			continue
		}
		err := root.Mkdir(dir[:i], 0o755)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = root.Chmod(dir[:i], 0o755)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// discardVolumes takes back what was changed in the directories of volumes.
func (w *work) discardVolumes(ctx context.Context, volumes map[string]struct{}) error {
	upper, err := os.OpenRoot(w.Upper())
	if err != nil {
		return err
	}
	defer upper.Close()
	for name := range volumes {
		dir, e, err := w.below.Resolve(ctx, strings.Trim(path.Clean("/"+name), "/"))
		if err != nil || e.Type != layer.Dir || dir == "" || !w.isAt(dir) {
			continue
		}
		if err := upper.RemoveAll(dir); err != nil {
			return fmt.Errorf("taking back what the step changed in the volume /%s: %w", dir, err)
		}
	}
	for _, dir := range w.made {
		if !w.isAt(dir) {
			continue
		}
		if err := emptyAgain(upper, dir); err != nil {
			return fmt.Errorf("taking back what the step changed in the volume /%s: %w", dir, err)
		}
	}
	return nil
}

// isAt says whether the upper directory has directories all the way to dir. Where it does not, the step changed nothing there, or
// put something else in the place of one of them.
func (w *work) isAt(dir string) bool {
	parent := filepath.Dir(filepath.Join(w.Upper(), dir))
	found, err := securejoin.SecureJoin(w.Upper(), path.Dir(dir))
	if err != nil || found != parent {
		return false
	}
	info, err := os.Lstat(parent)
	return err == nil && info.IsDir()
}

// emptyAgain makes dir as makeVolumes made it, and leaves its parent's times.
func emptyAgain(upper *os.Root, dir string) error {
	parent, err := upper.Stat(path.Dir(dir))
	if err != nil {
		return err
	}
	if err := upper.RemoveAll(dir); err != nil {
		return err
	}
	if err := makeAll(upper, dir); err != nil {
		return err
	}
	return upper.Chtimes(path.Dir(dir), time.Time{}, parent.ModTime())
}
