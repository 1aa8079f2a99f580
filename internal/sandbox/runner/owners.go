package runner

import (
	"errors"

	"github.com/opencontainers/runc/libcontainer"

	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/sandbox/supervisor"
)

// owners are the users and owners of a container in a user name space that has only one of each (package supervisor). A nil
// *owners is that of all others, where the kernel has them.
type owners struct {
	options supervisor.Options
	running *supervisor.Supervisor
}

// superviseOwners has process run as root of the name space, and stand for the user that it was to run as. Where the name
// space has users and owners itself, only the making of devices is supervised; nil where that is not needed either, or
// not known for this architecture.
func superviseOwners(s Spec, process *libcontainer.Process) *owners {
	switch id := identity.Current(); {
	case id.Marked():
	case id.StandsForDevices() && supervisor.Supported() && !s.Insecure: // which may want to supervise something itself
		return &owners{}
	default:
		return nil
	}
	who := supervisor.NewCredentials(process.UID, process.GID, process.AdditionalGroups)
	process.UID, process.GID, process.AdditionalGroups = 0, 0, nil
	mounted := map[string]identity.Owner{}
	for i := range s.Files {
		f := &s.Files[i]
		if owner := (identity.Owner{UID: f.UID, GID: f.GID}); owner != (identity.Owner{}) {
			mounted[f.Target] = owner
		}
		f.UID, f.GID = 0, 0 // the owner on the disk
	}
	capabilities, _ := s.capabilities(s.Network) // without an error in convert
	ledger := s.Owners
	if ledger == nil {
		ledger = identity.NewLedger()
	}
	return &owners{options: supervisor.Options{
		User: who, Capabilities: capabilities, NoNewPrivileges: s.NoNewPrivileges, Ledger: ledger, Files: mounted,
	}}
}

// compileFilters gives the seccomp programs of a container.
func compileFilters(s Spec, o *owners) (f filters, err error) {
	if !s.Insecure {
		f.forbidding, err = seccompFilter()
	}
	if o != nil && err == nil {
		f.asking, err = o.options.Filter()
	}
	return f, err
}

// confine hands the files and filters over to a container's init, and begins to answer what the filters ask.
func confine(p *pipe, files []File, process *libcontainer.Process, o *owners, compile func() (filters, error)) error {
	listener, err := p.handOver(files, compile)
	if o == nil || err != nil {
		return err
	}
	pid, err := process.Pid()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	o.options.PID = pid
	o.running, err = supervisor.Start(listener, o.options)
	return err
}

// stop ends the supervision. All processes of the container have ended.
func (o *owners) stop() {
	if o != nil {
		o.running.Stop()
	}
}
