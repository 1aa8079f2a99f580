package identity

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// place is where a process is among the users of the machine.
type place struct {
	plain  bool // neither root nor in a user name space in which it is
	mapped bool // in a user name space that has some of the machine's numbers only
	ids    uint32
	name   string
	reason error // why no trees can be made, where more is known than can be seen here
}

// allIDs is how many numbers the first user name space has.
const allIDs = 1<<32 - 1

// here looks at this process.
func here() place {
	if os.Geteuid() != 0 {
		return place{plain: true, ids: 1}
	}
	uids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return place{ids: allIDs, name: nameOfRoot} // no /proc: then it is not of a name space's user either
	}
	gids, err := os.ReadFile("/proc/self/gid_map")
	if err != nil {
		return place{ids: allIDs, name: nameOfRoot}
	}
	name, err := os.Readlink("/proc/self/ns/user")
	return parsePlace(string(uids), string(gids), err != nil || name == firstNameSpace)
}

// firstNameSpace is the user name space of the machine (kernel, include/linux/proc_ns.h, PROC_USER_INIT_INO). Another
// one may have all of its numbers, and its root still has no rights over the machine.
const firstNameSpace = "user:[4026531837]"

const nameOfRoot = "root"

// parsePlace reads uid_map and gid_map (user_namespaces(7)): lines of the first number inside, the first outside, how
// many. first says that they may be those of the machine.
func parsePlace(uids, gids string, first bool) place {
	users, groups := strings.Fields(uids), strings.Fields(gids)
	all := []string{"0", "0", strconv.Itoa(allIDs)}
	if first && slices.Equal(users, all) && slices.Equal(groups, all) {
		return place{ids: allIDs, name: nameOfRoot}
	}
	return place{
		mapped: true, ids: min(fromZero(users), fromZero(groups)),
		name: "users " + mapName(users) + ", groups " + mapName(groups),
	}
}

// mapName is a map as a person reads it: 0=1000, 1-65536=100000-165535.
func mapName(fields []string) string {
	var parts []string
	for i := 0; i+2 < len(fields); i += 3 {
		inside, _ := strconv.ParseUint(fields[i], 10, 32)
		outside, _ := strconv.ParseUint(fields[i+1], 10, 32)
		n, _ := strconv.ParseUint(fields[i+2], 10, 32)
		if n <= 1 {
			parts = append(parts, fmt.Sprintf("%d=%d", inside, outside))
			continue
		}
		parts = append(parts, fmt.Sprintf("%d-%d=%d-%d", inside, inside+n-1, outside, outside+n-1))
	}
	return strings.Join(parts, " ")
}

// fromZero is how many numbers a map has from 0 on without a hole.
func fromZero(fields []string) uint32 {
	next := uint64(0)
	for found := true; found; {
		found = false
		for i := 0; i+2 < len(fields); i += 3 {
			inside, _ := strconv.ParseUint(fields[i], 10, 32)
			n, _ := strconv.ParseUint(fields[i+2], 10, 32)
			if inside == next && n > 0 {
				next, found = next+n, true
			}
		}
	}
	return uint32(min(next, allIDs))
}

// has says whether an owner on the disk has numbers here.
func (p place) has(o Owner) bool {
	return p.plain || !p.mapped || uint64(o.UID) < uint64(p.ids) && uint64(o.GID) < uint64(p.ids)
}

// Mapped says that the process is in a user name space that has some of the machine's numbers only, where attributes
// trusted.* and devices cannot be made.
func (id *Identity) Mapped() bool { return id.place.mapped }

// IDs is how many users and groups there are from 0 on.
func (id *Identity) IDs() uint32 { return id.place.ids }

// Name says as whom trees are made: processes with the same name read each other's trees. "" is a user who can make
// none.
func (id *Identity) Name() string { return id.place.name }

// marked says that the owners of files are noted beside them: the process has too few numbers of its own.
func (p place) marked() bool { return !p.plain && p.mapped && p.ids > 0 && p.ids < fewestIDs }

// fewestIDs are as many numbers as an image needs at least: 65534 is nobody.
const fewestIDs = 65535

// ErrNoTrees says that a process cannot give files to the owners that they have in images, nor note those beside them.
var ErrNoTrees = errors.New("it needs root, or a user name space")

// Without is the identity with the reason why it can make no trees.
func (id *Identity) Without(reason error) *Identity {
	without := *id
	without.place.reason = reason
	return &without
}

// Trees is nil where this process can make trees of layers, and the reason where it cannot.
func (id *Identity) Trees() error {
	switch {
	case id.place.reason != nil:
		return id.place.reason
	case id.place.plain, id.place.ids == 0:
		return ErrNoTrees
	}
	return nil
}

// OwnerError is an owner in an image that has no number on this machine's disk.
type OwnerError struct {
	Owner Owner
	IDs   uint32
}

func (e *OwnerError) Error() string {
	return fmt.Sprintf("there is no user or group for its owner %d:%d in this user name space, which has 0 to %d; give your user a longer range (usermod --add-subuids, --add-subgids)",
		e.Owner.UID, e.Owner.GID, e.IDs-1)
}
