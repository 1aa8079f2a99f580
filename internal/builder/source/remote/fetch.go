// Package remote brings what package address's sources name to this machine, and keeps it in the store so that what did
// not change is not moved again: the bytes of a URL with what the server said of them, and a bare repository for each
// git remote.
package remote

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/store"
)

// Fetcher is used by one build: it asks for the state of a source once, so that all steps and platforms of the build
// see the same. Its methods may be called from several goroutines.
type Fetcher struct {
	Store *store.Store
	// Secret gives a secret of the build by its ID, nil if there is none: HTTP_AUTH_HEADER_<host>,
	// HTTP_AUTH_TOKEN_<host>, GIT_AUTH_HEADER and GIT_AUTH_TOKEN with and without ".<host>". nil knows none.
	Secret func(id string) ([]byte, error)
	// SSH gives the socket of the agent that the build may use for git through ssh, "" for none.
	SSH func() (socket string, err error)
	// Events, if not nil, gets a Fetch vertex when the bytes of a URL or the objects of a repository begin to move. It
	// gets nothing where nothing has to move. Names have no passwords.
	Events event.Sink
	// Distrust has what was fetched before compared with its digests before it is used, whatever its seals say:
	// --no-cache.
	Distrust bool
	// Stall is for how long a server may send nothing of a URL before it is asked again.
	Stall time.Duration

	mu      sync.Mutex
	files   map[string]*promise[*File]
	commits map[string]*promise[*Commit]
	taken   map[string]Taken // by what it is
	atClose []func()
}

// Taken is something that the build took from elsewhere, or would have if its step had not been in the cache.
type Taken struct {
	URI    string // without a password
	Digest map[string]string
}

// Taken are the files and commits that were asked for, by their URIs.
func (f *Fetcher) Taken() []Taken {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Taken
	for _, uri := range slices.Sorted(maps.Keys(f.taken)) {
		all = append(all, f.taken[uri])
	}
	return all
}

func (f *Fetcher) take(uri, algorithm, sum string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.taken == nil {
		f.taken = map[string]Taken{}
	}
	f.taken[uri] = Taken{uri, map[string]string{algorithm: sum}}
}

// New returns a Fetcher that knows no secrets.
func New(s *store.Store) *Fetcher {
	return &Fetcher{Store: s, Stall: 2 * time.Minute, files: map[string]*promise[*File]{}, commits: map[string]*promise[*Commit]{}}
}

// promise is something that somebody may be asking for.
type promise[T any] struct {
	once  sync.Once
	value T
	err   error
}

// once gives what is known under a key, or what ask finds out. It is asked again where the answer was an error.
func once[T any](mu *sync.Mutex, known map[string]*promise[T], key string, ask func() (T, error)) (T, error) {
	mu.Lock()
	p := known[key]
	if p == nil {
		p = &promise[T]{}
		known[key] = p
	}
	mu.Unlock()
	p.once.Do(func() { p.value, p.err = ask() })
	if p.err != nil {
		mu.Lock()
		if known[key] == p {
			delete(known, key)
		}
		mu.Unlock()
	}
	return p.value, p.err
}

// AtClose has something done when the Fetcher is closed.
func (f *Fetcher) AtClose(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.atClose = append(f.atClose, do)
}

// Close lets go of the files that were fetched.
func (f *Fetcher) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, do := range slices.Backward(f.atClose) {
		do()
	}
	f.atClose = nil
	var errs []error
	for _, p := range f.files {
		if p.value != nil {
			errs = append(errs, p.value.bytes.Close())
		}
	}
	clear(f.files)
	return errors.Join(errs...)
}

// UnreachableError says that a server did not answer.
type UnreachableError struct {
	Cause error
	// Known is what the source was when it last answered: the digest of a URL's bytes, the commit of a ref; "" if
	// that is not known.
	Known string
}

func (e *UnreachableError) Error() string {
	return e.Cause.Error() + "; see whether the address is right and this machine reaches the server, if need be through HTTPS_PROXY"
}

func (e *UnreachableError) Unwrap() error { return e.Cause }

// secret is the first of some secrets that there is, and its ID.
func (f *Fetcher) secret(ids ...string) (id string, value []byte, err error) {
	if f.Secret == nil {
		return "", nil, nil
	}
	for _, id := range ids {
		value, err := f.Secret(id)
		if err != nil {
			return "", nil, fmt.Errorf("reading the secret %s: %w", id, err)
		}
		if value != nil {
			return id, value, nil
		}
	}
	return "", nil, nil
}

// folder makes a folder of the store for one source, which one process at a time works in.
func (f *Fetcher) folder(ctx context.Context, kind, name string) (dir string, release func(), err error) {
	release, err = f.Store.Lock(ctx, kind+"-"+name)
	if err != nil {
		return "", nil, err
	}
	if dir, err = f.Store.KeepSource(kind, name); err != nil {
		release()
		return "", nil, err
	}
	return dir, release, nil
}
