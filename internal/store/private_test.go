package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Nobody but its owner can enter a store or read meta.db, which holds build arguments; also not where
// an older strata made it.
func TestPrivate(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	look := func(when string) {
		t.Helper()
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.Type() == fs.ModeSymlink {
				return err
			}
			info, err := e.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s, %s has the mode %s", when, path, info.Mode())
			}
			if filepath.Dir(path) == filepath.Join(root, "layers") {
				return fs.SkipDir // what nobody can enter
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	s := open(t, root)
	addLayer(t, s, "a", "something")
	look("new")
	err := errors.Join(os.Chmod(root, 0o711), os.Chmod(filepath.Join(root, "meta.db"), 0o644),
		os.Chmod(filepath.Join(root, "meta.db-wal"), 0o644), os.Chmod(filepath.Join(root, "layers"), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	open(t, root)
	look("opened again")
}

// Folders of a store that went are made again.
func TestFoldersComeBack(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"locks", "blobs", "contexts"} {
		if err := os.RemoveAll(filepath.Join(root, dir)); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, root)
	release, err := s.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	release()
	in, err := s.Ingest(t.Context(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 0)
	if err == nil {
		err = errors.Join(in.Commit(), in.Close())
	}
	if err != nil {
		t.Error(err)
	}
}
