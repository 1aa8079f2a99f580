// Package orphans ends what is left of containers whose builder was killed: processes that outlived it, and cgroups.
//
// It goes by the state that libcontainer keeps of a container (libcontainer.State): the folder STATE/strata-…, where
// STATE is private to one run, holds state.json, which names the container's first process and its cgroups before
// there are any.
package orphans

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Prefix begins the names of containers and of their cgroups.
const Prefix = "strata-"

// patience is how long a killed process may take to end. One in an uninterruptible sleep ends when that does.
const patience = 2 * time.Second

// State is what matters here of a container's state.
type State struct {
	Pid     int               `json:"init_process_pid"`
	Started uint64            `json:"init_process_start"` // in ticks since the machine's start: field 22 of proc_pid_stat(5)
	Cgroups map[string]string `json:"cgroup_paths"`
}

// EndBelow ends the containers that have their state below the folder of a session, in FOLDER/state. It returns once
// they are gone; an error names what does not end, so that the folder is to be kept for another try.
func EndBelow(session string) error {
	states, err := filepath.Glob(filepath.Join(session, "*", "state"))
	if err != nil {
		return err
	}
	var errs []error
	for _, state := range states {
		errs = append(errs, End(state))
	}
	return errors.Join(errs...)
}

// End ends the containers whose states are in the folder state, which need not be there.
func End(state string) error {
	files, err := filepath.Glob(filepath.Join(state, Prefix+"*", "state.json"))
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // another ended it meanwhile
		}
		var c State
		if err := json.Unmarshal(data, &c); err != nil {
			continue // half written, since the builder was killed: it had no process yet
		}
		errs = append(errs, c.end())
	}
	return errors.Join(errs...)
}

func (c *State) end() error {
	var errs []error
	if c.Pid > 0 {
		errs = append(errs, c.kill())
	}
	for _, path := range c.Cgroups {
		if strings.HasPrefix(filepath.Base(path), Prefix) {
			errs = append(errs, endCgroup(path))
		}
	}
	return errors.Join(errs...)
}

// kill kills the container's first process, if it still runs, and waits for its end. As process 1 of a name space it
// takes all others of the container along (pid_namespaces(7)).
func (c *State) kill() error {
	fd, err := unix.PidfdOpen(c.Pid, 0)
	if err != nil {
		return nil // there is none
	}
	defer unix.Close(fd)
	// The number may be another process's by now; from here on the descriptor means the one that is looked at.
	if started, ok := StartOf(c.Pid); !ok || started != c.Started || !isFirst(c.Pid) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return nil // it has ended
	}
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		n, err := unix.Poll(poll, int(time.Until(end).Milliseconds())+1)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return fmt.Errorf("process %d, which a killed strata started, does not end", c.Pid)
}

// StartOf is when a process started, in ticks since the machine's start.
func StartOf(pid int) (ticks uint64, ok bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The name, in parentheses, may hold anything.
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const first, start = 3, 22
	if len(fields) <= start-first {
		return 0, false
	}
	ticks, err = strconv.ParseUint(fields[start-first], 10, 64)
	return ticks, err == nil
}

// isFirst says whether a process is process 1 of a name space that is not this one.
func isFirst(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(ids)
			return len(fields) > 1 && fields[len(fields)-1] == "1"
		}
	}
	return false
}
