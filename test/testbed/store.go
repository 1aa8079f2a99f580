package testbed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// A Store is a strata store with the base images in it, made once and copied for each that needs one.
type Store struct {
	Root string
}

// MakeStore fills a new store at root: busybox and, where python is set, Debian and Python.
func MakeStore(ctx context.Context, binary, root string, python bool) (*Store, error) {
	busybox, err := Busybox(ctx)
	if err != nil {
		return nil, err
	}
	s := &Store{Root: root}
	if err := s.run(ctx, binary, "import", "--change", `CMD ["sh"]`, busybox, BusyboxImage); err != nil || !python {
		return s, err
	}
	if err := s.ImportDebian(ctx, binary); err != nil {
		return nil, err
	}
	module, err := Root()
	if err != nil {
		return nil, err
	}
	dockerfile := filepath.Join(module, "examples", "python-base")
	return s, s.run(ctx, binary, "build", "--engine", "classic", "-t", PythonImage, dockerfile)
}

// ImportDebian adds the Debian image.
func (s *Store) ImportDebian(ctx context.Context, binary string) error {
	debian, err := Debian(ctx)
	if err != nil {
		return err
	}
	return s.run(ctx, binary, "import", "--change", `CMD ["bash"]`, debian, DebianImage)
}

// MakeUserStore fills a new store of a user's with the images of a store of root's.
func MakeUserStore(ctx context.Context, binary string, from *Store, u *User, images ...string) (*Store, error) {
	s, archive := &Store{Root: filepath.Join(u.Home, "store")}, filepath.Join(u.Home, "images.tar")
	if err := from.run(ctx, binary, append([]string{"save", "-o", archive}, images...)...); err != nil {
		return nil, err
	}
	if err := os.Chown(archive, UserID, UserID); err != nil {
		return nil, err
	}
	load := u.Command(ctx, "STRATA_ROOT="+s.Root, binary, "load", "-q", "-i", archive)
	if out, err := load.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%v: %w\n%s", load.Args, err, out)
	}
	return s, os.Remove(archive)
}

func (s *Store) run(ctx context.Context, binary string, args ...string) error {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "STRATA_ROOT="+s.Root)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("strata %v: %w\n%s", args, err, out)
	}
	return nil
}

// Copy makes a store at root with the same contents, on the same file system.
//
// Layers and blobs are never written again once they have their name, so hard links will do for them:
// 0.2 s instead of 3 s for the Python base, and what one copy prunes the others keep. The database is
// written in place and is copied; the reserve, which is too, is made again by whoever closes the copy.
func (s *Store) Copy(ctx context.Context, root string) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "cp", "-al", s.Root+"/.", root).CombinedOutput(); err != nil {
		return fmt.Errorf("copying the store: %w\n%s", err, out)
	}
	if err := os.RemoveAll(filepath.Join(root, "reserve")); err != nil {
		return err
	}
	databases, err := filepath.Glob(filepath.Join(s.Root, "*.db*"))
	if err != nil {
		return err
	}
	for _, database := range databases {
		out, err := exec.CommandContext(ctx, "cp", "-a", "--remove-destination", database, root).CombinedOutput()
		if err != nil {
			return fmt.Errorf("copying the store: %w\n%s", err, out)
		}
	}
	return nil
}
