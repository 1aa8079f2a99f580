package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/sandbox/secret"
	"github.com/strata-build/strata/internal/sandbox/sshagent"
)

// machineFlags are the flags of build and run that configure the machine that a container sees:
// hosts, limits, /dev/shm, cgroup.
type machineFlags struct {
	hosts, ulimits        []string
	shmSize, cgroupParent string
}

func (f *machineFlags) register(fl *pflag.FlagSet) {
	fl.Var((*listFlag)(&f.hosts), "add-host", "entry of /etc/hosts, as `NAME:IP`; host-gateway is the loopback of this machine")
	fl.StringVar(&f.shmSize, "shm-size", "", "`SIZE` of /dev/shm, such as 64m")
	fl.Var((*listFlag)(&f.ulimits), "ulimit", "resource limit (ulimit) of the processes, as `NAME=SOFT[:HARD]`")
	fl.StringVar(&f.cgroupParent, "cgroup-parent", "", "`PATH` of the parent cgroup of the containers")
}

func (f *machineFlags) machine() (runner.Machine, error) {
	m := runner.Machine{CgroupParent: f.cgroupParent}
	for _, text := range f.hosts {
		hosts, err := runner.ParseHost(text)
		if err != nil {
			return m, usageError("--add-host %w", err)
		}
		m.Hosts = append(m.Hosts, hosts...)
	}
	for _, text := range f.ulimits {
		limit, err := runner.ParseUlimit(text)
		if err != nil {
			return m, usageError("--ulimit %w", err)
		}
		// The last value for a name is used.
		m.Ulimits = slices.DeleteFunc(m.Ulimits, func(u runner.Ulimit) bool { return u.Name == limit.Name })
		m.Ulimits = append(m.Ulimits, limit)
	}
	slices.SortFunc(m.Ulimits, func(a, b runner.Ulimit) int { return strings.Compare(a.Name, b.Name) })
	if f.shmSize != "" {
		size, err := units.RAMInBytes(f.shmSize)
		if err != nil || size < 0 {
			return m, usageError("--shm-size %s: it takes a size, such as 128m", f.shmSize)
		}
		m.ShmSize = size
	}
	if err := runner.CheckCgroupParent(f.cgroupParent); err != nil {
		return m, usageError("--cgroup-parent %w", err)
	}
	return m, nil
}

// rightsFlags are the flags of build for secrets, ssh agents and privileges of RUN steps.
type rightsFlags struct {
	machineFlags
	allow, secrets, ssh []string
}

func (f *rightsFlags) register(fl *pflag.FlagSet) {
	f.machineFlags.register(fl)
	fl.Var((*listFlag)(&f.secrets), "secret", "secret for RUN --mount=type=secret, as `id=ID,src=FILE` or id=ID,env=VARIABLE")
	fl.Var((*listFlag)(&f.ssh), "ssh", "ssh agent for RUN --mount=type=ssh: `ID`, ID=SOCKET or ID=KEY[,KEY]; the usual ID is default")
	fl.Var((*listFlag)(&f.allow), "allow", "permit a `PRIVILEGE` that the Dockerfile asks for, network.host or security.insecure; or buildx.local.delete, for --output mode=delete outside of the working directory")
}

// apply parses the flags into r, whose Network is set already.
func (f *rightsFlags) apply(r *builder.Request, network string) error {
	var err error
	if r.Sandbox.Machine, err = f.machine(); err != nil {
		return err
	}
	for _, text := range f.allow {
		if text == "" {
			continue
		}
		e, err := dockerfile.ParseEntitlement(text)
		if err != nil {
			return usageError("--allow %w", err)
		}
		r.Target.Allow = append(r.Target.Allow, e)
	}
	if err := f.applySecrets(r); err != nil {
		return err
	}
	if network == "host" {
		r.Target.Allow = append(r.Target.Allow, dockerfile.AllowNetworkHost) // as buildx does
	}
	return nil
}

// applySecrets reads secrets and keys before the build starts, so that a missing one is an error at
// once.
func (f *rightsFlags) applySecrets(r *builder.Request) error {
	var secrets []secret.Source
	for _, text := range f.secrets {
		s, err := secret.Parse(text)
		if err != nil {
			return usageError("--secret: %w", err)
		}
		secrets = append(secrets, s)
	}
	var agents []sshagent.Spec
	for _, text := range f.ssh {
		s, err := sshagent.Parse(text)
		if err != nil {
			return usageError("--ssh %w", err)
		}
		agents = append(agents, s)
	}
	var err error
	if r.Sandbox.Secrets, err = secret.NewStore(secrets); err != nil {
		return fmt.Errorf("--secret: %w", err)
	}
	if r.Sandbox.SSH, err = sshagent.Open(agents); err != nil {
		return fmt.Errorf("--ssh %w", err)
	}
	return nil
}
