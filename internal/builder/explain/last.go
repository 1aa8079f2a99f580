package explain

import (
	"os"
	"path/filepath"

	"github.com/strata-build/strata/internal/store"
)

// lastBuilds is how many builds are looked through for one of this directory.
const lastBuilds = 200

// Last returns the last build that was started in the working directory or had it as its context; where there is none
// among the last 200, the last build; nil if there was none at all.
func Last(s *store.Store) (*Build, error) {
	rows, err := s.Builds(lastBuilds)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	dir := WorkingDir()
	for _, row := range rows {
		b, err := Read(row)
		if err != nil {
			return nil, err
		}
		if dir != "" && (b.Dir == dir || b.Context == dir) {
			return b, nil
		}
	}
	return Read(rows[0])
}

// WorkingDir is the directory that the process works in, without symbolic links; "" if it is gone.
func WorkingDir() string {
	dir, err := os.Getwd()
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return ""
	}
	return dir
}
