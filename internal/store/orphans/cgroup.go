package orphans

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// endCgroup kills what is in a cgroup and in those below it, and removes them.
func endCgroup(path string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	// Version 2 has a file for this, from Linux 5.14 on.
	if err := os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0); err != nil {
		killOneByOne(path)
	}
	if err := cgroups.RemovePath(path); err != nil {
		return fmt.Errorf("remove the cgroup of a killed strata: %w", err)
	}
	return nil
}

// killOneByOne kills until nobody is left, since a process that is about to die may still start another. What version 1
// has for this is its freezer, whose processes stand still until they have all got their signal.
func killOneByOne(path string) {
	freezer := filepath.Join(path, "freezer.state")
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		_ = os.WriteFile(freezer, []byte("FROZEN"), 0)
		pids, err := cgroups.GetAllPids(path)
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		_ = os.WriteFile(freezer, []byte("THAWED"), 0)
		if err != nil || len(pids) == 0 {
			return
		}
	}
}
