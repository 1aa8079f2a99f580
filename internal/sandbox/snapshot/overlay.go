package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/identity"
)

// selfContained are the options that keep references to other layers out of an upper directory, and spare work that a
// short-lived mount has no use for. A kernel that does not know one does not do it either.
var selfContained = [][2]string{{"redirect_dir", "off"}, {"metacopy", "off"}, {"index", "off"}, {"xino", "off"}}

// inNameSpace are those of a user name space, where overlayfs keeps its marks in attributes user.* and makes neither
// redirects nor metadata-only copies (kernel, fs/overlayfs/params.c): it takes neither option beside that.
var inNameSpace = [][2]string{{"index", "off"}, {"xino", "off"}}

// errOldKernel says that lowers cannot be given one by one (before Linux 6.8).
var errOldKernel = errors.New("the kernel does not know lowerdir+")

// openOverlay mounts an overlay, by the mount API or, on kernels whose API only takes all lowers in 255 bytes, by
// mount(2).
func openOverlay(lowers []string, o Options) (int, error) {
	fd, err := openByAPI(lowers, o)
	if errors.Is(err, errOldKernel) {
		return openByMount(lowers, o)
	}
	return fd, err
}

func openByAPI(lowers []string, o Options) (int, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, explain("opening overlayfs", err)
	}
	defer unix.Close(fs)
	setDir := func(key, dir string) error {
		path, done, err := short(dir)
		if err != nil {
			return err
		}
		defer done()
		if err := unix.FsconfigSetString(fs, key, path); err != nil {
			if msg := kernelLog(fs); strings.Contains(msg, "Unknown parameter") {
				return errOldKernel
			} else if msg != "" {
				return explain(fmt.Sprintf("setting %s to %s: %s", key, dir, msg), err)
			}
			return explain(fmt.Sprintf("setting %s to %s", key, dir), err)
		}
		return nil
	}
	for _, dir := range lowers {
		if err := setDir("lowerdir+", dir); err != nil {
			return -1, err
		}
	}
	attr := unix.MOUNT_ATTR_RDONLY
	if !o.ReadOnly {
		attr = 0
		if err := setDir("upperdir", o.Upper); err != nil {
			return -1, err
		}
		if err := setDir("workdir", o.Work); err != nil {
			return -1, err
		}
		_ = unix.FsconfigSetFlag(fs, "volatile") // since Linux 5.10; without it only slower
	}
	options := selfContained
	if identity.Current().Mapped() {
		options = inNameSpace
		if err := unix.FsconfigSetFlag(fs, "userxattr"); err != nil {
			return -1, explain("setting userxattr, which takes Linux 5.11,", err)
		}
	}
	for _, opt := range options {
		_ = unix.FsconfigSetString(fs, opt[0], opt[1])
	}
	_ = unix.FsconfigSetString(fs, "source", "strata")
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, explain("creating the overlay"+colon(kernelLog(fs)), err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return -1, explain("mounting the overlay"+colon(kernelLog(fs)), err)
	}
	return fd, nil
}

// kernelLog reads what the kernel has to say about the last error of a file system context.
func kernelLog(fs int) string {
	var text []string
	buf := make([]byte, 1024)
	for {
		n, err := unix.Read(fs, buf)
		if err != nil || n <= 0 {
			return strings.Join(text, "; ")
		}
		if line, ok := bytes.CutPrefix(bytes.TrimSpace(buf[:n]), []byte("e ")); ok {
			text = append(text, string(line))
		}
	}
}

func colon(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

// openByMount mounts with mount(2) on a directory of its own and takes the mount off it. The options have to fit in a
// page, which 500 paths do only if each is a number: the descriptors of the lowers, as paths relative to /proc/self/fd,
// in a thread that has its own working directory and ends with the call.
func openByMount(lowers []string, o Options) (int, error) {
	type result struct {
		fd  int
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		fd, err := mountFromFDs(lowers, o)
		done <- result{fd, err}
	}()
	r := <-done
	return r.fd, r.err
}

func mountFromFDs(lowers []string, o Options) (int, error) {
	names := make([]string, 0, len(lowers)+2)
	open := func(dir string) error {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: dir, Err: err}
		}
		names = append(names, strconv.Itoa(fd))
		return nil
	}
	defer func() {
		for _, n := range names {
			if fd, err := strconv.Atoi(n); err == nil {
				unix.Close(fd)
			}
		}
	}()
	dirs := lowers
	if !o.ReadOnly {
		dirs = append(append([]string{}, lowers...), o.Upper, o.Work)
	}
	for _, dir := range dirs {
		if err := open(dir); err != nil {
			return -1, err
		}
	}
	place, err := os.MkdirTemp("", "strata-mount-")
	if err != nil {
		return -1, fmt.Errorf("making a directory to mount on: %w", err)
	}
	defer os.Remove(place)
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return -1, explain("giving a thread its own working directory", err)
	}
	if err := unix.Chdir("/proc/self/fd"); err != nil {
		return -1, fmt.Errorf("entering /proc/self/fd: %w; mount /proc", err)
	}
	if err := mountPlain(place, names, o.ReadOnly); err != nil {
		return -1, err
	}
	defer func() { _ = unix.Unmount(place, unix.MNT_DETACH) }()
	return openBind(place, o.ReadOnly)
}

// mountPlain tries with all options, then without those that an old kernel may not have.
func mountPlain(place string, names []string, readOnly bool) error {
	data := "lowerdir=" + strings.Join(names, ":")
	flags := uintptr(unix.MS_RDONLY)
	if !readOnly {
		n := len(names) - 2
		data = fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(names[:n], ":"), names[n], names[n+1])
		flags = 0
	}
	tries := []string{",redirect_dir=off,metacopy=off,index=off,xino=off,volatile", ",redirect_dir=off,metacopy=off,index=off", ",redirect_dir=off,index=off", ""}
	if identity.Current().Mapped() {
		tries = []string{",userxattr,index=off,xino=off,volatile", ",userxattr,index=off,xino=off", ",userxattr"}
	}
	if readOnly {
		tries = tries[len(tries)-1:]
	}
	var err error
	for _, options := range tries {
		err = unix.Mount("strata", place, "overlay", flags, data+options)
		if !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	if err != nil {
		return explain("mounting the overlay", err)
	}
	return nil
}
