package cli

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/fleet"
	"github.com/strata-build/strata/internal/transfer"
)

// queueFlags say where the queue of a fleet is.
type queueFlags struct {
	url, creds, ca, cert, key string
}

func (f *queueFlags) register(fl *pflag.FlagSet, usage string) {
	fl.StringVar(&f.url, "queue", "", usage+": the `URL` of NATS servers, as nats://HOST:4222, several with commas between them")
	fl.StringVar(&f.creds, "queue-creds", "", "credentials for the queue, a `FILE` of NATS")
	fl.StringVar(&f.ca, "queue-ca", "", "certificates that the queue's is checked with, a `FILE`")
	fl.StringVar(&f.cert, "queue-cert", "", "certificate to show the queue, a `FILE`")
	fl.StringVar(&f.key, "queue-key", "", "key of --queue-cert, a `FILE`")
}

// fill takes from the configuration what the flags do not say.
func (f *queueFlags) fill() error {
	c, err := loadConfig()
	if err != nil {
		return err
	}
	if f.url == "" {
		f.url, f.creds = c.Queue, cmp.Or(f.creds, c.QueueCreds)
		f.ca, f.cert, f.key = cmp.Or(f.ca, c.QueueCA), cmp.Or(f.cert, c.QueueCert), cmp.Or(f.key, c.QueueKey)
	}
	if (f.cert == "") != (f.key == "") {
		return usageError("--queue-cert and --queue-key go together")
	}
	return nil
}

func (f *queueFlags) connect(ctx context.Context, name string) (*fleet.Queue, error) {
	return fleet.Connect(ctx, fleet.Options{URL: f.url, Creds: f.creds, CA: f.ca, Cert: f.cert, Key: f.key, Name: name})
}

// fleetFlags are those of a build that sends steps to workers.
type fleetFlags struct {
	queueFlags
	trust []string
	cache string
}

func (f *fleetFlags) register(fl *pflag.FlagSet) {
	f.queueFlags.register(fl, "run steps on the workers of this queue")
	fl.StringVar(&f.cache, "queue-cache", "", "send layers to this `PLACE` only, and steps to the workers that have it (default that of the workers)")
	fl.Var((*listFlag)(&f.trust), "queue-trust", "give secrets to the worker with this `KEY`, which strata worker prints")
}

// join has a build send its steps to workers, if it was told of a queue. A queue that cannot be had is a warning; the build
// goes on without. The caller calls leave when the build has ended.
func (f *fleetFlags) join(ctx context.Context, m *transfer.Mover, r *builder.Request, warn func(string)) (leave func(), err error) {
	leave = func() {}
	if err := f.fill(); err != nil || f.url == "" {
		return leave, err
	}
	c, err := loadConfig()
	if err != nil {
		return leave, err
	}
	f.cache = cmp.Or(f.cache, c.QueueCache)
	trust := f.trust
	if len(trust) == 0 {
		trust = c.QueueTrust
	}
	for _, key := range trust {
		if !fleet.IsKey(key) {
			return leave, usageError("--queue-trust %.60s: it is not the key of a worker; strata worker prints one", key)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	q, err := f.connect(ctx, "strata build")
	if err == nil {
		err = f.enter(ctx, q, m, r, trust)
		if err != nil {
			q.Close()
		}
	}
	if err != nil {
		cancel()
		warn(err.Error() + "; all steps run on this machine")
		return leave, nil
	}
	return func() { cancel(); q.Close() }, nil
}

// enter tells the request of the queue's workers and records.
func (f *fleetFlags) enter(ctx context.Context, q *fleet.Queue, m *transfer.Mover, r *builder.Request, trust []string) error {
	where, err := f.where(ctx, q, r)
	if err != nil {
		return err
	}
	where, depot, err := openDepot(m, where)
	if err != nil {
		return fmt.Errorf("the cache of the workers: %w", err)
	}
	remote, err := fleet.NewRemote(ctx, q, m, depot, where, trust)
	if err != nil {
		return err
	}
	r.Sandbox.Remote, r.Cache.Shared = remote, q.Records(m, depot, where)
	return nil
}

// where is the place that layers go through: that of the workers, or without one the first of --cache-to that keeps layers by
// themselves. Then builds share what they run.
func (f *fleetFlags) where(ctx context.Context, q *fleet.Queue, r *builder.Request) (string, error) {
	if f.cache != "" {
		return f.cache, nil
	}
	workers, err := q.Workers(ctx)
	if err != nil {
		return "", err
	}
	if len(workers) > 0 {
		return workers[0].Cache, nil
	}
	for _, spec := range r.Cache.To {
		if kind := builder.CachePlaces.Kind(spec); kind.Depot != nil {
			return spec.Public(kind), nil
		}
	}
	return "", fmt.Errorf("the queue at %s has no worker; start one with strata worker --queue URL --cache PLACE, or share what builds run by --cache-to type=s3 or type=registry",
		fleet.Hidden(f.url))
}

// openDepot opens a place for layers by what --cache says, and gives that as others may see it.
func openDepot(m *transfer.Mover, text string) (public string, depot places.Depot, err error) {
	spec, err := builder.CachePlaces.ParseTo(text)
	if err != nil {
		return "", nil, err
	}
	kind := builder.CachePlaces.Kind(spec)
	if kind.Depot == nil {
		return "", nil, fmt.Errorf("type=%s keeps no layers by themselves; take type=s3 or type=registry", spec.Type)
	}
	depot, err = kind.Depot(m, spec)
	return spec.Public(kind), depot, err
}
