package cli

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/sandbox/userns"
	"github.com/strata-build/strata/internal/store"
)

// machineInfo has the fields that `strata info` prints.
type machineInfo struct {
	Images, Steps, Layers, Records int
	ServerVersion                  string // strata's version, under docker's name
	StoreRoot                      string
	BackingFilesystem              string
	Driver                         string
	CgroupVersion                  string
	KernelVersion                  string
	OperatingSystem                string
	OSType, Architecture           string
	NCPU                           int
	MemTotal                       int64 // bytes
	DefaultEngine                  string
	ConfigFile                     string
	RunsAs                         runsAs
	Warnings                       []string
	dockerInfo
}

// dockerInfo has the fields of docker's that scripts ask for, as far as they mean something without a daemon.
type dockerInfo struct {
	Name                                                               string // of this machine
	Containers, ContainersRunning, ContainersPaused, ContainersStopped int
	DockerRootDir                                                      string
	CgroupDriver, DefaultRuntime, LoggingDriver                        string
	SecurityOptions                                                    []string
	IndexServerAddress                                                 string
	Swarm                                                              struct{ LocalNodeState string }
}

// runsAs is as whom steps run (docs/rootless.md): Rung, why it is no higher one, and the command that lifts it, ""
// where there is none.
type runsAs struct{ Rung, Why, Lift string }

// findRunsAs tries what can be tried.
func findRunsAs() runsAs {
	f := userns.Find()
	return runsAs{f.Rung.String(), f.Why, f.Lift}
}

// String is the line of `strata info`.
func (r runsAs) String() string {
	text := r.Rung
	if r.Why != "" {
		text += "; " + r.Why
	}
	if r.Lift != "" {
		text += "; higher with: " + r.Lift
	}
	return text
}

func (a *app) info() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "info [OPTIONS]",
		Short: "Show information about the store and this machine",
		Args:  args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			i, err := a.machineInfo()
			if err != nil {
				return err
			}
			if format != "" {
				return human.Template(a.texts(), format, i)
			}
			a.printInfo(i)
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "`TEMPLATE` in Go's language, such as '{{.StoreRoot}}', or json")
	return cmd
}

func (a *app) machineInfo() (*machineInfo, error) {
	s, err := a.open()
	if err != nil {
		return nil, err
	}
	i := &machineInfo{
		ServerVersion: a.version, StoreRoot: s.Root(), Driver: "overlayfs",
		OSType: runtime.GOOS, Architecture: runtime.GOARCH, NCPU: runtime.NumCPU(), ConfigFile: usedConfig(),
		RunsAs: findRunsAs(), Warnings: []string{},
		dockerInfo: dockerInfo{
			DockerRootDir: s.Root(), CgroupDriver: "cgroupfs", DefaultRuntime: "runc", LoggingDriver: "none", SecurityOptions: []string{},
			IndexServerAddress: "https://index.docker.io/v1/",
		},
	}
	i.Swarm.LocalNodeState = "inactive"
	containers, err := s.Containers()
	if err != nil {
		return nil, err
	}
	i.Containers, i.ContainersStopped = len(containers), len(containers)
	if i.Images, i.Steps, i.Layers, i.Records, err = s.Counts(); err != nil {
		return nil, err
	}
	e, err := engine("")
	if err != nil {
		return nil, err
	}
	i.DefaultEngine = e.Name
	i.measure(s)
	return i, nil
}

// measure reads the values from the kernel. A value that it does not report stays empty.
func (i *machineInfo) measure(s *store.Store) {
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		i.KernelVersion, i.Name = unix.ByteSliceToString(name.Release[:]), unix.ByteSliceToString(name.Nodename[:])
		i.Architecture = unix.ByteSliceToString(name.Machine[:]) // as docker has it: x86_64
	}
	var memory unix.Sysinfo_t
	if unix.Sysinfo(&memory) == nil {
		i.MemTotal = int64(memory.Totalram) * int64(memory.Unit)
	}
	var disk unix.Statfs_t
	if unix.Statfs(s.Root(), &disk) == nil {
		i.BackingFilesystem = filesystem(int64(disk.Type))
		if free := int64(disk.Bavail) * disk.Bsize; free < 1<<30 {
			i.warn("only %s are free on the disk of %s", human.Size(free), s.Root())
		}
	}
	if i.BackingFilesystem == "overlayfs" {
		i.warn("%s lies on overlayfs, over which no other overlay can be mounted; set STRATA_ROOT to a folder on a real disk", s.Root())
	}
	i.OperatingSystem = operatingSystem()
	if known, err := os.ReadFile("/proc/filesystems"); err == nil && !strings.Contains(string(known), "\toverlay\n") {
		i.Driver = "none"
		i.warn("the kernel does not know overlayfs; try: modprobe overlay. Without it no step can run")
	}
	if i.CgroupVersion = cgroups(); i.CgroupVersion == "none" {
		i.warn("no cgroups are mounted at /sys/fs/cgroup; steps run without them")
	}
	if actions, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail"); err != nil || !strings.Contains(string(actions), "errno") {
		i.warn("the kernel has no seccomp filters; steps run without")
	} else {
		i.SecurityOptions = append(i.SecurityOptions, "name=seccomp,profile=builtin")
	}
	if os.Geteuid() != 0 {
		return // which of root's rights are missing does not matter
	}
	if !capable(unix.CAP_SYS_ADMIN) {
		i.warn("CAP_SYS_ADMIN is missing: nothing can be mounted")
	}
	if !capable(unix.CAP_SYS_RESOURCE) {
		i.warn("CAP_SYS_RESOURCE is missing: limits of processes stay as they are")
	}
}

func (i *machineInfo) warn(format string, args ...any) {
	i.Warnings = append(i.Warnings, fmt.Sprintf(format, args...))
}

// capable reports whether this process has a capability.
func capable(capability int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return true
	}
	return data[capability/32].Effective&(1<<(capability%32)) != 0
}

// cgroups returns the version of the cgroup hierarchy: 1, 2, both (hybrid), or none.
func cgroups() string {
	var st unix.Statfs_t
	switch {
	case unix.Statfs("/sys/fs/cgroup", &st) != nil:
		return "none"
	case st.Type == unix.CGROUP2_SUPER_MAGIC:
		return "2"
	case unix.Statfs("/sys/fs/cgroup/unified", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC:
		return "1 and 2 (hybrid)"
	case st.Type == unix.TMPFS_MAGIC:
		return "1"
	}
	return "none"
}

// filesystem returns the name of a file system type of statfs(2), for the types that are usual for
// a store.
func filesystem(magic int64) string {
	switch magic {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	case unix.F2FS_SUPER_MAGIC:
		return "f2fs"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case 0x2fc12fc1:
		return "zfs"
	}
	return fmt.Sprintf("%#x", magic)
}

func operatingSystem() string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"'`)
		}
	}
	return ""
}

// usedConfig returns the path of the configuration file in use, "" if there is none.
func usedConfig() string {
	for _, path := range configPaths() {
		if st, err := os.Stat(path); err == nil && st.Mode().Type() != fs.ModeDir {
			return path
		}
	}
	return ""
}

func (a *app) printInfo(i *machineInfo) {
	config := i.ConfigFile
	if config == "" {
		config = "none (" + strings.Join(configPaths(), " or ") + ")"
	}
	for _, line := range [][2]string{
		{"Version", i.ServerVersion},
		{"Store", i.StoreRoot},
		{" Images", fmt.Sprint(i.Images)},
		{" Steps", fmt.Sprint(i.Steps)},
		{" Layers", fmt.Sprint(i.Layers)},
		{" Cache records", fmt.Sprint(i.Records)},
		{" Backing filesystem", i.BackingFilesystem},
		{"Storage driver", i.Driver},
		{"Engines", "graph classic (" + i.DefaultEngine + " is taken)"},
		{"Configuration", config},
		{"Steps run as", i.RunsAs.String()},
		{"Cgroup version", i.CgroupVersion},
		{"Kernel version", i.KernelVersion},
		{"Operating system", i.OperatingSystem},
		{"OS type", i.OSType},
		{"Architecture", i.Architecture},
		{"CPUs", fmt.Sprint(i.NCPU)},
		{"Total memory", human.Size(i.MemTotal)},
	} {
		fmt.Fprintf(a.stdout, "%s: %s\n", line[0], line[1])
	}
	for _, w := range i.Warnings {
		fmt.Fprintln(a.stderr, "WARNING:", w)
	}
}
