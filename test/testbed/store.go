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
	debian, err := Debian(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.run(ctx, binary, "import", "--change", `CMD ["bash"]`, debian, DebianImage); err != nil {
		return nil, err
	}
	module, err := Root()
	if err != nil {
		return nil, err
	}
	dockerfile := filepath.Join(module, "examples", "python-base")
	return s, s.run(ctx, binary, "build", "--engine", "classic", "-t", PythonImage, dockerfile)
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
		target := filepath.Join(root, filepath.Base(database))
		if err := os.Remove(target); err != nil {
			return err
		}
		data, err := os.ReadFile(database)
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, data, 0o600); err != nil {
			return err
		}
	}
	return nil
}
