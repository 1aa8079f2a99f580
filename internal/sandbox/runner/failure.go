package runner

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// maxSeals is how often the copy of this program is sealed again.
const maxSeals = 5

// isSealing says that a container did not start since the copy of this program in memory could not be sealed that
// libcontainer starts it with. The kernel refuses that while somebody still uses a page of it (mm/memfd.c,
// memfd_wait_for_pins), which passes. Nothing was started.
func isSealing(err error) bool {
	return errors.Is(err, unix.EBUSY) && strings.Contains(err.Error(), "could not seal fd")
}

// startError tells apart why a container did not start. libcontainer hands the errors of its init over as
// text, so the text is all there is to go by; docker run does the same (docker/cli, toStatusError).
func startError(err error) (int, error) {
	text := err.Error()
	// What matters begins at the program's name: `exec: "foo": executable file not found in $PATH`.
	if i := strings.LastIndex(text, `exec: "`); i >= 0 {
		err = errors.New(text[i:])
		switch {
		case strings.Contains(text[i:], "executable file not found"), strings.Contains(text[i:], "no such file or directory"):
			return ExitNotFound, err
		default:
			return ExitNotExecutable, err
		}
	}
	if _, cause, ok := strings.Cut(text, "error during container init: "); ok {
		err = errors.New(cause)
	}
	return ExitSandbox, fmt.Errorf("start the container: %w", err)
}
