package runner

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer/identity"
)

const noAccess = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV

// capabilities are those that Docker gives by default (moby, oci/caps: DefaultCapabilities).
func capabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
		"CAP_AUDIT_WRITE",
	}
}

// maskedPaths show as empty, readonlyPaths cannot be written (moby, oci: defaultLinuxMaskedPaths).
func maskedPaths() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// convert puts s into libcontainer's terms.
func convert(s Spec, points *mountPoints) (*configs.Config, *libcontainer.Process, error) {
	user, err := lookupUser(s.Rootfs, s.User)
	if err != nil {
		return nil, nil, err
	}
	// Docker's containers of any user have the capabilities within reach of a set-user-ID program only.
	bounding, err := s.capabilities(s.Network)
	if err != nil {
		return nil, nil, err
	}
	granted := &configs.Capabilities{Bounding: bounding, Permitted: bounding, Effective: bounding}
	if user.Uid != 0 {
		granted.Permitted, granted.Effective = nil, nil
	}
	limits, err := rlimits(s.Ulimits)
	if err != nil {
		return nil, nil, err
	}
	config := &configs.Config{
		Rootfs:            filepath.Clean(s.Rootfs),
		ParentDeathSignal: int(unix.SIGKILL),
		Hostname:          s.Hostname,
		Namespaces:        namespaces(),
		Mounts:            slices.Concat(standardMounts(s), deviceMounts(), points.mounts),
		Capabilities:      granted,
		MaskPaths:         maskedPaths(),
		ReadonlyPaths:     readonlyPaths(),
		NoNewPrivileges:   s.NoNewPrivileges,
		Rlimits:           limits,
	}
	if s.Insecure {
		if err := unprotect(config); err != nil {
			return nil, nil, err
		}
	}
	s.Network.configure(config, s.Connection)
	if identity.Current().Mapped() {
		if err := errors.Join(showSys(config), showProc(s, config)); err != nil {
			return nil, nil, err
		}
	}
	process := &libcontainer.Process{
		Init:             true,
		Args:             s.Args,
		Env:              ownHome(withPath(s.Env), user),
		Cwd:              s.Dir,
		UID:              user.Uid,
		GID:              user.Gid,
		AdditionalGroups: append([]int{user.Gid}, user.Sgids...),
	}
	return config, process, nil
}

// withPath adds the default PATH. HOME is added by libcontainer, from the container's /etc/passwd.
func withPath(env []string) []string {
	if slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "PATH=") }) {
		return env
	}
	return append([]string{"PATH=" + image.DefaultPath}, env...)
}

// ownHome adds the user's home where libcontainer would add root's, since all processes are root's.
func ownHome(env []string, user *user.ExecUser) []string {
	if !identity.Current().Marked() || slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "HOME=") && kv != "HOME=" }) {
		return env
	}
	return append(slices.Clip(env), "HOME="+cmp.Or(user.Home, "/"))
}

func namespaces() configs.Namespaces {
	all := configs.Namespaces{{Type: configs.NEWNS}, {Type: configs.NEWPID}, {Type: configs.NEWIPC}, {Type: configs.NEWUTS}}
	if configs.IsNamespaceSupported(configs.NEWCGROUP) {
		all = append(all, configs.Namespace{Type: configs.NEWCGROUP})
	}
	return all
}

// standardMounts are those of every Docker container (moby, oci: DefaultSpec), but for /dev without devices.
func standardMounts(s Spec) []*configs.Mount {
	mounts := []*configs.Mount{
		{Source: "proc", Destination: "/proc", Device: "proc", Flags: noAccess},
		{Source: "tmpfs", Destination: "/dev", Device: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_STRICTATIME,
			Data: "mode=755,size=65536k"},
		{Source: "devpts", Destination: "/dev/pts", Device: "devpts", Flags: unix.MS_NOSUID | unix.MS_NOEXEC,
			Data: terminalOptions()},
		{Source: "sysfs", Destination: "/sys", Device: "sysfs", Flags: noAccess | unix.MS_RDONLY},
		{Source: "mqueue", Destination: "/dev/mqueue", Device: "mqueue", Flags: noAccess},
		{Source: "shm", Destination: "/dev/shm", Device: "tmpfs", Flags: noAccess,
			Data: "mode=1777,size=" + strconv.FormatInt(s.ShmSize, 10)},
	}
	if _, err := os.Stat("/sys/fs/cgroup"); err == nil {
		mounts = append(mounts, &configs.Mount{
			Source: "cgroup", Destination: "/sys/fs/cgroup", Device: "cgroup", Flags: noAccess | unix.MS_RDONLY,
		})
	}
	return mounts
}

// terminalOptions are those of devpts. Its group is tty's, if there is one.
func terminalOptions() string {
	const options = "newinstance,ptmxmode=0666,mode=0620"
	if identity.Current().Marked() {
		return options
	}
	return options + ",gid=5"
}

// deviceMounts show the host's /dev/null and its kin.
//
// Docker makes device nodes and has a cgroup forbid all others, which a container could make for itself, the
// host's disk for one. A cgroup costs time and is not to be had everywhere. Here, all of the container's file
// systems are mounted nodev, so that no node opens but these. Read-only does not keep anybody from writing to
// a device; it keeps the mode and owner of the host's node as they are.
func deviceMounts() []*configs.Mount {
	var mounts []*configs.Mount
	for _, name := range []string{"/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"} {
		mounts = append(mounts, &configs.Mount{
			Source: name, Destination: name, Device: "bind",
			Flags: unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NOEXEC,
		})
	}
	return mounts
}
