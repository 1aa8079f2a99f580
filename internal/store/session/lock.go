package session

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/strata-build/strata/internal/store/disk"
)

// Lock waits until no other process holds the lock of this name, and takes it until release is called.
// Builds lock a cache key while they run its step, so that two builds never run the same step.
func (s *Session) Lock(ctx context.Context, name string) (release func(), err error) {
	if s.readOnly {
		return nil, &disk.ReadOnlyError{Root: s.root}
	}
	path := filepath.Join(s.root, "locks", name)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		f, err := disk.TakeNamedLock(path)
		if err != nil {
			return nil, fmt.Errorf("locking %s: %w", name, s.Explain(err))
		}
		if f != nil {
			return func() {
				os.Remove(path)
				f.Close()
			}, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}
