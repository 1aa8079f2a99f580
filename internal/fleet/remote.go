package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/transfer"
)

// Remote sends steps of a build to workers. It implements exec.Remote, and can be used by several goroutines.
type Remote struct {
	queue   *Queue
	mover   *transfer.Mover
	depot   places.Depot
	cache   string // where the depot is, as workers say it
	trusted []string
	build   string
	host    string
	workers *watch
	ctx     context.Context // of the build
	number  atomic.Int64

	mu     sync.Mutex // of all below
	orders map[string]*waiting
	sent   map[digest.Digest]func() (ocispec.Descriptor, error) // layers, once each
	warned map[string]bool
	away   map[string]int // by worker, steps that are on their way there
}

// waiting is a step that the build waits for.
type waiting struct {
	*dispatch
	to       string // the worker, "" for whoever is free
	sequence uint64 // in the stream of steps
	sent     time.Time
	begun    atomic.Bool
	ended    chan struct{} // gets a value when the worker says that it has
}

// NewRemote returns what sends the steps of one build. depot is where cache says, as Presence.Cache does. Secrets go
// to the workers with the trusted keys only.
func NewRemote(ctx context.Context, q *Queue, m *transfer.Mover, depot places.Depot, cache string, trusted []string) (*Remote, error) {
	r := &Remote{
		ctx: ctx, queue: q, mover: m, depot: depot, cache: cache, trusted: trusted, build: nuid.Next(),
		orders: map[string]*waiting{}, sent: map[digest.Digest]func() (ocispec.Descriptor, error){}, warned: map[string]bool{}, away: map[string]int{},
	}
	r.host, _ = os.Hostname()
	var err error
	if r.workers, err = q.watch(ctx); err != nil {
		return nil, err
	}
	c, err := q.js.OrderedConsumer(ctx, outputStream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{outputSubject + "." + r.build + ".>"}, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return nil, fmt.Errorf("following what steps print: %w", err)
	}
	consume, err := c.Consume(r.hear)
	if err != nil {
		return nil, fmt.Errorf("following what steps print: %w", err)
	}
	context.AfterFunc(ctx, consume.Stop)
	return r, nil
}

// hear takes a message of a worker: what a step prints, or that it has ended.
func (r *Remote) hear(msg jetstream.Msg) {
	parts := strings.Split(msg.Subject(), ".") // strata.out.BUILD.NUMBER.KIND
	if len(parts) != 5 {
		return
	}
	r.mu.Lock()
	w := r.orders[parts[3]]
	r.mu.Unlock()
	if w == nil {
		return
	}
	switch parts[4] {
	case "1":
		_, _ = w.step.Stdout.Write(msg.Data())
	case "2":
		_, _ = w.step.Stderr.Write(msg.Data())
	case "begin":
		w.begun.Store(true)
	case "end":
		select {
		case w.ended <- struct{}{}:
		default:
		}
	}
}

// mostTries is how often a step is sent before it runs here.
const mostTries = 4

// dispatch is a step that is to run on a worker.
type dispatch struct {
	config *exec.Config
	step   *exec.Step
	job    exec.Job
	packed *orderStep
	layers []digest.Digest // that it needs
	// secret says that it is only for workers that are trusted, unseen that nobody notes there what it reads of its
	// mounts.
	secret, unseen bool
	// refused are workers that could not run it, or were lost, and lacked layers that a worker could not have.
	refused map[string]bool
	lacked  map[digest.Digest]bool
	why     string // it did not run yet
}

// Execute implements exec.Remote.
func (r *Remote) Execute(ctx context.Context, c *exec.Config, step *exec.Step, job exec.Job) (exec.Made, error) {
	d := &dispatch{config: c, step: step, job: job, refused: map[string]bool{}, lacked: map[digest.Digest]bool{}}
	if err := d.pack(ctx, r); err != nil {
		return exec.Made{}, r.stay(c, err.Error())
	}
	for range mostTries {
		to := r.reserve(d)
		if to.here {
			return exec.Made{}, r.stay(c, to.reason)
		}
		got, err := r.send(ctx, d, to)
		r.release(to.worker)
		var lost *lostError
		switch {
		case ctx.Err() != nil:
			return exec.Made{}, context.Cause(ctx)
		case err == nil && got.Refused == "":
			return r.made(d, got)
		case err != nil && !errors.As(err, &lost):
			return exec.Made{}, r.stay(c, err.Error()) // not a worker's fault: another one would fare no better
		}
		d.failed(to.worker, got, err)
	}
	return exec.Made{}, r.stay(c, d.why)
}

// reserve says where a step is to run, and counts it as one that the worker has; release counts it no more. Steps that
// begin at once do not all go to one worker thereby.
func (r *Remote) reserve(d *dispatch) choice {
	sizes, send := r.sizes(d.layers)
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []candidate
	for _, p := range r.able(d) {
		p.Free = p.Slots - max(p.Slots-p.Free, r.away[p.Name])
		all = append(all, candidate{p, lacking(p, sizes)})
	}
	to := choose(all, send, d.job.Took)
	switch {
	case len(all) == 0:
		to.reason = r.whyNone(d)
	case !to.here && to.worker == "" && (d.secret || len(d.refused) > 0):
		// It is sealed for one worker, or for one that did not refuse it: the one with the fewest steps on their way.
		least := slices.MinFunc(all, func(a, b candidate) int { return cmp.Compare(r.away[a.Name], r.away[b.Name]) })
		to.worker, to.key = least.Name, least.Key
	}
	if !to.here {
		r.away[to.worker]++
	}
	return to
}

func (r *Remote) release(worker string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away[worker]--
}

// lostError says that nothing will come from a worker.
type lostError struct{ why string }

func (e *lostError) Error() string { return e.why }

// failed notes why a step did not run on a worker.
func (d *dispatch) failed(worker string, got *result, err error) {
	if err != nil {
		d.why = err.Error()
		d.refused[worker] = true
		return
	}
	d.why = got.Worker + ": " + got.Refused
	again := len(got.Lacks) > 0 // what it lacks is sent
	for _, l := range got.Lacks {
		again = again && !d.lacked[l]
		d.lacked[l] = true
	}
	if !again {
		d.refused[got.Worker] = true
	}
}

// stay is the error of a step that runs here, and says why, once in a build for each reason.
func (r *Remote) stay(c *exec.Config, why string) error {
	r.mu.Lock()
	known := r.warned[why]
	r.warned[why] = true
	r.mu.Unlock()
	if !known && why != "" {
		c.Warn("a step runs on this machine: " + why)
	}
	return exec.ErrHere
}

// pack makes of the step what is sent of it. An error says why it has to run here.
func (d *dispatch) pack(ctx context.Context, r *Remote) error {
	c, step := d.config, d.step
	switch {
	case c.Machine.CgroupParent != "":
		return errors.New("--cgroup-parent is of this machine")
	case step.Run.Insecure:
		return errors.New("--security=insecure is for this machine only")
	case step.Network == runner.NetworkHost:
		return errors.New("--network=host is this machine's")
	case hasGateway(c.Machine.Hosts):
		return errors.New("--add-host NAME:" + runner.HostGateway + " is this machine")
	}
	d.secret = step.Run.HasSecrets()
	s := &orderStep{
		Chain: step.On.Chain(), Volumes: step.Volumes, OS: "linux", Arch: step.Arch, Run: *step.Run, Network: step.Network,
		Fresh: step.Fresh, Observe: step.Observe,
		Common: common{Machine: c.Machine, Log: c.Log, Rules: c.Rules, KeepEmpty: c.KeepEmpty},
	}
	if c.Allow != nil {
		s.Common.Limited, s.Common.Allow = true, c.Allow.Texts()
	}
	s.Run.Mounts = slices.Clone(s.Run.Mounts)
	for i := range s.Run.Mounts {
		m := &s.Run.Mounts[i]
		m.From = dockerfile.Source{} // Mounts say what they show
		if m.Type == dockerfile.MountSSH {
			return errors.New("it has an ssh agent, which does not travel")
		}
	}
	d.packed = s
	if len(r.able(d)) == 0 {
		return errors.New(r.whyNone(d)) // before files are copied for nothing
	}
	for _, m := range step.Mounts {
		if m.Type == dockerfile.MountCache && step.Fresh {
			return errors.New("its caches begin anew in this build, and workers have theirs for all builds")
		}
		sent := orderMount{Mount: m.Mount}
		sent.Mount.From = dockerfile.Source{}
		switch {
		case m.Type == dockerfile.MountBind && m.From != nil:
			sent.State, sent.Chain = true, m.From.Chain()
		case m.Type == dockerfile.MountBind && m.Content != nil:
			l, source, err := m.AsLayer(ctx, c.Store)
			if err != nil {
				return err
			}
			sent.State, sent.Chain, sent.Mount.Source = true, []digest.Digest{l}, source
			d.unseen = d.unseen || m.Observe
		case m.Content != nil:
			return fmt.Errorf("the cache that is mounted on %s begins with files of another stage", m.Target)
		}
		s.Mounts = append(s.Mounts, sent)
	}
	all := map[digest.Digest]bool{}
	for _, chain := range s.chains() {
		for _, l := range chain {
			all[l] = true
		}
	}
	d.layers = slices.Sorted(maps.Keys(all))
	return nil
}

// able are the workers that can run a step.
func (r *Remote) able(d *dispatch) []Presence {
	var all []Presence
	for _, p := range r.workers.list() {
		if p.Leaving || p.Protocol != protocol || d.refused[p.Name] || p.Cache != r.cache || !p.runs(d.packed) || d.secret && !slices.Contains(r.trusted, p.Key) {
			continue
		}
		all = append(all, p)
	}
	return all
}

// runs says whether a worker runs steps of a platform.
func (p *Presence) runs(s *orderStep) bool {
	return slices.ContainsFunc(p.Platforms, func(text string) bool { return isFor(text, s) })
}

// isFor says whether a platform, as "linux/arm64" or "linux/arm/v7", is that of a step.
func isFor(text string, s *orderStep) bool {
	os, rest, _ := strings.Cut(text, "/")
	arch, _, _ := strings.Cut(rest, "/")
	return os == s.OS && arch == s.Arch
}

// whyNone says why no worker can run a step.
func (r *Remote) whyNone(d *dispatch) string {
	all := r.workers.list()
	version := slices.ContainsFunc(all, func(p Presence) bool { return p.Protocol == protocol })
	platform := slices.ContainsFunc(all, func(p Presence) bool { return !p.Leaving && p.runs(d.packed) })
	depot := slices.ContainsFunc(all, func(p Presence) bool { return p.Cache == r.cache })
	switch {
	case d.why != "":
		return d.why
	case len(all) == 0:
		return "there is no worker; start one with strata worker --queue URL --cache PLACE"
	case !version:
		return fmt.Sprintf("the workers are of another version: %s is of strata %s", all[0].Name, all[0].Version)
	case !platform:
		return fmt.Sprintf("there is no worker for %s/%s", d.packed.OS, d.packed.Arch)
	case !depot:
		return "no worker has the cache " + r.cache
	case d.secret:
		return "it has secrets, and there is no worker whose key is trusted; name it with --queue-trust KEY"
	}
	return "no worker can run it"
}

// sizes are those of layers in bytes, and how many of them have to be sent by this machine.
func (r *Remote) sizes(layers []digest.Digest) (sizes map[digest.Digest]int64, send int64) {
	sizes = map[digest.Digest]int64{}
	for _, d := range layers {
		sizes[d] = 0
		l, err := r.mover.Store.Layer(d)
		if err != nil {
			continue
		}
		sizes[d] = max(l.Size, 0)
		r.mu.Lock()
		sent := r.sent[d] != nil
		r.mu.Unlock()
		if !sent && len(r.elsewhere(d)) == 0 {
			send += sizes[d]
		}
	}
	return sizes, send
}

// elsewhere are the places where a layer can be had by other machines.
func (r *Remote) elsewhere(d digest.Digest) []place {
	blobs, err := r.mover.Store.Blobs(d)
	if err != nil {
		return nil
	}
	var all []place
	for _, b := range blobs {
		if b.Repository != "" && !transfer.IsOfMachine(b.Repository) {
			all = append(all, place{ocispec.Descriptor{MediaType: b.MediaType, Digest: b.Digest, Size: b.Size}, b.Repository})
		}
	}
	return all
}

// locate says where the layers of a step can be had, and sends those that are nowhere else, or that a worker could
// not have.
func (r *Remote) locate(step *dispatch) ([]orderLayer, error) {
	all := make([]orderLayer, len(step.layers))
	var g errgroup.Group
	g.SetLimit(4)
	for i, d := range step.layers {
		all[i] = orderLayer{DiffID: d, Elsewhere: r.elsewhere(d)}
		r.mu.Lock()
		sent := r.sent[d]
		if sent == nil && (len(all[i].Elsewhere) == 0 || step.lacked[d]) {
			// Other steps may wait for it as well, whatever becomes of this one.
			sent = sync.OnceValues(func() (ocispec.Descriptor, error) { return r.depot.SendLayer(r.ctx, d) })
			r.sent[d] = sent
		}
		r.mu.Unlock()
		if sent == nil {
			continue
		}
		g.Go(func() error {
			desc, err := sent()
			if err != nil {
				r.unsent(d)
				return fmt.Errorf("sending a layer to %s: %w", r.cache, err)
			}
			all[i].Depot = &desc
			return nil
		})
	}
	return all, g.Wait()
}

// unsent forgets that a layer was sent, so that who needs it next tries again.
func (r *Remote) unsent(d digest.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sent, d)
}
