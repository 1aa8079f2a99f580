package runner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// showSys shows the machine's /sys in a container in a user name space, where sysfs cannot be mounted anew, since the
// network is not the name space's own. What the machine has mounted below it comes along, cgroups and debugfs for
// instance, and root of the name space may be root of the machine's files, or the owner of a cgroup: all of it is
// read-only, and hidden.
func showSys(config *configs.Config) error {
	var mounts []*configs.Mount
	for _, m := range config.Mounts {
		switch {
		case m.Device == "sysfs":
			closed := m.Flags&unix.MS_RDONLY != 0 // else it is an insecure container, which gets at everything
			m = &configs.Mount{
				Source: "/sys", Destination: "/sys", Device: "bind", Flags: unix.MS_BIND | unix.MS_REC | m.Flags,
				PropagationFlags: []int{unix.MS_PRIVATE | unix.MS_REC},
			}
			if closed {
				// MS_RDONLY holds for the topmost mount only.
				m.RecAttr = &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NODEV}
				below, err := mountedBelow("/sys/")
				if err != nil {
					return err
				}
				config.MaskPaths = append(config.MaskPaths, below...)
			}
		case m.Device == "cgroup":
			continue
		}
		mounts = append(mounts, m)
	}
	config.Mounts = mounts
	return nil
}

// showProc shows the machine's /proc where none can be mounted anew: in a user name space that takes one of which
// nothing is covered (kernel, fs/namespace.c, mount_too_revealing), and container engines cover parts of it. Processes
// of the container are still those of a name space of their own, and end with it; /proc has them under their numbers
// outside.
func showProc(s Spec, config *configs.Config) error {
	covered, err := mountedBelow("/proc/")
	if err != nil {
		return err
	}
	covered = slices.DeleteFunc(covered, func(path string) bool { return path == "/proc/sys/fs/binfmt_misc" }) // which covers nothing
	if len(covered) == 0 {
		return nil
	}
	for i, m := range config.Mounts {
		if m.Device == "proc" {
			config.Mounts[i] = &configs.Mount{
				Source: "/proc", Destination: "/proc", Device: "bind", Flags: unix.MS_BIND | unix.MS_REC | m.Flags,
				PropagationFlags: []int{unix.MS_PRIVATE | unix.MS_REC},
			}
		}
	}
	if s.Warn != nil {
		s.Warn("parts of /proc are covered on this machine, as in a container: steps see the processes around them")
	}
	return nil
}

// mountedBelow lists what is mounted in a directory of the machine, whose name ends with a slash, at any depth.
func mountedBelow(dir string) ([]string, error) {
	mounts, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) { return !strings.HasPrefix(i.Mountpoint, dir), false })
	if err != nil {
		return nil, fmt.Errorf("listing what is mounted in %s: %w", dir, err)
	}
	var names []string
	for _, m := range mounts {
		names = append(names, m.Mountpoint)
	}
	return names, nil
}
