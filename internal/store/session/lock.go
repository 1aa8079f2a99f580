package session

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/strata-build/strata/internal/store/disk"
)

// Lock waits until no other process holds the lock of this name, and takes it until release is called.
// Builds lock a cache key while they run its step, so that two builds never run the same step.
func (s *Session) Lock(ctx context.Context, name string) (release func(), err error) {
	if s.readOnly {
		return nil, &disk.ReadOnlyError{Root: s.root}
	}
	release, err = disk.AwaitLock(ctx, filepath.Join(s.root, "locks", name))
	if err != nil && context.Cause(ctx) == nil {
		err = fmt.Errorf("locking %s: %w", name, s.Explain(err))
	}
	return release, err
}
