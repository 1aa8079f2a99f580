package human

import (
	"os"

	"golang.org/x/sys/unix"
)

// IsTerminal says that a file is a terminal (tcgetattr(3)).
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
