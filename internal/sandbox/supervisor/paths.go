package supervisor

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// here is the directory from which a call takes a relative path: an argument, or the working directory.
type from struct {
	argument int
	cwd      bool
}

var cwd = from{cwd: true}

// at is the directory in that argument.
func at(argument int) from { return from{argument: argument} }

// descriptor is the number that the call has for the directory.
func (f from) descriptor(c *call) int {
	if f.cwd {
		return unix.AT_FDCWD
	}
	return int(int32(c.argument[f.argument]))
}

// name is the directory, or file, as a path from strata's /proc.
func (f from) name(c *call) string {
	fd := f.descriptor(c)
	if fd == unix.AT_FDCWD {
		return fmt.Sprintf("%d/cwd", c.pid)
	}
	return fmt.Sprintf("%d/fd/%d", c.pid, fd)
}

// open opens what the descriptor is of.
func (f from) open(c *call) (int, error) {
	fd, err := unix.Openat(c.place.proc, f.name(c), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return -1, unix.EBADF
	}
	return fd, err
}

// file opens what a call names, for looking at it and for nothing else: path, or, if that is empty, what the descriptor
// is of. follow says that a link at the end of path is followed. The thread has the root of the process (place.as).
func (c *call) file(f from, path string, follow bool) (int, error) {
	if path == "" {
		return f.open(c)
	}
	flags := unix.O_PATH | unix.O_CLOEXEC
	if !follow {
		flags |= unix.O_NOFOLLOW
	}
	dir, done, err := c.directory(f, path)
	if err != nil {
		return -1, err
	}
	defer done()
	return unix.Openat(dir, c.ownProc(path), flags, 0)
}

// directory opens the directory that a path is taken from.
func (c *call) directory(f from, path string) (fd int, done func(), err error) {
	if strings.HasPrefix(path, "/") {
		return -1, func() {}, nil
	}
	if fd, err = f.open(c); err != nil {
		return -1, nil, err
	}
	return fd, func() { unix.Close(fd) }, nil
}

// ownProc puts the process that asks for "self" in a path into /proc, where the thread would be meant otherwise.
func (c *call) ownProc(path string) string {
	for _, own := range []struct{ prefix, in string }{
		{"/proc/self/", ""}, {"/proc/thread-self/", ""}, {"/dev/fd/", "fd/"},
		{"/dev/stdin", "fd/0"}, {"/dev/stdout", "fd/1"}, {"/dev/stderr", "fd/2"},
	} {
		rest, ok := strings.CutPrefix(path, own.prefix)
		if !ok || rest != "" && !strings.HasSuffix(own.prefix, "/") {
			continue
		}
		if pid := c.numberInside(); pid != "" {
			return "/proc/" + pid + "/" + own.in + rest
		}
	}
	return path
}

// numberInside is the number of the process in the container's /proc: that of its own name space, or, where the
// machine's /proc is shown, that of this one.
func (c *call) numberInside() string {
	if _, err := os.Readlink("/proc/self"); err == nil {
		return strconv.Itoa(int(c.pid))
	}
	numbers := strings.Fields(c.status("NSpid"))
	if len(numbers) == 0 {
		return ""
	}
	return numbers[len(numbers)-1]
}

// status is a line of the process's /proc/PID/status.
func (c *call) status(name string) string {
	data, err := os.ReadFile(fmt.Sprintf("%d/status", c.pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// statusNumber is the number at a place among those of a line of a process's status; -1, which changes no owner, if there
// is none.
func (c *call) statusNumber(name string, place int) int {
	fields := strings.Fields(c.status(name))
	if place >= len(fields) {
		return -1
	}
	n, err := strconv.Atoi(fields[place])
	if err != nil {
		return -1
	}
	return n
}

// self is an open file of this thread as a path from its working directory, for calls that take none.
func self(fd int) string { return fmt.Sprintf("self/fd/%d", fd) }
