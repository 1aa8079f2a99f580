// Package fleet runs the RUN steps of builds on other machines.
//
// A build sends a step as a message through NATS JetStream, and a worker that is free takes it. Layers go through a cache
// that all of them reach, an object store or a registry: the depot. What steps gave is recorded in the queue's key-value
// store, so that builds at the same time run each step once (cache.Sharer).
//
//	stream STRATA_STEPS      steps that wait, each until a worker has acknowledged it:
//	                         strata.steps.v1.any.<os>.<arch> for whoever is free, strata.steps.v1.to.<worker> for one
//	stream STRATA_OUTPUT     what steps print and that they have ended: strata.out.<build>.<step>.…, in memory, for an hour
//	bucket strata-cache      records and leases, as package bucket keeps them
//	bucket strata-results    what came of a step, by its key and by its message; for an hour
//	bucket strata-workers    the workers that there are; each says so every few seconds
//	subject strata.cancel.<step>   nobody waits for the step any more
//
// Nothing in the queue is secret: secrets are sealed for the worker that runs the step (seal.go).
package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strata-build/strata/internal/cache"
)

// protocol is the version of all messages. It is part of the subjects, so that a worker never sees what it cannot read.
const protocol = "v1"

// Names in the queue. Monitoring and autoscaling read those of the stream and its consumers: docs/fleet.md.
const (
	stepsStream   = "STRATA_STEPS"
	outputStream  = "STRATA_OUTPUT"
	stepsSubject  = "strata.steps." + protocol
	outputSubject = "strata.out"
	cancelSubject = "strata.cancel"
	cacheBucket   = "strata-cache"
	resultBucket  = "strata-results"
	workerBucket  = "strata-workers"
)

// How long things stay.
const (
	ackWait     = 15 * time.Second    // until a step goes to another worker when nothing is heard of its own
	beat        = 3 * time.Second     // between two signs of life of a worker
	gone        = 20 * time.Second    // without one, it is gone: longer than it takes to notice that this machine is cut off
	outputAge   = time.Hour           // of output and results
	recordAge   = 30 * 24 * time.Hour // of records
	starting    = time.Minute         // until a cluster has to answer that has just begun
	joining     = 10 * time.Second    // until three servers of one have to be there
	mostRuns    = 5                   // how often a step is given to a worker
	mostWaiting = 100_000             // steps in the queue
)

// Options say where a queue is, and as whom it is used.
type Options struct {
	// URL is that of the servers, nats://HOST:PORT or tls://HOST:PORT, several with commas between them.
	URL string
	// Creds is a file with the credentials of a NATS user, "" for none but what the URL says.
	Creds string
	// CA, Cert and Key are files for TLS: whom to trust, and as whom to speak. "" is the system's, and nobody.
	CA, Cert, Key string
	// Name is what the servers show of this connection.
	Name string
}

// Queue is a connection to the servers.
type Queue struct {
	nc *nats.Conn
	js jetstream.JetStream

	steps, output           jetstream.Stream
	cache, results, workers jetstream.KeyValue
}

// Connect connects with the servers, and sees to it that all is there that the package needs. The caller closes the queue.
func Connect(ctx context.Context, o Options) (*Queue, error) {
	options := []nats.Option{
		nats.Name(o.Name), nats.MaxReconnects(-1), nats.ReconnectWait(500 * time.Millisecond), nats.Timeout(5 * time.Second),
		nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(2), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // what fails says so itself
	}
	for _, file := range []string{o.Creds, o.CA, o.Cert, o.Key} {
		if file == "" {
			continue
		}
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("connecting with the queue: %w", err)
		}
	}
	if o.Creds != "" {
		options = append(options, nats.UserCredentials(o.Creds))
	}
	if o.CA != "" {
		options = append(options, nats.RootCAs(o.CA))
	}
	if o.Cert != "" {
		options = append(options, nats.ClientCert(o.Cert, o.Key))
	}
	nc, err := nats.Connect(o.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("connecting with the queue at %s: %w; check that the NATS server runs, with JetStream (nats-server -js)", Hidden(o.URL), err)
	}
	q := &Queue{nc: nc}
	if err := q.prepare(ctx); err != nil {
		q.Close()
		return nil, fmt.Errorf("preparing the queue at %s: %w", Hidden(o.URL), err)
	}
	return q, nil
}

// Close ends the connection.
func (q *Queue) Close() { q.nc.Close() }

// Ready says why the queue cannot be used just now; nil where it can.
func (q *Queue) Ready() error {
	if !q.nc.IsConnected() {
		return errors.New("the queue is not connected")
	}
	return nil
}

// Hidden is a URL of servers without the names and passwords in it.
func Hidden(url string) string {
	all := strings.Split(url, ",")
	for i, u := range all {
		scheme, rest, ok := strings.Cut(u, "://")
		if !ok {
			scheme, rest = "nats", u
		}
		if at := strings.LastIndex(rest, "@"); at >= 0 {
			rest = rest[at+1:]
		}
		all[i] = scheme + "://" + rest
	}
	return strings.Join(all, ",")
}

// prepare makes what is not there yet. In a cluster three servers have it all.
func (q *Queue) prepare(ctx context.Context) error {
	var err error
	if q.js, err = jetstream.New(q.nc); err != nil {
		return err
	}
	replicas := 1
	if q.nc.ConnectedClusterName() != "" {
		replicas = 3
	}
	// A cluster that has just begun answers once it has a leader.
	trouble, began := cache.NewPatience(starting), time.Now()
	for {
		once, cancel := context.WithTimeout(ctx, answer)
		err = q.makeAll(once, replicas)
		cancel()
		few := replicas > 1 && isTooFew(err) // others may be joining
		if few && time.Since(began) > joining {
			replicas = 1 // a cluster of fewer
			continue
		}
		if !few && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) {
			break
		}
		if err := trouble.Pause(ctx, err); err != nil {
			return err
		}
	}
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("%w: start the server with JetStream, nats-server -js", err)
	}
	return err
}

// isTooFew says that there are not as many servers as replicas were asked for.
func isTooFew(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (strings.Contains(api.Description, "no suitable peers") || strings.Contains(api.Description, "insufficient"))
}

func (q *Queue) makeAll(ctx context.Context, replicas int) (err error) {
	if q.steps, err = q.stream(ctx, jetstream.StreamConfig{
		Name: stepsStream, Description: "steps of builds, for strata worker", Subjects: []string{"strata.steps.>"},
		Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage, MaxMsgs: mostWaiting, Discard: jetstream.DiscardNew,
		MaxAge: 24 * time.Hour, Replicas: replicas,
	}); err != nil {
		return err
	}
	if q.output, err = q.stream(ctx, jetstream.StreamConfig{
		Name: outputStream, Description: "what steps print", Subjects: []string{outputSubject + ".>"},
		Storage: jetstream.MemoryStorage, MaxAge: outputAge, MaxBytes: 256 << 20, Discard: jetstream.DiscardOld, Replicas: replicas,
	}); err != nil {
		return err
	}
	if q.cache, err = q.bucket(ctx, jetstream.KeyValueConfig{Bucket: cacheBucket, TTL: recordAge, Storage: jetstream.FileStorage, Replicas: replicas}); err != nil {
		return err
	}
	if q.results, err = q.bucket(ctx, jetstream.KeyValueConfig{Bucket: resultBucket, TTL: outputAge, Storage: jetstream.FileStorage, Replicas: replicas}); err != nil {
		return err
	}
	q.workers, err = q.bucket(ctx, jetstream.KeyValueConfig{Bucket: workerBucket, TTL: gone, Storage: jetstream.MemoryStorage, Replicas: replicas})
	return err
}

// stream gives a stream, as it is if it is there: an administrator may have set it up otherwise.
func (q *Queue) stream(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := q.js.Stream(ctx, c.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if s, err = q.js.CreateStream(ctx, c); errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			s, err = q.js.Stream(ctx, c.Name) // somebody else was quicker
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the stream %s: %w", c.Name, err)
	}
	return s, nil
}

// bucket gives a bucket whose values come from the server that leads: others may be behind, and who has just been told that a
// step has ended would not find what came of it.
func (q *Queue) bucket(ctx context.Context, c jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	kv, err := q.js.KeyValue(ctx, c.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		if kv, err = q.js.CreateKeyValue(ctx, c); errors.Is(err, jetstream.ErrBucketExists) {
			kv, err = q.js.KeyValue(ctx, c.Bucket)
		}
	}
	if err == nil {
		kv, err = q.readLeader(ctx, kv)
	}
	if err != nil {
		return nil, fmt.Errorf("the bucket %s: %w", c.Bucket, err)
	}
	return kv, nil
}

func (q *Queue) readLeader(ctx context.Context, kv jetstream.KeyValue) (jetstream.KeyValue, error) {
	s, err := q.js.Stream(ctx, "KV_"+kv.Bucket())
	if err != nil {
		return nil, err
	}
	config := s.CachedInfo().Config
	if !config.AllowDirect {
		return kv, nil
	}
	config.AllowDirect = false
	if _, err := q.js.UpdateStream(ctx, config); err != nil {
		return nil, err
	}
	return q.js.KeyValue(ctx, kv.Bucket())
}
