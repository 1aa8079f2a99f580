package supervisor

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// unchanged stands for an ID that stays as it is: -1.
const unchanged = ^uint32(0)

// maxGroupsOfOne is NGROUPS_MAX.
const maxGroupsOfOne = 65536

// get answers the calls that tell one number.
func get(number func(*Credentials) uint32) func(*call) answer {
	return func(c *call) answer {
		who, err := c.users.of(int(c.pid))
		if err != nil {
			return fail(err)
		}
		return answer{value: int64(number(who))}
	}
}

// getThree answers getresuid and getresgid.
func getThree(of func(*Credentials) *ids) func(*call) answer {
	return func(c *call) answer {
		who, err := c.users.of(int(c.pid))
		if err != nil {
			return fail(err)
		}
		i := of(who)
		if err := c.putNumbers(i.real, i.effective, i.saved); err != nil {
			return fail(err)
		}
		return answer{}
	}
}

func uids(c *Credentials) *ids { return &c.uid }
func gids(c *Credentials) *ids { return &c.gid }

// kind is whether users or groups are meant.
type kind struct {
	of         func(*Credentials) *ids
	capability string
}

var (
	user  = kind{uids, "CAP_SETUID"}
	group = kind{gids, "CAP_SETGID"}
)

// set answers a call that changes IDs, by the rules in change; privileged says that the process may take on any.
func (k kind) set(change func(c *call, i *ids, privileged bool) unix.Errno) func(*call) answer {
	return func(c *call) answer {
		now, err := c.users.of(int(c.pid))
		if err != nil {
			return fail(err)
		}
		next := *now
		if errno := change(c, k.of(&next), c.may(now, k.capability)); errno != 0 {
			return fail(errno)
		}
		if !c.waits() {
			return fail(unix.ESRCH)
		}
		if err := c.users.set(int(c.pid), &next); err != nil {
			return fail(err)
		}
		return answer{}
	}
}

// one is setuid and setgid.
func one(c *call, i *ids, privileged bool) unix.Errno {
	id := uint32(c.argument[0])
	switch {
	case id == unchanged:
		return unix.EINVAL
	case privileged:
		*i = allOf(id)
	case id == i.real || id == i.saved:
		i.effective, i.files = id, id
	default:
		return unix.EPERM
	}
	return 0
}

// two is setreuid and setregid.
func two(c *call, i *ids, privileged bool) unix.Errno {
	real, effective := uint32(c.argument[0]), uint32(c.argument[1])
	was := *i
	if real != unchanged {
		if !privileged && real != was.real && real != was.effective {
			return unix.EPERM
		}
		i.real = real
	}
	if effective != unchanged {
		if !privileged && effective != was.real && effective != was.effective && effective != was.saved {
			return unix.EPERM
		}
		i.effective = effective
	}
	if real != unchanged || effective != unchanged && effective != was.real {
		i.saved = i.effective
	}
	i.files = i.effective
	return 0
}

// three is setresuid and setresgid.
func three(c *call, i *ids, privileged bool) unix.Errno {
	was := *i
	for n, id := range []*uint32{&i.real, &i.effective, &i.saved} {
		next := uint32(c.argument[n])
		if next == unchanged {
			continue
		}
		if !privileged && next != was.real && next != was.effective && next != was.saved {
			return unix.EPERM
		}
		*id = next
	}
	i.files = i.effective
	return 0
}

// setFiles answers setfsuid and setfsgid, which return what was before, whether or not it is changed.
func (k kind) setFiles(c *call) answer {
	now, err := c.users.of(int(c.pid))
	if err != nil {
		return fail(err)
	}
	next := *now
	i, id := k.of(&next), uint32(c.argument[0])
	was := i.files
	if id != unchanged && (c.may(now, k.capability) || id == i.real || id == i.effective || id == i.saved || id == i.files) {
		i.files = id
		if err := c.users.set(int(c.pid), &next); err != nil {
			return fail(err)
		}
	}
	return answer{value: int64(was)}
}

func getGroups(c *call) answer {
	who, err := c.users.of(int(c.pid))
	if err != nil {
		return fail(err)
	}
	n, room := len(who.groups), int32(c.argument[0])
	if room == 0 || n == 0 {
		return answer{value: int64(n)}
	}
	if room < int32(n) {
		return fail(unix.EINVAL)
	}
	var data []byte
	for _, g := range who.groups {
		data = binary.NativeEndian.AppendUint32(data, g)
	}
	if err := c.write(c.argument[1], data); err != nil {
		return fail(err)
	}
	return answer{value: int64(n)}
}

func setGroups(c *call) answer {
	now, err := c.users.of(int(c.pid))
	if err != nil {
		return fail(err)
	}
	n := uint32(c.argument[0])
	switch {
	case !c.may(now, "CAP_SETGID"):
		return fail(unix.EPERM)
	case n > maxGroupsOfOne:
		return fail(unix.EINVAL)
	}
	next := *now
	next.groups = nil
	if n > 0 {
		data := make([]byte, 4*n)
		if got, err := c.read(c.argument[1], data); err != nil || got < len(data) {
			return fail(unix.EFAULT)
		}
		for ; len(data) > 0; data = data[4:] {
			next.groups = append(next.groups, binary.NativeEndian.Uint32(data))
		}
		slices.Sort(next.groups)
	}
	if !c.waits() {
		return fail(unix.ESRCH)
	}
	if err := c.users.set(int(c.pid), &next); err != nil {
		return fail(err)
	}
	return answer{}
}
