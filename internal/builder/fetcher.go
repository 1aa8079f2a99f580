package builder

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/strata-build/strata/internal/builder/source/address"
	"github.com/strata-build/strata/internal/builder/source/remote"
	"github.com/strata-build/strata/internal/sandbox/sshagent"
)

// newFetcher makes what fetches for a build, with the secrets and the ssh agent of the build.
func (b *build) newFetcher() *remote.Fetcher {
	f := remote.New(b.store)
	f.Events, f.Distrust = b.events, b.Cache.NoCache
	f.Secret = func(id string) ([]byte, error) {
		data, ok, err := b.Sandbox.Secrets.Get(id)
		if !ok {
			return nil, err
		}
		return data, err
	}
	f.SSH = sync.OnceValues(func() (string, error) { return b.agentSocket(f) })
	return f
}

// agentSocket is where the agent of --ssh default answers. As with buildx, a context that is reached through ssh may
// use the person's agent without that, since the person named it; what a Dockerfile names may not.
func (b *build) agentSocket(f *remote.Fetcher) (string, error) {
	if !b.Sandbox.SSH.Has(sshagent.DefaultID) {
		if source, err := address.ParseContext(b.Source.Context); err == nil && source != nil && source.Git != nil && source.Git.SSH() {
			return os.Getenv("SSH_AUTH_SOCK"), nil
		}
		return "", nil
	}
	dir, err := f.Store.Temp("ssh")
	if err != nil {
		return "", err
	}
	const name = "agent"
	stop, err := b.Sandbox.SSH.Serve(context.Background(), sshagent.DefaultID, dir, name, 0o600, os.Geteuid(), os.Getegid())
	if err != nil {
		return "", err
	}
	d, err := os.Open(dir)
	if err != nil {
		stop()
		return "", err
	}
	f.AtClose(func() {
		stop()
		d.Close()
		os.RemoveAll(dir)
	})
	// ssh takes no longer a path than a socket's address has room for, 107 bytes, and the store's may be longer.
	return fmt.Sprintf("/proc/%d/fd/%d/%s", os.Getpid(), d.Fd(), name), nil
}
