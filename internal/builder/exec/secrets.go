package exec

import (
	"context"
	"fmt"
	"os"
	"path"
	"strconv"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/sandbox/runner"
)

// SecretMode and AgentMode are the permissions of a secret and of an agent's socket that say
// nothing of their own (BuildKit, client/llb/exec.go).
const SecretMode, AgentMode = 0o400, 0o600

// given is what the mounts of a RUN give it of the build's secrets and ssh agents. It goes with the step.
type given struct {
	files   []runner.File
	env     []string
	sockets []runner.Bind
	stops   []func()
}

func (g *given) stop() {
	for _, stop := range g.stops {
		stop()
	}
}

// giveSecrets prepares the secrets and agents that a RUN mounts; sockets are made below dir. What it returns is to
// be stopped, after an error too.
func (e *Executor) giveSecrets(ctx context.Context, dir string, r *dockerfile.Run) (*given, error) {
	g := &given{}
	agents := 0
	for i := range r.Mounts {
		m := &r.Mounts[i]
		var err error
		switch m.Type {
		case dockerfile.MountSecret:
			err = e.giveSecret(g, m)
		case dockerfile.MountSSH:
			err = e.giveAgent(ctx, g, m, dir, agents)
			agents++
		}
		if err != nil {
			return g, err
		}
	}
	return g, nil
}

func (e *Executor) giveSecret(g *given, m *dockerfile.Mount) error {
	data, ok, err := e.Secrets.Get(m.ID)
	if err != nil {
		return err
	}
	if !ok && m.Required {
		return fmt.Errorf("secret %s: not found; give it with --secret id=%s,src=FILE or --secret id=%s,env=VARIABLE", m.ID, m.ID, m.ID)
	}
	if m.Env != nil {
		g.env = append(g.env, *m.Env+"="+string(data)) // empty without, as in BuildKit
	}
	uid, gid := m.Owner()
	if target := SecretTarget(m); ok && target != "" {
		g.files = append(g.files, runner.File{
			Target: target, Data: data, Mode: uint32(m.ModeOr(SecretMode)), UID: uid, GID: gid,
		})
	}
	return nil
}

// SecretTarget is where a secret's file is, "" if it only is in a variable.
func SecretTarget(m *dockerfile.Mount) string {
	if m.Target == "" && m.Env == nil {
		return "/run/secrets/" + path.Base(m.ID)
	}
	return m.Target
}

// giveAgent serves an agent on a socket. The number is that of the mount among those of its type.
func (e *Executor) giveAgent(ctx context.Context, g *given, m *dockerfile.Mount, dir string, number int) error {
	target := AgentTarget(m, number)
	if number == 0 {
		g.env = append(g.env, "SSH_AUTH_SOCK="+target)
	}
	if !e.SSH.Has(m.ID) {
		if m.Required {
			return fmt.Errorf("no ssh agent or key %q is forwarded; give one with --ssh %s or --ssh %s=KEYFILE", m.ID, m.ID, m.ID)
		}
		return nil
	}
	name := "agent-" + strconv.Itoa(number)
	mode := os.FileMode(m.ModeOr(AgentMode) & 0o777)
	uid, gid := m.Owner()
	stop, err := e.SSH.Serve(ctx, m.ID, dir, name, mode, uid, gid)
	if err != nil {
		return err
	}
	g.stops = append(g.stops, stop)
	g.sockets = append(g.sockets, runner.Bind{Source: path.Join(dir, name), Target: target})
	return nil
}

// AgentTarget is where an agent's socket is; number is that of the mount among those of its type.
func AgentTarget(m *dockerfile.Mount, number int) string {
	if m.Target == "" {
		return "/run/buildkit/ssh_agent." + strconv.Itoa(number)
	}
	return m.Target
}
