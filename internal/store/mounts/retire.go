package mounts

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/strata-build/strata/internal/store/disk"
)

// An instance that a build with --no-cache does not want is retired: it is removed, or, where another process uses it, has
// the empty file "retired" from then on, and nobody begins to use it any more. BuildKit takes such caches out of its index
// before the build begins (its Worker.PruneCacheMounts).

func retiredFile(dir string) string { return filepath.Join(dir, "retired") }

// isRetired says whether an instance is not to be used: it was retired, or, with fresh, it was there before this process. What
// this process made it goes on with, even if another retired it.
func (ms *Mounts) isRetired(dir string, fresh bool) bool {
	if _, mine := ms.made.Load(dir); mine && fresh {
		return false
	}
	return fresh || disk.Exists(retiredFile(dir))
}

// retire removes an instance, or marks it where it is in use.
func (ms *Mounts) retire(dir string) (removed bool, err error) {
	m, err := ms.take(dir, false)
	if err != nil {
		return false, err
	}
	if m != nil {
		defer m.lock.Close()
		return true, ms.discard(dir)
	}
	err = os.WriteFile(retiredFile(dir), nil, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // another did
	}
	return false, err
}
