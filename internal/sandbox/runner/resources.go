package runner

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/opencontainers/cgroups"
)

// Limits are what a container may use of memory and processors; what is 0 or "" is not limited. They need a cgroup.
type Limits struct {
	Memory     int64 // bytes
	MemorySwap int64 // bytes of memory and swap together, -1 without a limit
	CPUShares  uint64
	CPUPeriod  uint64 // µs
	CPUQuota   int64  // µs of processor time in each period
	CpusetCpus string // processors, such as 0-3,5
	CpusetMems string // memory nodes
}

// Set reads a limit by the name that it has as an option of docker build: memory, memory-swap, cpu-shares, cpu-period,
// cpu-quota, cpuset-cpus, cpuset-mems. The bounds are BuildKit's (dockerui/attr.go, parseLinuxResources).
func (l *Limits) Set(name, value string) (err error) {
	switch name {
	case "memory":
		l.Memory, err = units.RAMInBytes(value)
		return least(l.Memory, 1, err)
	case "memory-swap":
		if value == "-1" {
			l.MemorySwap = -1
			return nil
		}
		l.MemorySwap, err = units.RAMInBytes(value)
		return least(l.MemorySwap, 1, err)
	case "cpu-shares":
		l.CPUShares, err = strconv.ParseUint(value, 10, 32)
		return least(int64(l.CPUShares), 1, err)
	case "cpu-period":
		l.CPUPeriod, err = strconv.ParseUint(value, 10, 32)
		return least(int64(l.CPUPeriod), 1, err)
	case "cpu-quota":
		l.CPUQuota, err = strconv.ParseInt(value, 10, 64)
		return least(l.CPUQuota, 1, err)
	case "cpuset-cpus":
		l.CpusetCpus = value
		return checkSet(value)
	case "cpuset-mems":
		l.CpusetMems = value
		return checkSet(value)
	}
	return errors.New("there is no such limit; it is one of memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus, cpuset-mems")
}

func least(n, bound int64, err error) error {
	if err == nil && n < bound {
		err = errors.New("it has to be above 0")
	}
	return err
}

// checkSet says what is wrong with a list such as 0-3,5.
func checkSet(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		a, err := strconv.ParseUint(first, 10, 16)
		b := a
		if err == nil && isRange {
			b, err = strconv.ParseUint(last, 10, 16)
		}
		if err != nil || b < a {
			return fmt.Errorf("%q is no list of numbers and ranges, such as 0-3,5", text)
		}
	}
	return nil
}

// resources are the limits as libcontainer has them.
func (l *Limits) resources() *cgroups.Resources {
	return &cgroups.Resources{
		// Devices are kept away by other means, see deviceMounts.
		SkipDevices: true,
		Memory:      l.Memory, MemorySwap: l.MemorySwap,
		CpuShares: l.CPUShares, CpuWeight: cgroups.ConvertCPUSharesToCgroupV2Value(l.CPUShares),
		CpuPeriod: l.CPUPeriod, CpuQuota: l.CPUQuota,
		CpusetCpus: l.CpusetCpus, CpusetMems: l.CpusetMems,
	}
}
