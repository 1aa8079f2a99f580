// Package registry speaks to OCI distribution registries: it resolves names, fetches and pushes blobs and
// manifests, and logs in. It keeps nothing on disk but credentials; blobs go to a Sink.
//
// A name's requests go to the hosts that certs.d/<host>/hosts.toml lists for it, in their order, and at last to
// the registry itself. Reading is tried again after a broken connection and resumed where it broke, so that
// what a Client returns is complete and matches its digest, or is an error that says what the person can do.
//
// The API is that of the OCI distribution spec 1.1 (github.com/opencontainers/distribution-spec/blob/main/spec.md).
package registry

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Config says where hosts and credentials are configured.
type Config struct {
	// Insecure lists hosts ("host" or "host:port") that may be plain HTTP or have a certificate that nobody
	// vouches for. localhost, 127.0.0.0/8 and ::1 always may, as with Docker.
	Insecure []string
	// CertsDir lists directories of containerd's form, searched in order: <dir>/<host>/hosts.toml, or
	// Docker's ca.crt, *.cert and *.key in the same place.
	CertsDir []string
	// DockerConfig is the directory of config.json; "" means $DOCKER_CONFIG, else ~/.docker.
	DockerConfig string
	UserAgent    string
}

// Client speaks to registries. It is safe for use by several goroutines, and remembers connections, tokens,
// which hosts answered and what repositories had for as long as it lives.
type Client struct {
	config Config
	// How patient the client is; tests shorten them.
	stall   time.Duration               // without a byte in either direction
	backoff func(try int) time.Duration // before the try-th repetition, counted from 1

	present   presence
	slow      float64     // bytes a second: connections that bring less are helped by others
	spreading atomic.Bool // a blob is fetched over several connections

	mu        sync.Mutex
	endpoints map[string][]*endpoint // by the name's domain, as configured: mirrors first
	insecure  map[string]*Client     // by the host that is insecure for them
}

// New returns a client. It reads no file and opens no connection until it is asked for something.
func New(config Config) *Client {
	if config.UserAgent == "" {
		config.UserAgent = "strata"
	}
	return &Client{
		config:    config,
		stall:     time.Minute,
		slow:      slowConnection,
		backoff:   exponential,
		endpoints: make(map[string][]*endpoint),
	}
}

// WithInsecure is a client for which a host ("host" or "host:port") may be plain HTTP, or have a certificate that
// nobody vouches for, as with Config.Insecure: the same one each time, for the same host. For c nothing changes, so
// that nothing that somebody on the way has put there is taken for an image of the host.
func (c *Client) WithInsecure(host string) *Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.config.insecure(host) {
		return c
	}
	other := c.insecure[host]
	if other == nil {
		config := c.config
		config.Insecure = append(slices.Clone(config.Insecure), host)
		other = New(config)
		other.stall, other.slow, other.backoff = c.stall, c.slow, c.backoff
		if c.insecure == nil {
			c.insecure = map[string]*Client{}
		}
		c.insecure[host] = other
	}
	return other
}

// exponential gives 0.3, 0.6, 1.2, … s, at most 10 s.
func exponential(try int) time.Duration {
	return min(300*time.Millisecond<<min(try-1, 10), 10*time.Second)
}

// Blob is a small blob that is held in memory: an index, a manifest or a config.
type Blob struct {
	MediaType string
	Digest    digest.Digest // of Data
	Data      []byte        // exactly as the registry has it
}

// Descriptor returns the descriptor that refers to the blob.
func (b Blob) Descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: b.MediaType, Digest: b.Digest, Size: int64(len(b.Data))}
}

// Image is what a name means in a registry: manifest and config, no layers moved.
type Image struct {
	Ref      reference.Named // as asked for, normalised: docker.io/library/...
	Index    *Blob           // the image index that the name pointed to, nil where it pointed to a manifest
	Manifest Blob
	Config   Blob
	// Annotations are those of the manifest.
	Annotations map[string]string
	// Layers are the manifest's layers, bottom first, with their media types (Docker's or OCI's), annotations
	// and URLs as they stand there.
	Layers []ocispec.Descriptor
}
