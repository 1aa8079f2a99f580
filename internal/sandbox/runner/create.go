package runner

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
)

// create makes a container that has no cgroup of its own, unless s names a parent for one.
//
// libcontainer.Create puts a container into a new cgroup of every hierarchy. libcontainer.Load takes the
// cgroups from the state that a container left, so a state that names none gives what is wanted. The random
// ID names the container's session keyring, and its cgroup.
func create(s Spec, config *configs.Config) (*libcontainer.Container, error) {
	state := struct {
		ID          string            `json:"id"`
		Pid         int               `json:"init_process_pid"`
		Config      *configs.Config   `json:"config"`
		CgroupPaths map[string]string `json:"cgroup_paths"`
	}{ID: "strata-" + rand.Text(), Pid: -1, Config: config}
	config.Cgroups, state.CgroupPaths = ownCgroup(s, state.ID)
	config.RootlessCgroups = config.Cgroups.Rootless
	data, err := json.Marshal(state)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(s.StateDir, state.ID)
	if err := os.Mkdir(dir, 0o711); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "state.json"), data, 0o600); err != nil {
		return nil, err
	}
	return libcontainer.Load(s.StateDir, state.ID)
}
