package runner

import (
	"fmt"
	"os"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/identity"
)

// unprotect makes of a container what BuildKit makes of one with --security=insecure (its package
// util/entitlements/security): it holds what its builder holds.
func unprotect(c *configs.Config) error {
	all, err := ownCapabilities()
	if err != nil {
		return err
	}
	// The ambient ones reach a USER that is not root, too.
	c.Capabilities = &configs.Capabilities{Bounding: all, Permitted: all, Effective: all, Inheritable: all, Ambient: all}
	c.MaskPaths, c.ReadonlyPaths = nil, nil
	for _, m := range c.Mounts {
		switch m.Device {
		case "sysfs", "cgroup":
			m.Flags &^= unix.MS_RDONLY
		case "tmpfs":
			if m.Destination == "/dev" {
				m.Flags &^= unix.MS_NODEV // see deviceMounts
			}
		}
	}
	c.Devices = insecureDevices()
	return nil
}

// ownCapabilities are those that this process has.
func ownCapabilities() ([]string, error) {
	caps, err := capability.NewPid2(0)
	if err == nil {
		err = caps.Load()
	}
	if err != nil {
		return nil, fmt.Errorf("reading the builder's own capabilities: %w", err)
	}
	var names []string
	for _, c := range capability.ListKnown() {
		if caps.Get(capability.PERMITTED, c) && caps.Get(capability.BOUNDING, c) {
			names = append(names, capabilityName(c))
		}
	}
	return names, nil
}

// insecureDevices are the nodes that an insecure container finds below /dev; it can make others for itself.
func insecureDevices() []*config.Device {
	var nodes []*config.Device
	mapped := identity.Current().Mapped()
	add := func(path string, kind config.Type, major, minor int64) {
		if _, err := os.Stat(path); mapped && err != nil {
			return // in a user name space the machine's are shown
		}
		nodes = append(nodes, &config.Device{Path: path, FileMode: 0o600, Rule: config.Rule{
			Type: kind, Major: major, Minor: minor, Permissions: "rwm", Allow: true,
		}})
	}
	add("/dev/kmsg", config.CharDevice, 1, 11)
	add("/dev/cuse", config.CharDevice, 10, 203)
	add("/dev/fuse", config.CharDevice, 10, 229)
	add("/dev/kvm", config.CharDevice, 10, 232)
	add("/dev/net/tun", config.CharDevice, 10, 200)
	add("/dev/loop-control", config.CharDevice, 10, 237)
	for i := range freeLoop() + 8 {
		add(fmt.Sprintf("/dev/loop%d", i), config.BlockDevice, 7, int64(i))
	}
	return nodes
}

// freeLoop is the number of the next loop device that nobody uses, 0 where there are none.
func freeLoop() int {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return 0
	}
	defer control.Close()
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return 0
	}
	return number
}
