package runner

import (
	"fmt"
	"sync"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// seccompProfile is Docker's default profile for the default capabilities, converted once per process.
var seccompProfile = sync.OnceValues(func() (*configs.Seccomp, error) {
	caps := capabilities()
	profile, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{
		Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
	}})
	if err != nil {
		return nil, fmt.Errorf("load the default seccomp profile: %w", err)
	}
	converted, err := specconv.SetupSeccomp(profile)
	if err != nil {
		return nil, fmt.Errorf("convert the default seccomp profile: %w", err)
	}
	return converted, nil
})
