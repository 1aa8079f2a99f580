package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/sandbox/snapshot"
	"github.com/strata-build/strata/internal/store"
)

// Directories are lower layers that are directories.
func Directories(dirs ...string) []store.Lower {
	lowers := make([]store.Lower, len(dirs))
	for i, dir := range dirs {
		lowers[i] = store.Lower{Dir: dir, Layers: 1}
	}
	return lowers
}

// attach gives the directories of lower layers. Indexes are mounted in the new folder dir, until detach is called,
// which it is in any case.
func attach(dir string, lowers []store.Lower) (dirs []string, detach func(), err error) {
	var mounted []string
	detach = func() {
		for _, at := range mounted {
			_ = unix.Unmount(at, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		}
	}
	for i, lower := range lowers {
		if lower.Index == "" {
			dirs = append(dirs, lower.Dir)
			continue
		}
		at := filepath.Join(dir, strconv.Itoa(i))
		if err := os.MkdirAll(at, 0o700); err != nil {
			return nil, detach, fmt.Errorf("preparing a root file system: %w", err)
		}
		if err := mountIndex(&lower, at); err != nil {
			return nil, detach, fmt.Errorf("mounting layers at %s: %w", at, err)
		}
		mounted, dirs = append(mounted, at), append(dirs, at)
	}
	return dirs, detach, nil
}

func mountIndex(lower *store.Lower, at string) error {
	index, err := os.Open(lower.Index)
	if err != nil {
		return gone(err)
	}
	defer index.Close()
	fd, err := lower.Open(index)
	if err != nil {
		return gone(err)
	}
	defer unix.Close(fd)
	return snapshot.Attach(fd, at)
}

// gone says what can be done where a layer was removed meanwhile.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; it was removed meanwhile: try again", err)
	}
	return err
}
