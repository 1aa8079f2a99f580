package solver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/local"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/event/trace"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/store"
)

// runOperation is a RUN. Its key holds the argv after the shell form, the environment and build arguments in
// scope but not the proxies, the user, the working directory, the network and the mounts. files are the context.
func (s *Solver) runOperation(ctx context.Context, parent *State, step *dockerfile.Step, files layer.Tree) (*operation, error) {
	r := step.Run
	mounts, err := s.findMounts(ctx, step, files)
	if err != nil {
		return nil, err
	}
	key := &cache.Key{Kind: cache.KindRun}
	key.Add(cache.PartArg, r.Args...)
	key.Add(cache.PartEnv, slices.Sorted(slices.Values(r.Env))...)
	key.Add(cache.PartUser, r.User)
	key.Add(cache.PartDir, r.Dir)
	network := s.network(r)
	key.Add(cache.PartNetwork, networkPart(network))
	s.addMachine(key, r)
	addMounts(key, mounts)
	addSecrets(key, r)
	if r.Script != nil {
		key.Add(cache.PartScript, r.Script.Text)
	}
	op := &operation{keys: keys{key: key}}
	op.prepare = func(ctx context.Context) error {
		var states []*State
		for _, m := range mounts {
			if sel, ok := m.Content.(*sources); ok && sel.from != nil {
				states = append(states, sel.from)
			}
		}
		return errors.Join(s.bring(ctx, states...), s.bringParts(ctx, parent, op))
	}
	op.run = func(ctx context.Context) (exec.Made, error) {
		return s.execute(ctx, parent, step, op, s.execStep(parent, step, network, mounts, op), s.executor().Execute)
	}
	if remote := s.config.Sandbox.Remote; remote != nil {
		op.elsewhere = func(ctx context.Context) (exec.Made, error) {
			job := s.job(step, op)
			job.Trace = trace.ParentOf(ctx, op.vertex).String()
			return s.execute(ctx, parent, step, op, s.execStep(parent, step, network, mounts, op), func(ctx context.Context, x *exec.Step) (exec.Made, error) {
				return remote.Execute(ctx, &s.executor().Config, x, job)
			})
		}
	}
	for _, m := range mounts {
		if sel, ok := m.Content.(*sources); ok {
			op.selected = append(op.selected, sel.steps()...)
			op.mounts = append(op.mounts, m)
		}
	}
	return op, nil
}

// addMachine adds what the process can tell of the machine: hosts by their names, which is what BuildKit counts (its
// ExecOp.CacheMap), /dev/shm and limits where they are not the usual ones. A cgroup limits how fast a step is.
func (s *Solver) addMachine(key *cache.Key, r *dockerfile.Run) {
	var hosts, limits []string
	for _, h := range s.config.Sandbox.Machine.Hosts {
		hosts = append(hosts, h.Name)
	}
	for _, l := range s.config.Sandbox.Machine.Ulimits {
		limits = append(limits, l.String())
	}
	if len(hosts) > 0 {
		key.Add(cache.PartHost, hosts...)
	}
	if s.config.Sandbox.Machine.Hostname != "" {
		key.Add(cache.PartHostname, s.config.Sandbox.Machine.Hostname)
	}
	if len(limits) > 0 {
		key.Add(cache.PartUlimit, limits...)
	}
	if size := s.config.Sandbox.Machine.ShmSize; size != 0 && size != runner.DefaultShmSize {
		key.Add(cache.PartShm, strconv.FormatInt(size, 10))
	}
	if r.Insecure {
		key.Add(cache.PartSecurity, "insecure")
	}
}

func (s *Solver) network(r *dockerfile.Run) runner.Network {
	if r.Network == "" || r.Network == "default" {
		return s.config.Sandbox.Network
	}
	n, err := runner.ParseNetwork(r.Network)
	if err != nil {
		return runner.NetworkNone // the parser lets nothing else through
	}
	return n
}

// networkPart is what the network is to a step's key. A step that can fetch gets the same files on the machine's
// network and on one of its own, or fails, and records from before there was the second are good for it.
func networkPart(n runner.Network) string {
	if n == runner.NetworkBridge {
		n = runner.NetworkHost
	}
	return string(n)
}

// execStep is a RUN on top of parent as it is executed.
func (s *Solver) execStep(parent *State, step *dockerfile.Step, network runner.Network, mounts []*exec.Mount, op *operation) *exec.Step {
	return &exec.Step{
		On:      parent,
		Volumes: parent.Config.Config.Volumes,
		Arch:    step.Stage.Platform.Architecture,
		Run:     step.Run,
		Network: network,
		Mounts:  mounts,
		Fresh:   s.forced(step) != "",
		Observe: op.observe(),
		Lazy:    op.lazy,
		Stdout:  newStream(s.events, op, 1, step.Run),
		Stderr:  newStream(s.events, op, 2, step.Run),
	}
}

// job is what other machines are told of a step.
func (s *Solver) job(step *dockerfile.Step, op *operation) exec.Job {
	job := exec.Job{Avoid: s.allUnavailable()}
	if !op.again {
		job.Key = op.shared.Digest()
	}
	if like, err := local.Like(s.store, op.key, step.Text, 1); err == nil && len(like) > 0 {
		job.Took = like[0].Took
	}
	return job
}

// execute runs a RUN by what executes it. What a failed step left becomes a state that can be entered.
func (s *Solver) execute(ctx context.Context, parent *State, step *dockerfile.Step, op *operation, x *exec.Step,
	by func(context.Context, *exec.Step) (exec.Made, error)) (exec.Made, error) {
	made, err := by(ctx, x)
	var failed *exec.Failure
	if !errors.As(err, &failed) {
		return made, err
	}
	failure := &StepError{Args: step.Run.Args, ExitCode: failed.ExitCode, Cause: failed.Cause, Shortage: failed.Shortage, Network: failed.Network}
	failure.namesMachine = x.Network == runner.NetworkBridge && namesLoopback(step.Run)
	if failed.Kept {
		failure.State = s.putFailed(parent, step, failed.Layer)
	}
	return exec.Made{}, failure
}

// putFailed makes a state of what a failed step left; "" where that fails.
func (s *Solver) putFailed(parent *State, step *dockerfile.Step, left digest.Digest) digest.Digest {
	now := time.Now().UTC()
	row := image.History{Created: &now, CreatedBy: step.CreatedBy(""), Comment: "failed"}
	state, err := s.put(parent, s.after(parent, step, row, left), store.Failed)
	if err != nil {
		return ""
	}
	return state.ID
}

// stream passes on what a RUN prints.
type stream struct {
	events event.Sink
	vertex *event.Vertex
	number int // 1 is stdout, 2 stderr
	// claim shows it to the machines that wait for the step; nil shows it to none.
	claim cache.Claim
}

// newStream is a stream of a RUN. What a step prints that has secrets stays on this machine.
func newStream(events event.Sink, op *operation, number int, r *dockerfile.Run) *stream {
	o := &stream{events: events, vertex: op.vertex, number: number, claim: op.claim}
	if r.HasSecrets() {
		o.claim = nil
	}
	return o
}

func (o *stream) Write(p []byte) (int, error) {
	o.events.Send(event.Output{Vertex: o.vertex, Stream: o.number, Data: p})
	if o.claim != nil {
		o.claim.Print(p)
	}
	return len(p), nil
}

// newExecutor makes what runs the RUNs of this build, when the first needs it.
func (s *Solver) newExecutor() *exec.Executor {
	b := s.config.Sandbox
	return exec.New(exec.Config{
		Store: s.store, Secrets: b.Secrets, SSH: b.SSH, Machine: b.Machine, Allow: b.Allow, Log: b.Log,
		Rules: s.config.Dialect.Run, KeepEmpty: s.keepEmpty(), Warn: s.warn, Distrust: s.config.Records.NoCache,
		Caches: b.Caches,
	})
}

// keepEmpty tells whether a step that changed nothing has a layer all the same: an empty one in BuildKit's
// images, none in those of the classic builder.
func (s *Solver) keepEmpty() bool { return s.config.Dialect.Steps.KeepsEmptyLayers }

// addSecrets makes a part of a RUN's key what is said of its secrets and agents, and nothing of what they hold: a
// step with another token is the same step.
func addSecrets(key *cache.Key, r *dockerfile.Run) {
	agents := 0
	for i := range r.Mounts {
		m := &r.Mounts[i]
		words := []string{m.ID}
		say := func(name, value string) { words = append(words, name+"="+value) }
		part, mode := cache.PartSecret, uint64(exec.SecretMode)
		switch m.Type {
		case dockerfile.MountSecret:
			say("target", exec.SecretTarget(m))
			if m.Env != nil {
				say("env", *m.Env)
			}
		case dockerfile.MountSSH:
			say("target", exec.AgentTarget(m, agents))
			agents++
			part, mode = cache.PartSSH, exec.AgentMode
		default:
			continue
		}
		say("mode", strconv.FormatUint(m.ModeOr(mode), 8))
		uid, gid := m.Owner()
		say("owner", fmt.Sprintf("%d:%d", uid, gid))
		if m.Required {
			words = append(words, "required")
		}
		key.Add(part, strings.Join(words, " "))
	}
}

// joinArgs shows an argv as BuildKit does in its errors: separated by spaces.
func joinArgs(args []string) string { return strings.Join(args, " ") }
