package userns

/*
extern int strata_userns_entered;
*/
import "C"

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// Entered says that this process has entered a user name space of its own, by Enter.
func Entered() bool { return C.strata_userns_entered != 0 }

// wasRoot says that the process that did so was root, without the right to mount.
func wasRoot() bool { return C.strata_userns_entered == 2 }

// Enter starts this program again, as the same process and with the same arguments, as root of a user name space of its
// own in which the user's ranges are mapped; without ranges it stays in the one that it is in, with mounts of its own.
// It returns only an error. Nothing may have been read or written before that the program, when it begins again, would
// miss.
func Enter(r Ranges) error {
	env := r.environ("enter")
	if r == (Ranges{}) {
		env = []string{"_STRATA_USERNS=mounts"}
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), env...))
}

// probe sees whether Enter would lead to a name space that is of use.
func probe(r Ranges) error {
	var said bytes.Buffer
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = r.environ("probe")
	cmd.Stderr = &said
	err := cmd.Run()
	if text := strings.TrimSpace(said.String()); err != nil && text != "" {
		return errors.New(strings.ReplaceAll(text, "\n", "; "))
	}
	return err
}

// environ is what the program reads when it starts (enter.c).
func (r Ranges) environ(what string) []string {
	return []string{
		"_STRATA_USERNS=" + what, "_STRATA_UIDMAP=" + r.uids, "_STRATA_GIDMAP=" + r.gids,
		"_STRATA_NEWUIDMAP=" + r.newuidmap, "_STRATA_NEWGIDMAP=" + r.newgidmap,
	}
}
