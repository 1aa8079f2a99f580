package userns

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Ranges are the users and groups of a name space of one's own: root of it is the user, and the subordinate IDs of
// /etc/subuid and /etc/subgid (subuid(5)) follow from 1 on.
type Ranges struct {
	uids, gids           string // the arguments of newuidmap and newgidmap (newuidmap(1))
	newuidmap, newgidmap string // their paths
}

// enough is how many subordinate IDs an image needs: with root, 0 to 65534, which is nobody.
const enough = 65535

// oneID is a name space in which root is the user, and there is nobody else. Any user may make it.
func oneID() Ranges {
	return Ranges{uids: fmt.Sprintf("0 %d 1", os.Geteuid()), gids: fmt.Sprintf("0 %d 1", os.Getegid()), newuidmap: mapsItself}
}

// mapsItself stands for the program that maps the IDs where none is needed (enter.c).
const mapsItself = "self"

// findRanges finds what the user of this process may map. Where that is nothing, why says what is missing, and lift is
// the command that gives it.
func findRanges() (r Ranges, why, lift string) {
	if n, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err == nil && n != 0 {
		return r, "no new privileges can be got (no_new_privs), which newuidmap needs", "allowPrivilegeEscalation: true, in Kubernetes' securityContext"
	}
	uid, gid := outside()
	name := strconv.Itoa(uid)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	var err error
	if r.uids, err = mapping("/etc/subuid", name, uid, uid); err != nil {
		return r, err.Error(), "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 " + name
	}
	if r.gids, err = mapping("/etc/subgid", name, uid, gid); err != nil {
		return r, err.Error(), "usermod --add-subgids 100000-165535 " + name
	}
	for _, program := range []struct {
		name string
		path *string
	}{{"newuidmap", &r.newuidmap}, {"newgidmap", &r.newgidmap}} {
		if *program.path, err = exec.LookPath(program.name); err != nil {
			return r, program.name + " is not installed", "apt-get install uidmap"
		}
	}
	return r, "", ""
}

// outside is who this process is outside of a user name space of its own with one ID.
func outside() (uid, gid int) {
	return outsideOf("/proc/self/uid_map", os.Geteuid()), outsideOf("/proc/self/gid_map", os.Getegid())
}

// outsideOf is what a map (user_namespaces(7)) has for an ID.
func outsideOf(file string, id int) int {
	data, err := os.ReadFile(file)
	if err != nil {
		return id
	}
	var inside, first, count int
	if n, err := fmt.Sscan(string(data), &inside, &first, &count); n != 3 || err != nil || count != 1 || inside != id {
		return id
	}
	return first
}

// idRange is a line of /etc/subuid or /etc/subgid.
type idRange struct{ first, count uint64 }

// mapping is the map of a name space whose 0 is self outside.
func mapping(file, name string, uid, self int) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("%s gives %s no subordinate IDs: %w", file, name, err)
	}
	defer f.Close()
	var ranges []idRange
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		owner, r, ok := parseRange(lines.Text())
		if ok && (owner == name || owner == strconv.Itoa(uid)) && !slices.Contains(ranges, r) {
			ranges = append(ranges, r)
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("reading %s: %w", file, err)
	}
	words := []string{"0", strconv.Itoa(self), "1"}
	next := uint64(1)
	for _, r := range ranges {
		words = append(words, fmt.Sprint(next), fmt.Sprint(r.first), fmt.Sprint(r.count))
		next += r.count
	}
	if next-1 < enough {
		return "", fmt.Errorf("%s gives %s %d subordinate IDs, and an image needs %d", file, name, next-1, enough)
	}
	return strings.Join(words, " "), nil
}

// parseRange reads NAME:FIRST:COUNT.
func parseRange(line string) (owner string, r idRange, ok bool) {
	fields := strings.Split(strings.TrimSpace(line), ":")
	if len(fields) != 3 {
		return "", r, false
	}
	first, err := strconv.ParseUint(fields[1], 10, 32)
	count, cerr := strconv.ParseUint(fields[2], 10, 32)
	return fields[0], idRange{first, count}, errors.Join(err, cerr) == nil && count > 0
}
