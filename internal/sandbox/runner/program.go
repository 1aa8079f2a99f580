package runner

import (
	"encoding/binary"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/sandbox/starter"
)

// assembly makes the program (package starter) of a container's first process: what libcontainer's init does with the
// same configuration, in the same order (libcontainer, standard_init_linux.go and rootfs_linux.go).
//
// The root file system is the image's, so any name in it may be a symbolic link. A mount point is therefore opened
// with openat2(2), RESOLVE_IN_ROOT, and mounted on by its descriptor, and what is made in /dev is made by a
// descriptor of the tmpfs that was mounted there.
type assembly struct {
	*starter.Program
	name    string // the container's
	spec    *Spec
	config  *configs.Config
	process *libcontainer.Process
	network *os.File // the name space to enter, nil for none
	cgroup  *os.File // cgroup.procs of the cgroup to enter, nil where the process starts in it or there is none
	filter  []byte
}

// Descriptors of the first process while it sets itself up. The first three are the streams.
const (
	networkFD = starter.FirstFile + iota
	cgroupFD
	// From here on those that only the call after them needs.
	scratchFD
)

const (
	rootFD  = starter.FirstFile + starter.MaxFiles + iota // the root file system
	devFD                                                 // the tmpfs on /dev
	pointFD                                               // what gets mounted on
	belowFD                                               // what gets mounted on in pointFD, or the tmpfs for files
	fileFD                                                // a file in that
)

// executing is what those calls are said to do that execute the container's program.
const executing = "exec"

// files are the descriptors that the program goes by, after the streams. placeholder stands for those that it does
// not need.
func (a *assembly) files(placeholder *os.File) []*os.File {
	files := []*os.File{placeholder, placeholder}
	if a.network != nil {
		files[networkFD-starter.FirstFile] = a.network
	}
	if a.cgroup != nil {
		files[cgroupFD-starter.FirstFile] = a.cgroup
	}
	return files
}

// all adds the whole program.
func (a *assembly) all() error {
	a.Do("make a session", unix.SYS_SETSID)
	a.keyring()
	a.nameSpaces()
	if err := a.mounts(); err != nil {
		return err
	}
	a.secretFiles()
	a.pivot()
	a.streams()
	a.makeDir()
	a.Do("set the host name", unix.SYS_SETHOSTNAME, a.Text(a.config.Hostname), starter.Int(len(a.config.Hostname)))
	a.hide()
	if a.config.NoNewPrivileges {
		a.control("set no_new_privs", unix.PR_SET_NO_NEW_PRIVS, 1)
	}
	for _, l := range a.config.Rlimits {
		limit := binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, l.Soft), l.Hard)
		a.Do("set a limit", unix.SYS_PRLIMIT64, starter.Int(0), starter.Int(l.Type), a.Bytes(limit))
	}
	if err := a.restrict(); err != nil {
		return err
	}
	a.Wait()
	return a.execute()
}

// keyring gives the process a session keyring of its own, named after the container.
func (a *assembly) keyring() {
	// What the possessor may do by default, and that the user may search it too: key permissions of linux/key.h.
	const permissions = 0x3f1b0000
	join := a.Do("join a session keyring", unix.SYS_KEYCTL, starter.Int(unix.KEYCTL_JOIN_SESSION_KEYRING), a.Text("_ses."+a.name))
	join.Unless(unix.ENOSYS)
	a.Do("set permissions of the session keyring", unix.SYS_KEYCTL, starter.Int(unix.KEYCTL_SETPERM), starter.Last(), starter.Int(permissions)).
		Unless(unix.ENOSYS, unix.EINVAL)
}

// nameSpaces enters those that clone(2) did not make.
func (a *assembly) nameSpaces() {
	if a.network != nil {
		a.Do("enter the network name space", unix.SYS_SETNS, starter.Int(networkFD), starter.Int(unix.CLONE_NEWNET))
	} else if a.config.Namespaces.Contains(configs.NEWNET) {
		a.loopback()
	}
	if a.cgroup != nil {
		a.Do("enter the cgroup", unix.SYS_WRITE, starter.Int(cgroupFD), a.Text("0"), starter.Int(1))
	}
	if a.config.Namespaces.Contains(configs.NEWCGROUP) {
		a.Do("make a cgroup name space", unix.SYS_UNSHARE, starter.Int(unix.CLONE_NEWCGROUP))
	}
}

// loopback makes a network name space with nothing else.
func (a *assembly) loopback() {
	a.Do("make a network name space", unix.SYS_UNSHARE, starter.Int(unix.CLONE_NEWNET))
	a.Do("make a socket", unix.SYS_SOCKET, starter.Int(unix.AF_INET), starter.Int(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), starter.Int(0))
	request := make([]byte, 40) // struct ifreq of linux/if.h: the name, then flags
	copy(request, "lo")
	binary.NativeEndian.PutUint16(request[unix.IFNAMSIZ:], unix.IFF_UP)
	a.Do("bring the loopback up", unix.SYS_IOCTL, starter.Last(), starter.Int(unix.SIOCSIFFLAGS), a.Bytes(request))
	a.closeScratch()
}

// mounts makes the container's tree of mounts.
func (a *assembly) mounts() error {
	a.mount("keep mounts from the machine's", "", "/", "", unix.MS_REC|unix.MS_SLAVE, "")
	a.Do("open the root file system", unix.SYS_OPENAT, starter.Int(unix.AT_FDCWD), a.Text(a.config.Rootfs),
		starter.Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC))
	a.keep(rootFD)
	// What is made below has the mode that is said.
	a.Do("set the umask", unix.SYS_UMASK, starter.Int(0))
	for _, m := range a.config.Mounts {
		var err error
		switch m.Device {
		case "cgroup":
			err = a.mountCgroups(m)
		case "bind":
			a.bind(m)
		default:
			a.mountFresh(m)
		}
		if err != nil {
			return err
		}
		if m.Destination == "/dev" {
			a.fillDev()
		}
	}
	a.Do("set the umask", unix.SYS_UMASK, starter.Int(0o022))
	return nil
}

// mountFresh mounts a file system of the kernel's.
func (a *assembly) mountFresh(m *configs.Mount) {
	var resolve uint64
	if m.Device == "proc" || m.Device == "sysfs" {
		resolve = unix.RESOLVE_NO_SYMLINKS
	}
	if dev, ok := strings.CutPrefix(m.Destination, "/dev/"); ok {
		a.Do("make "+m.Destination, unix.SYS_MKDIRAT, starter.Int(devFD), a.Text(dev), starter.Int(0o755))
	}
	a.open(m.Destination, resolve)
	a.mountOn(m.Destination, m.Source, pointFD, m.Device, uintptr(m.Flags), m.Data)
}

// bind shows a file or directory of the machine.
func (a *assembly) bind(m *configs.Mount) {
	if dev, ok := strings.CutPrefix(m.Destination, "/dev/"); ok { // a device: see deviceMounts
		a.Do("make "+m.Destination, unix.SYS_OPENAT, starter.Int(devFD), a.Text(dev),
			starter.Int(unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC), starter.Int(0o644))
		a.closeScratch()
	}
	a.open(m.Destination, 0)
	a.mountOn(m.Destination, m.Source, pointFD, "", unix.MS_BIND|uintptr(m.Flags)&unix.MS_REC, "")
	a.open(m.Destination, 0) // what is mounted there now
	for _, flag := range m.PropagationFlags {
		a.mountOn(m.Destination, "", pointFD, "", uintptr(flag), "")
	}
	a.mountOn(m.Destination, "", pointFD, "", unix.MS_REMOUNT|uintptr(m.Flags), "")
}

// fillDev makes the links that there are in every /dev.
func (a *assembly) fillDev() {
	a.open("/dev", 0)
	a.Do("keep /dev", unix.SYS_DUP3, starter.Int(pointFD), starter.Int(devFD), starter.Int(unix.O_CLOEXEC))
	links := [][2]string{
		{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"},
	}
	if _, err := os.Stat("/proc/kcore"); err == nil {
		links = append(links, [2]string{"/proc/kcore", "core"})
	}
	for _, l := range links {
		a.Do("make /dev/"+l[1], unix.SYS_SYMLINKAT, a.Text(l[0]), starter.Int(devFD), a.Text(l[1]))
	}
}

// hierarchies are the names of the directories in which cgroups of version 1 are mounted, "cpu,cpuacct" for instance;
// none on a machine that has version 2 only.
var hierarchies = sync.OnceValues(func() ([]string, error) {
	if cgroups.IsCgroup2UnifiedMode() {
		return nil, nil
	}
	mounts, err := cgroups.GetCgroupMounts(false)
	if err != nil {
		return nil, fmt.Errorf("listing the hierarchies of cgroups: %w", err)
	}
	var names []string
	for _, m := range mounts {
		names = append(names, filepath.Base(m.Mountpoint))
	}
	return names, nil
})

// mountCgroups shows the container's cgroups, which its name space has as the roots.
func (a *assembly) mountCgroups(m *configs.Mount) error {
	if cgroups.IsCgroup2UnifiedMode() {
		a.open(m.Destination, 0)
		a.mountOn(m.Destination, m.Source, pointFD, "cgroup2", uintptr(m.Flags), m.Data)
		return nil
	}
	names, err := hierarchies()
	if err != nil {
		return err
	}
	a.open(m.Destination, 0)
	a.mountOn(m.Destination, "tmpfs", pointFD, "tmpfs", noAccess, "mode=755")
	a.open(m.Destination, 0)
	for _, name := range names {
		data, source := name, "cgroup"
		if name == "systemd" {
			data, source = "name=systemd", "systemd"
		}
		a.Do("make a directory for cgroups", unix.SYS_MKDIRAT, starter.Int(pointFD), a.Text(name), starter.Int(0o755))
		a.Do("open a directory for cgroups", unix.SYS_OPENAT, starter.Int(pointFD), a.Text(name), starter.Int(unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC))
		a.keep(belowFD)
		a.mountOn("cgroups of "+name, source, belowFD, "cgroup", uintptr(m.Flags), data)
		for alias := range strings.SplitSeq(name, ",") {
			if alias != name {
				a.Do("make a link for cgroups", unix.SYS_SYMLINKAT, a.Text(name), starter.Int(pointFD), a.Text(alias)).Unless(unix.EEXIST)
			}
		}
	}
	return nil
}

// secretFiles is showFiles.
func (a *assembly) secretFiles() {
	if len(a.spec.Files) == 0 {
		return
	}
	dir := path.Base(stage)
	a.Do("make a directory for files", unix.SYS_MKDIRAT, starter.Int(devFD), a.Text(dir), starter.Int(0o700))
	a.open(stage, 0)
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	a.mountOn("a tmpfs for files", "tmpfs", pointFD, "tmpfs", flags, "mode=0700,noswap").Unless(unix.EINVAL).Skip(1)
	a.mountOn("a tmpfs for files", "tmpfs", pointFD, "tmpfs", flags, "mode=0700")
	a.open(stage, 0)
	a.Do("keep the tmpfs for files", unix.SYS_DUP3, starter.Int(pointFD), starter.Int(belowFD), starter.Int(unix.O_CLOEXEC))
	for i, f := range a.spec.Files {
		a.secretFile(strconv.Itoa(i), f)
	}
	a.Do("unmount the tmpfs for files", unix.SYS_UMOUNT2, a.Text(procFD(belowFD)), starter.Int(unix.MNT_DETACH))
	a.Do("remove the directory for files", unix.SYS_UNLINKAT, starter.Int(devFD), a.Text(dir), starter.Int(unix.AT_REMOVEDIR))
}

// secretFile writes a file to the tmpfs in belowFD under a name, and binds it to its target.
func (a *assembly) secretFile(name string, f File) {
	doing := "mount on " + f.Target
	a.Do(doing, unix.SYS_OPENAT, starter.Int(belowFD), a.Text(name), starter.Int(unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC), starter.Int(0o600))
	a.keep(fileFD)
	if len(f.Data) > 0 {
		a.Do(doing, unix.SYS_WRITE, starter.Int(fileFD), a.Bytes(f.Data), starter.Int(len(f.Data)))
	}
	a.Do(doing, unix.SYS_FCHOWN, starter.Int(fileFD), starter.Int(f.UID), starter.Int(f.GID))
	a.Do(doing, unix.SYS_FCHMOD, starter.Int(fileFD), starter.Int(f.Mode&0o777))
	a.open(f.Target, 0)
	a.mountOn(f.Target, procFD(fileFD), pointFD, "", unix.MS_BIND, "")
	a.open(f.Target, 0)
	flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV)
	if f.Mode&0o111 == 0 {
		flags |= unix.MS_NOEXEC
	}
	a.mountOn(f.Target, "", pointFD, "", flags, "")
}

// pivot makes the root file system the root and takes the machine's away.
func (a *assembly) pivot() {
	a.Do("enter the root file system", unix.SYS_FCHDIR, starter.Int(rootFD))
	a.Do("change the root", unix.SYS_PIVOT_ROOT, a.Text("."), a.Text("."))
	// "." is the old root now, which lies on the new one (pivot_root(2)).
	a.mount("keep mounts from the machine's", "", ".", "", unix.MS_REC|unix.MS_SLAVE, "")
	a.Do("unmount the machine's root", unix.SYS_UMOUNT2, a.Text("."), starter.Int(unix.MNT_DETACH))
	a.Do("enter the root", unix.SYS_CHDIR, a.Text("/"))
	// No descriptor of the machine's files is open from here on (CVE-2024-21626).
	a.Do("close descriptors", unix.SYS_CLOSE_RANGE, starter.Int(starter.FirstFile), starter.Int(uint32(1<<32-1)), starter.Int(0))
}

// streams has those that nobody gave be the container's /dev/null, and gives the others to the user.
func (a *assembly) streams() {
	for fd, given := range []bool{a.process.Stdin != nil, a.process.Stdout != nil, a.process.Stderr != nil} {
		switch {
		case !given:
			a.Do("open /dev/null", unix.SYS_OPENAT, starter.Int(unix.AT_FDCWD), a.Text("/dev/null"), starter.Int(unix.O_RDWR|unix.O_CLOEXEC))
			a.Do("open /dev/null", unix.SYS_DUP3, starter.Last(), starter.Int(fd), starter.Int(0))
		case a.process.UID != 0: // it is root's
			a.Do("give a stream to the user", unix.SYS_FCHOWN, starter.Int(fd), starter.Int(a.process.UID), starter.Int(uint32(1<<32-1))).
				Unless(unix.EPERM, unix.EROFS)
		}
	}
	a.Do("close descriptors", unix.SYS_CLOSE_RANGE, starter.Int(starter.FirstFile), starter.Int(uint32(1<<32-1)), starter.Int(0))
}

// makeDir makes the working directory where it is missing, and enters it.
func (a *assembly) makeDir() {
	doing := "mkdir " + a.process.Cwd
	var parents []string
	for dir := a.process.Cwd; dir != "/"; dir = path.Dir(dir) {
		parents = append(parents, dir)
	}
	slices.Reverse(parents)
	a.Do(doing, unix.SYS_CHDIR, a.Text(a.process.Cwd)).Unless(unix.ENOENT).Skip(len(parents) + 1)
	for _, dir := range parents {
		a.Do("mkdir "+dir, unix.SYS_MKDIRAT, starter.Int(unix.AT_FDCWD), a.Text(dir), starter.Int(0o755)).Unless(unix.EEXIST)
	}
	a.Do(doing, unix.SYS_CHDIR, a.Text(a.process.Cwd))
}

// hide makes paths read-only and masks others. All are in file systems of the kernel's.
func (a *assembly) hide() {
	for _, p := range a.config.ReadonlyPaths {
		// What is not there needs nothing. The mount has the options of /proc's.
		a.mount("make "+p+" read-only", p, p, "", unix.MS_BIND|unix.MS_REC, "").Unless(unix.ENOENT)
		a.mount("make "+p+" read-only", "", p, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|noAccess, "").Unless(unix.ENOENT)
	}
	for _, p := range a.config.MaskPaths {
		a.mount("mask "+p, "/dev/null", p, "", unix.MS_BIND, "").Unless(unix.ENOENT, unix.ENOTDIR).Skip(1)
		a.mount("mask "+p, "tmpfs", p, "tmpfs", unix.MS_RDONLY, "nr_blocks=1,nr_inodes=1").Unless(unix.ENOENT)
	}
}

// restrict takes from the process what the container's program is not to have: rights, and system calls.
func (a *assembly) restrict() error {
	masks, err := capabilityMasks(a.config.Capabilities)
	if err != nil {
		return err
	}
	last, err := capability.LastCap()
	if err != nil {
		return fmt.Errorf("asking for the capabilities of this machine: %w", err)
	}
	for c := range last + 1 {
		if masks.bounding&(1<<c) == 0 {
			a.control("drop a capability", unix.PR_CAPBSET_DROP, uintptr(c))
		}
	}
	a.control("drop ambient capabilities", unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL).Unless(unix.EINVAL)
	if len(a.filter) > 0 {
		program := binary.NativeEndian.AppendUint64(nil, 0) // struct sock_fprog: a length of two bytes, then the pointer
		binary.NativeEndian.PutUint16(program, uint16(len(a.filter)/8))
		// SPEC_ALLOW is what runc sets where a profile says nothing.
		a.Do("install the seccomp filter", unix.SYS_SECCOMP, starter.Int(unix.SECCOMP_SET_MODE_FILTER),
			starter.Int(unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW), a.Struct(program, a.Bytes(a.filter)))
	}
	a.control("keep capabilities", unix.PR_SET_KEEPCAPS, 1)
	var groups []byte
	for _, g := range a.process.AdditionalGroups {
		groups = binary.NativeEndian.AppendUint32(groups, uint32(g))
	}
	a.Do("set the groups", unix.SYS_SETGROUPS, starter.Int(len(a.process.AdditionalGroups)), a.Bytes(groups))
	a.Do("set the group", unix.SYS_SETGID, starter.Int(a.process.GID))
	a.Do("set the user", unix.SYS_SETUID, starter.Int(a.process.UID))
	a.control("keep no capabilities", unix.PR_SET_KEEPCAPS, 0)
	a.Do("set the capabilities", unix.SYS_CAPSET, a.Bytes(masks.header()), a.Bytes(masks.data()))
	// A change of user has the kernel forget it (prctl(2)).
	a.control("ask for the parent death signal", unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	return nil
}

// masks are the capabilities of a process, a bit for each.
type masks struct{ bounding, permitted, effective uint64 }

// capabilityMasks leaves out what this machine does not have.
func capabilityMasks(c *configs.Capabilities) (masks, error) {
	known := map[string]capability.Cap{}
	supported, err := capability.ListSupported()
	if err != nil {
		return masks{}, fmt.Errorf("asking for the capabilities of this machine: %w", err)
	}
	for _, c := range supported {
		known[capabilityName(c)] = c
	}
	mask := func(names []string) (bits uint64) {
		for _, name := range names {
			if c, ok := known[name]; ok {
				bits |= 1 << c
			}
		}
		return bits
	}
	return masks{mask(c.Bounding), mask(c.Permitted), mask(c.Effective)}, nil
}

// header is struct __user_cap_header_struct of linux/capability.h for the process itself.
func (m masks) header() []byte {
	return binary.NativeEndian.AppendUint64(nil, unix.LINUX_CAPABILITY_VERSION_3)
}

// data are two struct __user_cap_data_struct: effective, permitted, inheritable, each half of the bits.
func (m masks) data() []byte {
	var b []byte
	for _, shift := range []int{0, 32} {
		b = binary.NativeEndian.AppendUint32(b, uint32(m.effective>>shift))
		b = binary.NativeEndian.AppendUint32(b, uint32(m.permitted>>shift))
		b = binary.NativeEndian.AppendUint32(b, 0)
	}
	return b
}

// execute executes the container's program: the one of that name, or, without a slash in it, the first in the
// directories of PATH that this user can execute.
func (a *assembly) execute() error {
	env, err := a.environment()
	if err != nil {
		return err
	}
	name := a.process.Args[0]
	if slices.ContainsFunc(a.process.Args, func(arg string) bool { return strings.ContainsRune(arg, 0) }) {
		return fmt.Errorf("exec: %q: an argument contains a null byte", name)
	}
	arguments, variables := a.Texts(a.process.Args), a.Texts(env)
	// As exec.LookPath looks it up. What the kernel says after that is the step's own.
	const at = unix.AT_FDCWD
	if strings.Contains(name, "/") {
		a.Do(executing, unix.SYS_FACCESSAT, starter.Int(at), a.Text(name), starter.Int(unix.X_OK))
		a.Do(executing+" "+name, unix.SYS_EXECVE, a.Text(name), arguments, variables)
		return nil
	}
	for _, dir := range filepath.SplitList(valueOf(env, "PATH")) {
		file := path.Join(dir, name)
		if !path.IsAbs(file) {
			continue // as exec.LookPath refuses it (exec.ErrDot)
		}
		further := []syscall.Errno{unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.ELOOP}
		text := a.Text(file)
		a.Do(executing, unix.SYS_OPENAT, starter.Int(at), text, starter.Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)).Unless(further...).Skip(3)
		a.Do(executing, unix.SYS_FACCESSAT, starter.Int(at), text, starter.Int(unix.X_OK)).Unless(further...).Skip(1)
		a.Do("leave a file out that cannot be executed", unix.SYS_GETPID).Skip(1)
		a.Do(executing+" "+file, unix.SYS_EXECVE, text, arguments, variables)
	}
	a.Do(executing, unix.SYS_EXECVE, a.Text(""), arguments, variables) // ENOENT
	return nil
}

// control adds a call of prctl(2).
func (a *assembly) control(doing string, option, value uintptr) *starter.Call {
	return a.Do(doing, unix.SYS_PRCTL, starter.Int(option), starter.Int(value), starter.Int(0), starter.Int(0), starter.Int(0))
}

// open has pointFD be what is at a path of the container. It may be mounted on another by now.
func (a *assembly) open(target string, resolve uint64) {
	how := binary.NativeEndian.AppendUint64(nil, unix.O_PATH|unix.O_CLOEXEC) // struct open_how: flags, mode, resolve
	how = binary.NativeEndian.AppendUint64(how, 0)
	how = binary.NativeEndian.AppendUint64(how, resolve|unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	a.Do("find the mount point "+target, unix.SYS_OPENAT2, starter.Int(rootFD), a.Text(target), a.Bytes(how), starter.Int(len(how)))
	a.keep(pointFD)
}

// keep gives the descriptor that the call before has opened a number.
func (a *assembly) keep(fd int) {
	a.Do("keep a descriptor", unix.SYS_DUP3, starter.Last(), starter.Int(fd), starter.Int(unix.O_CLOEXEC))
	a.closeScratch()
}

func (a *assembly) closeScratch() {
	a.Do("close descriptors", unix.SYS_CLOSE_RANGE, starter.Int(scratchFD), starter.Int(rootFD-1), starter.Int(0))
}

// mount adds a call of mount(2). An empty text is a null pointer.
func (a *assembly) mount(doing, source, target, kind string, flags uintptr, data string) *starter.Call {
	text := func(s string) starter.Argument {
		if s == "" {
			return starter.Int(0)
		}
		return a.Text(s)
	}
	return a.Do(doing, unix.SYS_MOUNT, text(source), text(target), text(kind), starter.Int(flags), text(data))
}

// mountOn adds a call of mount(2) on what an open descriptor is of.
func (a *assembly) mountOn(what, source string, fd int, kind string, flags uintptr, data string) *starter.Call {
	return a.mount("mount "+what, source, procFD(fd), kind, flags, data)
}

func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
