// Package userns finds as whom steps can run: as root of the machine, as root of a user name space that somebody has
// given this process, or as root of one of its own, in which the user has the owners that images need.
//
// What can be done is found by trying, and only when it is asked for: who is root, or needs none of it, pays nothing.
package userns

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/identity"
)

// Rung is as whom steps can run, the best first.
type Rung int

// The rungs.
const (
	Root   Rung = iota // root of the machine, or of a container that has its rights
	Given              // root of a user name space that somebody made for this process
	Own                // root of a user name space of its own, with the user's subordinate IDs, or those of a root that may not mount
	One                // root of a user name space with too few users and groups: owners are noted beside the files
	Chroot             // root of a container that may neither mount nor make name spaces: steps run in a root of plain files
	None               // nobody who can run steps
)

// String is the rung in the words of `strata info`.
func (r Rung) String() string {
	switch r {
	case Root:
		return "root"
	case Given:
		return "root of a given user name space"
	case Own:
		return "root of an own user name space"
	case One:
		return "root of a user name space with one ID"
	case Chroot:
		return "root of this container, without mounts and name spaces: one after the other, each in a folder that is its root"
	}
	return "no steps: files can be copied and images moved"
}

// Finding says which rung this process is on or can get on to.
type Finding struct {
	Rung Rung
	// Why is why it is no higher one, "" for root; Lift is the command that lifts it, "" where there is none.
	Why, Lift string
	// Ranges are those for Enter where the process has to enter a name space for it (Needed).
	Ranges Ranges
}

// Find looks where this process is, and, for a user who is nobody special, tries to make a name space.
func Find() Finding { return find(probe) }

// FindKnown is Find for a user who has entered a name space before, in which the identity had this name
// (identity.Name): nothing is tried.
func FindKnown(name string) Finding {
	if os.Geteuid() != 0 && name == identity.OneID(os.Geteuid(), os.Getegid()) {
		return Finding{Rung: One, Ranges: oneID()}
	}
	return find(func(Ranges) error { return nil })
}

const (
	notRoot  = "strata was not started as root"
	notMount = "this root may not mount (CAP_SYS_ADMIN is missing)"
	mount    = "docker run --privileged …"
)

func find(try func(Ranges) error) Finding {
	id := identity.Current()
	switch {
	case os.Geteuid() != 0:
		return findOwn(try)
	case !id.Mapped() && mayMount():
		return Finding{Rung: Root}
	case !mayMount():
		return findRoots(try, id)
	case wasRoot():
		return Finding{Rung: Own, Why: notMount, Lift: mount}
	case id.Marked() && Entered():
		_, why, lift := findRanges()
		if why == "" {
			why, lift = "the store was made by a user with one ID", "strata system prune -a"
		}
		return Finding{Rung: One, Why: why, Lift: lift}
	case id.Marked():
		return Finding{Rung: One, Why: fmt.Sprintf("the user name space that strata was started in has %d users and groups, and an image needs %d", id.IDs(), enough),
			Lift: "unshare --map-root-user --map-auto strata …"}
	case Entered():
		return Finding{Rung: Own, Why: notRoot, Lift: "sudo strata …"}
	}
	return Finding{Rung: Given, Why: "strata was started in a user name space"}
}

// findRoots is for root of a container that has not been given the right to mount, but may make name spaces: all of its
// IDs are mapped to themselves.
func findRoots(try func(Ranges) error, id *identity.Identity) Finding {
	all := fmt.Sprintf("0 0 %d", id.IDs())
	r := Ranges{uids: all, gids: all}
	if err := try(r); err != nil {
		rung := None
		if MayChroot() {
			rung = Chroot
		}
		return Finding{Rung: rung, Why: fmt.Sprintf("%s, nor make a user name space: %v", notMount, err), Lift: mount}
	}
	return Finding{Rung: Own, Why: notMount, Lift: mount, Ranges: r}
}

// Needed says whether this process has to enter a user name space to run steps.
func Needed() bool {
	return os.Geteuid() != 0 || !mayMount() || identity.Current().Mapped() && !ownsMounts()
}

// ownsMounts says whether the mounts that this process sees are those of its user name space: only then may it change
// them (user_namespaces(7), "Interaction of user namespaces and other types of namespaces").
func ownsMounts() bool {
	mounts, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		return true
	}
	defer mounts.Close()
	owner, err := unix.IoctlRetInt(int(mounts.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return !errors.Is(err, unix.EPERM) // it is one outside
	}
	defer unix.Close(owner)
	var of, own unix.Stat_t
	if unix.Fstat(owner, &of) != nil || unix.Stat("/proc/self/ns/user", &own) != nil {
		return true
	}
	return of.Ino == own.Ino
}

// MayChroot says whether this process is a root that may change the root of a process, and has the users and groups,
// and the rights over files, that images need. Those are docker's usual capabilities.
func MayChroot() bool {
	return os.Geteuid() == 0 && identity.Current().IDs() >= enough &&
		capable(unix.CAP_SYS_CHROOT, unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_KILL)
}

// mayMount says whether this process has CAP_SYS_ADMIN.
func mayMount() bool { return capable(unix.CAP_SYS_ADMIN) }

// capable says whether this process has all of these capabilities.
func capable(capabilities ...uint) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return true
	}
	for _, c := range capabilities {
		if data[c/32].Effective&(1<<(c%32)) == 0 {
			return false
		}
	}
	return true
}

// findOwn is for a user who is not root: the name space has the user's ranges, or, where none are to be had, one ID.
func findOwn(try func(Ranges) error) Finding {
	if why, lift := forbidden(); why != "" {
		return Finding{Rung: None, Why: why, Lift: lift}
	}
	r, why, lift := findRanges()
	if why == "" {
		err := try(r)
		if err == nil {
			return Finding{Rung: Own, Why: notRoot, Lift: "sudo strata …", Ranges: r}
		}
		why = fmt.Sprintf("making a user name space: %v", err)
	}
	r = oneID()
	if err := try(r); err != nil {
		if restricted("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
			return Finding{
				Rung: None, Lift: "apparmor_parser -r /etc/apparmor.d/strata",
				Why: fmt.Sprintf("AppArmor lets only programs with a profile use user name spaces (kernel.apparmor_restrict_unprivileged_userns): %v", err),
			}
		}
		if filtered() {
			return Finding{
				Rung: None, Lift: "docker run --user 0 …, or runAsUser: 0 in Kubernetes",
				Why: fmt.Sprintf("making a user name space, which this container's seccomp profile may forbid: %v", err),
			}
		}
		return Finding{Rung: None, Why: fmt.Sprintf("making a user name space: %v", err)}
	}
	return Finding{Rung: One, Why: why, Lift: lift, Ranges: r}
}

// forbidden says which setting of the kernel forbids user name spaces, and the command that changes it.
func forbidden() (why, lift string) {
	if restricted("/proc/sys/kernel/unprivileged_userns_clone", "0") {
		return "the kernel forbids user name spaces (kernel.unprivileged_userns_clone = 0)", "sysctl -w kernel.unprivileged_userns_clone=1"
	}
	if restricted("/proc/sys/user/max_user_namespaces", "0") {
		return "the kernel forbids user name spaces (user.max_user_namespaces = 0)", "sysctl -w user.max_user_namespaces=15000"
	}
	return "", ""
}

// filtered says whether a seccomp filter is in force, as in a container.
func filtered() bool {
	status, err := os.ReadFile("/proc/self/status")
	return err == nil && strings.Contains(string(status), "\nSeccomp:\t2\n")
}

func restricted(file, value string) bool {
	data, err := os.ReadFile(file)
	return err == nil && strings.TrimSpace(string(data)) == value
}

// Error is why no steps can run, and what would change it.
func (f Finding) Error() error {
	if f.Rung != None {
		return nil
	}
	return f.Reason()
}

// Reason is why layers cannot be laid out as trees to be mounted.
func (f Finding) Reason() error {
	if f.Lift == "" {
		return fmt.Errorf("%w: %s", identity.ErrNoTrees, f.Why)
	}
	return fmt.Errorf("%w: %s; try: %s, or sudo strata …", identity.ErrNoTrees, f.Why, f.Lift)
}
