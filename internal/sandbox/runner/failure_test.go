package runner

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// Only what passes is tried again.
func TestIsSealing(t *testing.T) {
	for err, want := range map[error]bool{
		fmt.Errorf("unable to create safe /proc/self/exe clone for runc init: could not seal fd: %w", unix.EBUSY): true,
		fmt.Errorf("could not seal fd: %w", unix.EPERM):                                                           false,
		fmt.Errorf("mounting: %w", unix.EBUSY):                                                                    false,
		errors.New("could not seal fd: device or resource busy"):                                                  false,
	} {
		if got := isSealing(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}
