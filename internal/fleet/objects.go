package fleet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strata-build/strata/internal/cache/places/bucket"
)

// objects are records and leases in a bucket of the queue's key-value store. Layers are in the depot.
type objects struct {
	kv    jetstream.KeyValue
	where string
}

// answer is how long the queue may take for one of its answers.
const answer = 5 * time.Second

// Open implements bucket.Objects.
func (o *objects) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, bucket.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	e, err := o.kv.Get(ctx, name)
	if err != nil {
		return nil, bucket.Object{}, explain(err)
	}
	r := bytes.NewReader(e.Value())
	_, err = r.Seek(offset, io.SeekStart)
	return io.NopCloser(r), object(e), err
}

func object(e jetstream.KeyValueEntry) bucket.Object {
	return bucket.Object{Name: e.Key(), Size: int64(len(e.Value())), Modified: e.Created(), Version: strconv.FormatUint(e.Revision(), 10)}
}

// Stat implements bucket.Objects.
func (o *objects) Stat(ctx context.Context, name string) (bucket.Object, error) {
	r, found, err := o.Open(ctx, name, 0)
	if err == nil {
		r.Close()
	}
	return found, err
}

// Put implements bucket.Objects.
func (o *objects) Put(ctx context.Context, name string, size int64, r io.Reader, expect bucket.Expect) (bucket.Object, error) {
	data, err := bucket.ReadSmall(name, size, r)
	if err != nil {
		return bucket.Object{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	var revision uint64
	switch {
	case expect.Nothing:
		revision, err = o.kv.Create(ctx, name, data)
	case expect.Version != "":
		var last uint64
		if last, err = strconv.ParseUint(expect.Version, 10, 64); err == nil {
			revision, err = o.kv.Update(ctx, name, data, last)
		}
	default:
		revision, err = o.kv.Put(ctx, name, data)
	}
	if err != nil {
		return bucket.Object{}, explain(err)
	}
	return bucket.Object{Name: name, Size: size, Modified: time.Now(), Version: strconv.FormatUint(revision, 10)}, nil
}

// explain gives an error of the key-value store the meaning that package bucket knows.
func explain(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrKeyDeleted):
		return bucket.ErrNoObject
	case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch), errors.As(err, &api) && isConflict(api):
		return bucket.ErrChanged
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.Is(err, nats.ErrReconnectBufExceeded):
		return errors.New("the queue does not answer")
	}
	return err
}

// isConflict says that a value is not as the writer knew it. Newer servers say it by another code in a cluster.
func isConflict(err *jetstream.APIError) bool {
	return err.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || err.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}

// List implements bucket.Objects.
func (o *objects) List(context.Context, string) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) { yield(bucket.Object{}, bucket.ErrNoList) }
}

// Remove implements bucket.Objects.
func (o *objects) Remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	return explain(o.kv.Delete(ctx, name))
}

// Location implements bucket.Objects. No layer has it: they are in the depot.
func (o *objects) Location() string { return o.where }

func (o *objects) String() string { return o.where }

// Wait implements bucket.Watcher.
func (o *objects) Wait(ctx context.Context, name, version string, most time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	w, err := o.kv.Watch(ctx, name)
	if err != nil {
		return explain(err)
	}
	defer w.Stop()
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the queue does not answer")
			}
			if e != nil && (e.Operation() != jetstream.KeyValuePut || strconv.FormatUint(e.Revision(), 10) != version) {
				return nil
			}
		case <-ctx.Done():
			return nil // the time is over, or the caller sees that its own context is
		}
	}
}
