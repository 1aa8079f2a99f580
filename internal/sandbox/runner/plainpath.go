package runner

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// finding is the file that a path of a step means.
type finding struct {
	name string // the path
	file string // its path in the keeper's root
	link string // what readlink(2) says of it; "" where the kernel is to be asked
	fd   int    // opened, where it lies in the step's root; otherwise -1
}

func (f *finding) close() {
	if f.fd >= 0 {
		unix.Close(f.fd)
	}
}

// ownLinks are links of the step's root to what is outside of it.
var ownLinks = []string{"/etc/mtab", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/ptmx"}

// find finds the file that a call of the process which asks means.
func (a *answerer) find(name string, c *pathCall) (finding, error) {
	link := a.asksForLink(c)
	if link && slices.Contains(ownLinks, path.Clean(name)) {
		return finding{}, errNotOurs
	}
	if link {
		switch path.Clean(name) {
		case "/proc/self":
			return finding{file: "/proc/self", link: strconv.Itoa(a.who.process), fd: -1}, nil
		case "/proc/thread-self":
			return finding{file: "/proc/thread-self", link: fmt.Sprintf("%d/task/%d", a.who.process, a.who.thread), fd: -1}, nil
		}
	}
	file, ok := outside(name, a.who, a.first)
	if !ok || a.devices[file] {
		return finding{}, errNotOurs
	}
	for range mostLinks {
		if !a.shows(file, c.kind) {
			return finding{}, unix.ENOENT
		}
		if file == "/dev/tty" {
			return a.terminal()
		}
		to, rest := splitLink(file)
		if rest == "" {
			return finding{name: name, file: file, fd: -1}, nil
		}
		target := ""
		err := a.as(a.who, func() (err error) { target, err = readlink(to); return err })
		if err != nil {
			return finding{}, err
		}
		if inside, ok := a.inside(target); ok {
			return a.below(path.Join(inside, rest), link)
		}
		if file, ok = outside(path.Join(target, rest), a.who, a.first); !ok {
			return finding{}, unix.EACCES
		}
	}
	return finding{}, unix.ELOOP
}

// ownDevices are the paths of devices that a step's root has: those that could not be made there are empty files.
func ownDevices(root *os.File) map[string]bool {
	own := map[string]bool{}
	for _, name := range deviceNames {
		var st unix.Stat_t
		err := unix.Fstatat(int(root.Fd()), "dev/"+name, &st, unix.AT_SYMLINK_NOFOLLOW)
		own["/dev/"+name] = err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR
	}
	return own
}

// deviceNames are those of the devices that a step has in /dev.
var deviceNames = []string{"null", "zero", "full", "random", "urandom", "tty"}

// mostLinks is how many links of /proc one path may lead through.
const mostLinks = 8

// below finds a file by its path in the step's root, where links mean what they mean to the step.
func (a *answerer) below(name string, link bool) (finding, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	if link {
		how.Flags |= unix.O_NOFOLLOW
	}
	fd := -1
	err := a.as(a.who, func() (err error) {
		fd, err = unix.Openat2(int(a.root.Fd()), strings.TrimPrefix(name, "/"), &how)
		return err
	})
	if err != nil {
		return finding{}, err
	}
	return finding{file: fmt.Sprintf("/proc/self/fd/%d", fd), fd: fd}, nil
}

// isInRoot says whether the process that asks has the step's root as its working directory.
func (a *answerer) isInRoot() bool {
	directory := ""
	err := a.as(a.who, func() (err error) {
		directory, err = readlink(fmt.Sprintf("/proc/%d/cwd", a.who.process))
		return err
	})
	inside, ok := a.inside(directory)
	return err == nil && ok && inside == "/"
}

// inside is a path of the keeper's root as the step knows it, if it lies in the step's.
func (a *answerer) inside(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, a.rootPath)
	return path.Join("/", rest), ok && (rest == "" || rest[0] == '/')
}

// shows says whether a step may know of a file: not of what /proc tells of processes that are none of its own, but that they
// are there, which listing /proc says anyway.
func (a *answerer) shows(file string, kind pathKind) bool {
	name, ok := strings.CutPrefix(file, "/proc/")
	if !ok {
		return true
	}
	name, below, _ := strings.Cut(name, "/")
	pid, err := strconv.Atoi(name)
	return err != nil || below == "" && kind == aLook || pid == a.who.process || pid == a.who.thread || descends(pid, os.Getpid())
}

// descends says whether a process is a child of another, or a child's child.
func descends(pid, from int) bool {
	for pid > 1 {
		fields := statOf(pid)
		if len(fields) < 2 {
			return false
		}
		parent, err := strconv.Atoi(fields[1])
		if err != nil || parent == from {
			return err == nil
		}
		pid = parent
	}
	return false
}

// statOf are the fields of /proc/PID/stat behind the name (proc_pid_stat(5)): state, parent, group, session, terminal, …
func statOf(pid int) []string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
}

// terminal is what /dev/tty means to the process: the keeper's is another one, or none.
func (a *answerer) terminal() (finding, error) {
	const slaves = 136 // the major number of what lies in /dev/pts
	fields := statOf(a.who.process)
	if len(fields) < 5 {
		return finding{}, unix.ENXIO
	}
	device, err := strconv.ParseUint(fields[4], 10, 32)
	if err != nil || unix.Major(device) != slaves {
		return finding{}, unix.ENXIO
	}
	return finding{file: fmt.Sprintf("/dev/pts/%d", unix.Minor(device)), fd: -1}, nil
}

// concerns says whether a path may lie outside of the step's root.
func concerns(name string) bool {
	_, ok := outside(name, &asker{}, 0)
	return ok
}

// outside is what a path of a step means in the keeper's root, if that is where it lies. Process 1 is the step's first.
func outside(name string, who *asker, first int) (string, bool) {
	if len(name) < 4 || name[0] != '/' {
		return "", false
	}
	if name == "/etc/mtab" {
		name = "/proc/self/mounts"
	}
	name = path.Clean(name)
	top, rest, _ := strings.Cut(name[1:], "/")
	own := fmt.Sprintf("/proc/%d", who.process)
	switch top {
	case "sys":
		return name, true
	case "dev":
		top, below, _ := strings.Cut(rest, "/")
		switch top {
		case "fd":
			return path.Join(own, "fd", below), true
		case "stdin", "stdout", "stderr":
			return path.Join(own, "fd", map[string]string{"stdin": "0", "stdout": "1", "stderr": "2"}[top]), true
		case "pts", "ptmx":
			return name, true
		}
		if !slices.Contains(deviceNames, rest) {
			return "", false
		}
		return name, true
	case "proc":
	default:
		return "", false
	}
	top, below, _ := strings.Cut(rest, "/")
	switch top {
	case "1":
		return path.Join("/proc", strconv.Itoa(first), below), true
	case "self":
		return path.Join(own, below), true
	case "thread-self":
		return path.Join(own, "task", strconv.Itoa(who.thread), below), true
	case "mounts", "net":
		return path.Join(own, top, below), true
	}
	return name, true
}

// splitLink cuts a path below /proc behind the link to a file of a process: its root, its directory, its program or what
// it has open. rest is what follows, "" where nothing does.
func splitLink(file string) (link, rest string) {
	parts := strings.Split(file, "/")
	if len(parts) < 5 || parts[1] != "proc" {
		return file, ""
	}
	at := 3 // "", proc, PID
	if parts[at] == "task" && len(parts) > 6 {
		at = 5
	}
	switch parts[at] {
	case "root", "cwd", "exe":
		at++
	case "fd", "map_files":
		at += 2
	default:
		return file, ""
	}
	if at >= len(parts) {
		return file, ""
	}
	return strings.Join(parts[:at], "/"), strings.Join(parts[at:], "/")
}

func readlinkOf(fd int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	return string(buf[:max(n, 0)]), err
}

func readlink(name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink(name, buf)
	return string(buf[:max(n, 0)]), err
}
