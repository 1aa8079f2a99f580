package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
)

// ownCgroup makes a cgroup for a container below s.CgroupParent, or for its limits, in every hierarchy that this machine has, and returns
// how libcontainer finds it. libcontainer puts the container's first process into it and removes it in the end.
//
// Without a parent and limits there is none: a container counts as part of the builder then. Where none can be made, for instance
// because /sys/fs/cgroup is read-only, s.Warn is told and the container goes without.
func ownCgroup(s Spec, name string) (*cgroups.Cgroup, map[string]string) {
	none := &cgroups.Cgroup{Name: "strata", Rootless: true, Resources: &cgroups.Resources{}}
	what := "--cgroup-parent " + s.CgroupParent + " is"
	switch {
	case s.Limits != (Limits{}):
		what = "the limits of memory and processors are"
		if s.CgroupParent == "" {
			name = "strata-" + name // so that no parent stays behind
		}
	case s.CgroupParent == "":
		return none, map[string]string{}
	}
	group := &cgroups.Cgroup{
		// The parent is a path below the root of the hierarchies, as for Docker's cgroupfs driver.
		Path:      filepath.Join("/", s.CgroupParent, name),
		Resources: s.Limits.resources(),
	}
	paths, err := makeCgroup(group)
	if err != nil {
		if s.Warn != nil {
			s.Warn(fmt.Sprintf("%s left out: no cgroup can be made there: %v", what, err))
		}
		return none, map[string]string{}
	}
	return group, paths
}

// makeCgroup makes the cgroup's directories, so that it is known before the container starts whether that can be
// done. After an error none of them is left, but for the parents.
func makeCgroup(group *cgroups.Cgroup) (map[string]string, error) {
	m, err := manager.New(group)
	if err != nil {
		return nil, err
	}
	paths := m.GetPaths()
	if len(paths) == 0 {
		return nil, fmt.Errorf("this machine has no cgroups")
	}
	for _, path := range paths {
		if err := os.MkdirAll(path, 0o755); err != nil {
			for _, path := range paths {
				_ = os.Remove(path)
			}
			return nil, err
		}
	}
	return paths, nil
}

// CheckCgroupParent says what is wrong with a --cgroup-parent.
func CheckCgroupParent(parent string) error {
	if strings.HasSuffix(parent, ".slice") && !strings.Contains(parent, "/") {
		return fmt.Errorf("%s: systemd's slices are not supported; take a path below /sys/fs/cgroup, such as /builds", parent)
	}
	if strings.ContainsRune(parent, 0) {
		return fmt.Errorf("%q: a path cannot hold a null byte", parent)
	}
	return nil
}
