package solver

import (
	"context"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/sandbox/runner"
)

// secretMode and agentMode are the permissions of what says nothing of its own (BuildKit, client/llb/exec.go).
const secretMode, agentMode = 0o400, 0o600

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
func (s *Solver) giveSecrets(ctx context.Context, dir string, r *dockerfile.Run) (*given, error) {
	g := &given{}
	agents := 0
	for i := range r.Mounts {
		m := &r.Mounts[i]
		var err error
		switch m.Type {
		case dockerfile.MountSecret:
			err = s.giveSecret(g, m)
		case dockerfile.MountSSH:
			err = s.giveAgent(ctx, g, m, dir, agents)
			agents++
		}
		if err != nil {
			return g, err
		}
	}
	return g, nil
}

func (s *Solver) giveSecret(g *given, m *dockerfile.Mount) error {
	data, ok, err := s.Secrets.Get(m.ID)
	if err != nil {
		return err
	}
	if !ok && m.Required {
		return fmt.Errorf("secret %s: not found; give it with --secret id=%s,src=FILE or --secret id=%s,env=VARIABLE", m.ID, m.ID, m.ID)
	}
	if m.Env != nil {
		g.env = append(g.env, *m.Env+"="+string(data)) // empty without, as in BuildKit
	}
	if target := secretTarget(m); ok && target != "" {
		g.files = append(g.files, runner.File{
			Target: target, Data: data, Mode: uint32(numberOf(m.Mode, secretMode)), UID: int(numberOf(m.UID, 0)), GID: int(numberOf(m.GID, 0)),
		})
	}
	return nil
}

// secretTarget is where a secret's file is, "" if it only is in a variable.
func secretTarget(m *dockerfile.Mount) string {
	if m.Target == "" && m.Env == nil {
		return "/run/secrets/" + path.Base(m.ID)
	}
	return m.Target
}

// giveAgent serves an agent on a socket. The number is that of the mount among those of its type.
func (s *Solver) giveAgent(ctx context.Context, g *given, m *dockerfile.Mount, dir string, number int) error {
	target := agentTarget(m, number)
	if number == 0 {
		g.env = append(g.env, "SSH_AUTH_SOCK="+target)
	}
	if !s.SSH.Has(m.ID) {
		if m.Required {
			return fmt.Errorf("no ssh agent or key %q is forwarded; give one with --ssh %s or --ssh %s=KEYFILE", m.ID, m.ID, m.ID)
		}
		return nil
	}
	name := "agent-" + strconv.Itoa(number)
	mode := os.FileMode(numberOf(m.Mode, agentMode) & 0o777)
	stop, err := s.SSH.Serve(ctx, m.ID, dir, name, mode, int(numberOf(m.UID, 0)), int(numberOf(m.GID, 0)))
	if err != nil {
		return err
	}
	g.stops = append(g.stops, stop)
	g.sockets = append(g.sockets, runner.Bind{Source: path.Join(dir, name), Target: target})
	return nil
}

func agentTarget(m *dockerfile.Mount, number int) string {
	if m.Target == "" {
		return "/run/buildkit/ssh_agent." + strconv.Itoa(number)
	}
	return m.Target
}

func numberOf(said *uint64, otherwise uint64) uint64 {
	if said == nil {
		return otherwise
	}
	return *said
}

// addSecrets makes a part of a RUN's key what is said of its secrets and agents, and nothing of what they hold: a
// step with another token is the same step.
func addSecrets(key *cache.Key, r *dockerfile.Run) {
	agents := 0
	for i := range r.Mounts {
		m := &r.Mounts[i]
		words := []string{m.ID}
		say := func(name, value string) { words = append(words, name+"="+value) }
		part, mode := cache.PartSecret, uint64(secretMode)
		switch m.Type {
		case dockerfile.MountSecret:
			say("target", secretTarget(m))
			if m.Env != nil {
				say("env", *m.Env)
			}
		case dockerfile.MountSSH:
			say("target", agentTarget(m, agents))
			agents++
			part, mode = cache.PartSSH, agentMode
		default:
			continue
		}
		say("mode", strconv.FormatUint(numberOf(m.Mode, mode), 8))
		say("owner", fmt.Sprintf("%d:%d", numberOf(m.UID, 0), numberOf(m.GID, 0)))
		if m.Required {
			words = append(words, "required")
		}
		key.Add(part, strings.Join(words, " "))
	}
}
