package supervisor

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Credentials are whom a process stands for (credentials(7)).
type Credentials struct {
	uid, gid ids
	groups   []uint32
}

// ids are the four users, or groups, of a process.
type ids struct{ real, effective, saved, files uint32 }

// NewCredentials are those of a process that is started for a user.
func NewCredentials(uid, gid int, groups []int) *Credentials {
	c := &Credentials{uid: allOf(uint32(uid)), gid: allOf(uint32(gid))}
	for _, g := range groups {
		c.groups = append(c.groups, uint32(g))
	}
	slices.Sort(c.groups) // as the kernel does
	return c
}

func allOf(id uint32) ids { return ids{id, id, id, id} }

// in says whether a process is in a group.
func (c *Credentials) in(gid uint32) bool {
	return c.gid.files == gid || slices.Contains(c.groups, gid)
}

// kept is the limit of a process in which the kernel keeps whom it stands for: RLIMIT_LOCKS, which Linux has had no
// other use for since 2.4. fork(2) and execve(2) leave it as it is, so that no process gets lost, and it goes with the
// process. All threads of a process stand for the same user, as C libraries see to.
const kept = 10

// Bounds of what the processes of a container can make this one hold.
const (
	maxUsers  = 1 << 16
	maxGroups = 1 << 22 // of all users
)

// users are all that processes of a container ever stood for. The limit of a process is the place of its own in the
// list.
type users struct {
	known  []*Credentials
	places map[string]uint64
	groups int
}

// add returns the place of credentials in the list.
func (u *users) add(c *Credentials) (uint64, error) {
	key := fmt.Sprint(c.uid, c.gid, c.groups)
	if i, ok := u.places[key]; ok {
		return i, nil
	}
	if len(u.known) >= maxUsers || u.groups+len(c.groups) > maxGroups {
		return 0, unix.ENOMEM
	}
	if u.places == nil {
		u.places = map[string]uint64{}
	}
	i := uint64(len(u.known))
	u.places[key], u.known, u.groups = i, append(u.known, c), u.groups+len(c.groups)
	return i, nil
}

// of is whom a process stands for. Do not change it.
func (u *users) of(pid int) (*Credentials, error) {
	var limit unix.Rlimit
	if err := unix.Prlimit(pid, kept, nil, &limit); err != nil {
		return nil, err
	}
	if limit.Cur >= uint64(len(u.known)) {
		return u.known[0], nil
	}
	return u.known[limit.Cur], nil
}

// set has a process stand for somebody.
func (u *users) set(pid int, c *Credentials) error {
	i, err := u.add(c)
	if err != nil {
		return err
	}
	var limit unix.Rlimit
	if err := unix.Prlimit(pid, kept, nil, &limit); err != nil {
		return err
	}
	limit.Cur = i
	return unix.Prlimit(pid, kept, &limit, nil)
}
