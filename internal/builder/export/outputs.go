package export

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/distribution/reference"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/builder/dockerfile"
)

// CheckDelete refuses mode=delete for a directory that does not lie below the working directory, as a mistyped dest
// would take all that is there. Links count as where they lead. buildx does so too, unless it is permitted.
func CheckDelete(specs []Spec) error {
	for _, s := range specs {
		if !s.Delete {
			continue
		}
		if below, err := isBelowHere(s.Dest); err != nil || !below {
			return errors.Join(fmt.Errorf("type=local: mode=delete removes all other files of %s, which is not below the working directory: name a directory below it, or permit it with --allow=%s",
				s.Dest, dockerfile.AllowLocalDelete), err)
		}
	}
	return nil
}

// isBelowHere says whether a path, of which the last folders need not be there, lies below the working directory.
func isBelowHere(path string) (bool, error) {
	here, err := os.Getwd()
	if err == nil {
		here, err = filepath.EvalSymlinks(here)
	}
	if err != nil {
		return false, err
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return false, err
	}
	missing := ""
	for {
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			path = filepath.Join(real, missing)
			break
		}
		if _, lerr := os.Lstat(path); lerr == nil || !errors.Is(err, fs.ErrNotExist) {
			return false, err // a link that leads to nothing, for instance
		}
		missing = filepath.Join(filepath.Base(path), missing)
		path = filepath.Dir(path)
	}
	rel, err := filepath.Rel(here, path)
	return rel != "." && filepath.IsLocal(rel), err
}

// Add adds what --push and --load ask for, as buildx does: --push has the image outputs pushed, or adds one; --load
// adds the image to the store unless it goes there already.
func Add(specs []Spec, push, load bool) []Spec {
	if push {
		pushed := false
		for i := range specs {
			if specs[i].Kind == ToImage {
				specs[i].Push, pushed = true, true
			}
		}
		if !pushed {
			specs = append(specs, Spec{Kind: ToImage, Push: true})
		}
	}
	stored := func(s Spec) bool { return s.Kind == ToImage && !s.NotStored || s.Kind == Docker && s.Dest == "" }
	if load && !slices.ContainsFunc(specs, stored) {
		specs = append(specs, Spec{Kind: Docker})
	}
	return specs
}

// Check says what is wrong with outputs as a whole, before anything is built.
func Check(specs []Spec, tags []reference.Named) error {
	stdout := 0
	for _, s := range specs {
		if s.Dest == "-" {
			stdout++
		}
		if s.ByDigest && !s.Push {
			return errors.New("push-by-digest goes with push=true")
		}
		if s.Push && len(tags) == 0 && len(s.Names) == 0 {
			return errors.New("what is pushed needs a name: add --tag NAME, or name=NAME to the output")
		}
	}
	if stdout > 1 {
		return errors.New("several outputs go to standard output: name a file for all but one, dest=FILE")
	}
	return nil
}

// Prepare makes the directories that outputs go to, and says what is wrong with a place before anything is built.
func Prepare(specs []Spec) error {
	for _, s := range specs {
		if err := s.prepare(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spec) prepare() error {
	if s.Dest == "" || s.Dest == "-" {
		return nil
	}
	isDir := s.Kind == Local || s.Directory
	dir := s.Dest
	if !isDir {
		dir = filepath.Dir(dir)
	}
	st, err := os.Stat(s.Dest)
	switch {
	case err == nil && !isDir && st.IsDir():
		return fmt.Errorf("--output type=%s,dest=%s: it is a directory; name a file in it", s.Kind, s.Dest)
	case err == nil && isDir && !st.IsDir():
		return fmt.Errorf("--output type=%s,dest=%s: it is no directory", s.Kind, s.Dest)
	case err == nil && !isDir && !st.Mode().IsRegular():
		return nil // a device or pipe
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("--output type=%s: making its directory: %w", s.Kind, err)
	}
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return fmt.Errorf("--output type=%s: %s cannot be written to: %w", s.Kind, dir, err)
	}
	return nil
}

// UsesStdout says that an output goes to standard output, so that nothing else may.
func UsesStdout(specs []Spec) bool {
	return slices.ContainsFunc(specs, func(s Spec) bool { return s.Dest == "-" })
}
