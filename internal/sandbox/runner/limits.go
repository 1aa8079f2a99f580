package runner

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// DefaultShmSize is the size of a container's /dev/shm in bytes where nobody says another, Docker's.
const DefaultShmSize = 64 << 20

// Ulimit is a limit of setrlimit(2), under the name that Docker has for it. math.MaxUint64 is no limit.
type Ulimit struct {
	Name       string
	Soft, Hard uint64
}

// ParseUlimit reads what --ulimit takes: NAME=SOFT[:HARD], where -1 is no limit and HARD is SOFT if it is not there.
func ParseUlimit(text string) (Ulimit, error) {
	name, limits, ok := strings.Cut(text, "=")
	if !ok {
		return Ulimit{}, fmt.Errorf("%s: it takes NAME=SOFT[:HARD], such as nofile=1024:4096", text)
	}
	if _, ok := resources[name]; !ok {
		return Ulimit{}, fmt.Errorf("%s: there is no limit %q; it is one of %s", text, name, strings.Join(resourceNames(), ", "))
	}
	parsed, err := units.ParseUlimit(name + "=" + limits)
	if err != nil {
		return Ulimit{}, fmt.Errorf("%s: %w; it takes NAME=SOFT[:HARD], such as nofile=1024:4096", text, err)
	}
	if parsed.Soft < -1 || parsed.Hard < -1 {
		return Ulimit{}, fmt.Errorf("%s: a limit is -1, which is none, or not negative", text)
	}
	return Ulimit{Name: name, Soft: uint64(parsed.Soft), Hard: uint64(parsed.Hard)}, nil
}

// String is the form that ParseUlimit reads.
func (u Ulimit) String() string {
	return fmt.Sprintf("%s=%d:%d", u.Name, int64(u.Soft), int64(u.Hard))
}

// resources are the limits that Docker knows by name (docker/go-units, ulimit.go).
var resources = map[string]int{
	"core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA, "fsize": unix.RLIMIT_FSIZE,
	"locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE,
	"nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS,
	"rtprio": unix.RLIMIT_RTPRIO, "rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING,
	"stack": unix.RLIMIT_STACK,
}

func resourceNames() []string {
	var names []string
	for name := range resources {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// rlimits puts limits into libcontainer's terms. Raising a hard limit takes CAP_SYS_RESOURCE, which even root does not
// have everywhere: then the kernel's answer, EPERM, says neither which limit nor what would be possible.
func rlimits(limits []Ulimit) ([]configs.Rlimit, error) {
	var converted []configs.Rlimit
	mayRaise := hasCapability(unix.CAP_SYS_RESOURCE)
	for _, l := range limits {
		resource, ok := resources[l.Name]
		if !ok {
			return nil, fmt.Errorf("there is no limit %q", l.Name)
		}
		var now unix.Rlimit
		if err := unix.Getrlimit(resource, &now); err != nil {
			return nil, fmt.Errorf("asking for the limit %s: %w", l.Name, err)
		}
		if l.Hard > now.Max && !mayRaise {
			return nil, fmt.Errorf("the limit %s cannot be raised to %s: this machine permits %d at most and does not let strata raise it (CAP_SYS_RESOURCE)",
				l, limitText(l.Hard), now.Max)
		}
		converted = append(converted, configs.Rlimit{Type: resource, Soft: l.Soft, Hard: l.Hard})
	}
	return converted, nil
}

func limitText(limit uint64) string {
	if limit == math.MaxUint64 {
		return "no limit"
	}
	return fmt.Sprint(limit)
}

func hasCapability(number int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[number/32].Effective&(1<<(number%32)) != 0
}
