package runner

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"

	"github.com/strata-build/strata/internal/store/orphans"
)

// state is what libcontainer.Load reads of a container that has no process yet.
type state struct {
	ID          string            `json:"id"`
	Pid         int               `json:"init_process_pid"`
	Config      *configs.Config   `json:"config"`
	CgroupPaths map[string]string `json:"cgroup_paths"`
}

// create makes a container with the cgroups that planCgroup gives it.
//
// libcontainer.Create puts a container into a new cgroup of every hierarchy, and asks for that. libcontainer.Load takes the
// cgroups from the state that a container left, so a state that names others, or none, gives what is wanted. The
// random ID names the container's session keyring, and its cgroup. The state names the cgroup before it is made, so that
// it is found and removed if this process is killed (package orphans).
func create(s Spec, config *configs.Config) (*libcontainer.Container, error) {
	c := state{ID: orphans.Prefix + rand.Text(), Pid: -1, Config: config}
	dir := filepath.Join(s.StateDir, c.ID)
	if err := os.Mkdir(dir, 0o711); err != nil {
		return nil, err
	}
	group, err := planCgroup(s, c.ID)
	if err == nil {
		if err := c.save(dir, group); err != nil {
			return nil, err
		}
		err = group.make()
	}
	if err != nil {
		if group.asked != "" && s.Warn != nil {
			s.Warn(fmt.Sprintf("%s left out: no cgroup can be made there: %v", group.asked, err))
		}
		if err := c.save(dir, noCgroup()); err != nil {
			return nil, err
		}
	}
	container, err := libcontainer.Load(s.StateDir, c.ID)
	if err != nil {
		return nil, errors.Join(err, orphans.End(s.StateDir))
	}
	return container, nil
}

// save writes the state of a container that is to have this cgroup.
func (c *state) save(dir string, group *cgroup) error {
	c.Config.Cgroups, c.CgroupPaths = group.config, group.paths
	c.Config.RootlessCgroups = group.config.Rootless
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "state.json"), data, 0o600)
}
