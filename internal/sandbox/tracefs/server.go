package tracefs

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/observed"
)

// serverArg is the first argument of the server, and a name in its environment.
const serverArg = "strata-tracefs"

// maxRead is how many bytes the kernel asks for at most: as many as it does without being told otherwise (Linux 4.20).
const maxRead = 1 << 20

// server is the server of this process, which is started when it is first needed, and ends with this process.
var server struct {
	sync.Mutex
	conn *net.UnixConn
}

// Start starts the server, if it does not run and FUSE can be used. Who knows that they will need it saves the time
// that it takes to start.
func Start() error {
	if err := Available(); err != nil {
		return err
	}
	server.Lock()
	defer server.Unlock()
	return start()
}

func start() error {
	if server.conn != nil {
		return nil
	}
	ours, theirs, err := pair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe", serverArg)
	cmd.Env = []string{serverArg + "=1"}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{theirs}
	// In a session of its own, so that no terminal sends it signals.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return err
	}
	go cmd.Wait()
	server.conn = ours
	return nil
}

// pair makes a connection to hand the other side of to another process.
func pair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "server")
	ours, err = connOf(os.NewFile(uintptr(fds[0]), "server"))
	if err != nil {
		theirs.Close()
	}
	return ours, theirs, err
}

// connOf makes a connection of its file, which is closed.
func connOf(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("not a local socket")
	}
	return u, nil
}

// connect opens a connection for a mount. A server that somebody has killed is started again.
func connect() (*net.UnixConn, error) {
	server.Lock()
	defer server.Unlock()
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	for again := false; ; again = true {
		if err = start(); err == nil {
			if err = send(server.conn, request{}, int(theirs.Fd())); err == nil {
				return ours, nil
			}
			server.conn.Close()
			server.conn = nil
		}
		if again || !errors.Is(err, unix.EPIPE) {
			ours.Close()
			return nil, err
		}
	}
}

// Init must be called first in main: when this process is a server it serves until the process that started it is gone,
// and never returns. In every other process it does nothing.
func Init() {
	if len(os.Args) != 2 || os.Args[1] != serverArg || os.Getenv(serverArg) == "" {
		return
	}
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	all, err := connOf(os.NewFile(3, "all"))
	if err != nil {
		os.Exit(1)
	}
	for {
		files, err := receive(all, &request{})
		if err != nil || len(files) != 1 {
			os.Exit(0) // which ends all that is still mounted
		}
		if c, err := connOf(files[0]); err == nil {
			go (&mounted{conn: c}).answerAll()
		}
	}
}

// mounted is one mount, in the server.
type mounted struct {
	conn   *net.UnixConn
	layers []servedLayer
	fs     *fileSystem // once it is mounted
}

// answerAll answers what is asked about a mount until nobody can ask any more.
func (m *mounted) answerAll() {
	defer m.conn.Close()
	defer func() {
		if m.fs == nil {
			closeLayers(m.layers)
		}
	}()
	for {
		var r request
		files, err := receive(m.conn, &r)
		if err != nil {
			return
		}
		var a answer
		result, err := m.do(r, files)
		if err != nil {
			a.Error = err.Error()
			a.Error = a.Error[:min(len(a.Error), maxPacket/8)]
		}
		var fds []int
		if result != nil {
			fds = []int{int(result.Fd())}
		}
		err = send(m.conn, a, fds...)
		if result != nil {
			result.Close()
		}
		if err != nil {
			return
		}
	}
}

// do does what is asked. The files are its to close.
func (m *mounted) do(r request, files []*os.File) (result *os.File, err error) {
	switch {
	case r.What == takeLayer && m.fs == nil && len(files) == 3:
		defer closeAll(files[:2])
		l, err := readLayer(files[0], files[1], files[2])
		l.place, l.lazy = len(m.layers), r.Lazy
		if err != nil {
			files[2].Close()
			return nil, err
		}
		m.layers = append(m.layers, l)
		return nil, nil
	case r.What == mountThem && m.fs == nil && len(files) == 3:
		defer files[0].Close()
		lists, err := connOf(files[1])
		if err != nil {
			return nil, err
		}
		wanted, err := connOf(files[2])
		if err != nil {
			lists.Close()
			return nil, err
		}
		if err := m.mount(files[0], lists, wanted); err != nil {
			lists.Close()
			wanted.Close()
			return nil, err
		}
		return nil, nil
	case r.What == tellAsked && m.fs != nil:
		closeAll(files)
		if err := m.fs.failed.Load(); err != nil {
			return nil, *err
		}
		var recorders []*observed.Recorder
		for _, l := range m.layers {
			recorders = append(recorders, l.recorder)
		}
		return askedFile(recorders)
	}
	closeAll(files)
	return nil, fmt.Errorf("a request %q that has no place here", r.What)
}

// mount mounts the layers at an open directory, and serves them until they are unmounted. Through lists it asks for
// what is to be listed, and through wanted for what is not here.
func (m *mounted) mount(dir *os.File, lists, wanted *net.UnixConn) error {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", device, err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,allow_other,default_permissions,max_read=%d",
		fd, os.Geteuid(), os.Getegid(), maxRead)
	// Read-only, so that reading a file makes nothing stale; no devices, which an overlay never opens here.
	flags := uintptr(unix.MS_RDONLY | unix.MS_NOATIME | unix.MS_NOSUID | unix.MS_NODEV)
	at := "/proc/self/fd/" + strconv.Itoa(int(dir.Fd()))
	if err := unix.Mount("strata", at, "fuse.strata", flags, options); err != nil {
		unix.Close(fd)
		return err
	}
	fs := newFileSystem(m.layers)
	fs.wants = newWants(wanted)
	served, err := fuse.NewServer(fs, "/dev/fd/"+strconv.Itoa(fd), &fuse.MountOptions{
		MaxWrite: maxRead, MaxReadAhead: maxRead, EnableSymlinkCaching: true,
		ExplicitDataCacheControl: true, DisableSplice: true,
		Name: "strata", Logger: log.New(io.Discard, "", 0),
	})
	if err != nil { // which has closed the descriptor, and so ended the mount
		return err
	}
	m.fs = fs
	go fs.readAll(served)
	go fs.askForLists(served, lists)
	go func() {
		served.Serve()
		fs.ahead.close()
		wanted.Close()
		closeLayers(fs.layers)
	}()
	return nil
}
