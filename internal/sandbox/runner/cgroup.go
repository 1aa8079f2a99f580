package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
)

// cgroup is the cgroup of a container.
type cgroup struct {
	config *cgroups.Cgroup
	paths  map[string]string // directories by controller, as libcontainer has them; none without a cgroup
	// asked is what was asked for that needs it, and a verb; "" if nothing was: then nobody misses it.
	asked string
}

// noCgroup is for a container that goes without: it counts as part of the builder alone.
func noCgroup() *cgroup {
	return &cgroup{
		config: &cgroups.Cgroup{Name: "strata", Rootless: true, Resources: &cgroups.Resources{SkipDevices: true}},
		paths:  map[string]string{},
	}
}

// planCgroup says which cgroup a container of this name gets. It makes nothing. libcontainer puts the container's first process
// into it and removes it in the end.
//
//   - With a parent or limits: one in every hierarchy of this machine, below the parent or the root.
//   - An insecure container: one in every hierarchy, below the builder's own. There it may make others, which go with it.
//   - Any other: one below the builder's own, so that the builder's limits hold, in one hierarchy. Nothing of the container depends on
//     it: it is where its processes are found and killed together.
func planCgroup(s Spec, name string) (*cgroup, error) {
	limited, inParent := s.Limits != (Limits{}), s.CgroupParent != ""
	if !limited && !inParent && !s.Insecure {
		return innerCgroup(name), nil
	}
	g := &cgroup{config: &cgroups.Cgroup{Path: name, Resources: s.Limits.resources()}}
	if limited || inParent {
		// The parent is a path below the root of the hierarchies, as for Docker's cgroupfs driver.
		g.config.Path = filepath.Join("/", s.CgroupParent, name)
	}
	switch {
	case limited:
		g.asked = "the limits of memory and processors are"
	case inParent:
		g.asked = "--cgroup-parent " + s.CgroupParent + " is"
	default:
		g.config.Rootless = true // nothing fails where some hierarchy takes none
	}
	m, err := manager.New(g.config)
	if err != nil {
		return g, err
	}
	if g.paths = m.GetPaths(); len(g.paths) == 0 {
		return g, fmt.Errorf("this machine has no cgroups")
	}
	return g, nil
}

// innerCgroup is a cgroup below the builder's own in one hierarchy: in that of version 2, which can kill all that is in a cgroup
// (cgroup.kill), or else in one of version 1.
func innerCgroup(name string) *cgroup {
	g := noCgroup()
	own, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
	if err != nil {
		return g
	}
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		dir := filepath.Join(root, own[""])
		if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err == nil {
			g.paths[""] = filepath.Join(dir, name)
			return g
		}
	}
	for _, controller := range []string{"freezer", "pids", "name=systemd"} {
		if dir, err := cgroups.GetOwnCgroupPath(controller); err == nil {
			g.paths[controller] = filepath.Join(dir, name)
			return g
		}
	}
	return g
}

// make makes the cgroup's directories, so that it is known before the container starts whether that can be done. After an error
// none of them is left, but for the parents.
func (g *cgroup) make() error {
	for _, path := range g.paths {
		err := os.MkdirAll(path, 0o755)
		if err == nil && g.asked == "" && isThreaded(path) {
			err = fmt.Errorf("%s takes threads only", filepath.Dir(path))
		}
		if err != nil {
			for _, path := range g.paths {
				_ = os.Remove(path)
			}
			return err
		}
	}
	return nil
}

// isThreaded says whether a cgroup of version 2 takes no whole processes as it is (cgroups(7), "Thread mode").
func isThreaded(path string) bool {
	kind, err := os.ReadFile(filepath.Join(path, "cgroup.type"))
	return err == nil && strings.TrimSpace(string(kind)) != "domain"
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
