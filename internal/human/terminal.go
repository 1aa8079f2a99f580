package human

import (
	"io"

	"golang.org/x/sys/unix"
)

// File is an open file that is written to, such as *os.File.
type File interface {
	io.Writer
	Fd() uintptr
}

// IsTerminal says that a file is a terminal (tcgetattr(3)).
func IsTerminal(f File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
