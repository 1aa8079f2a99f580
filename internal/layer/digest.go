package layer

import (
	"crypto/sha256"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

// DigestReader reads from another reader and makes the sha256 digest of all that was read, on another core where there is
// one: who reads a tar has contents to hash himself.
type DigestReader struct {
	r    io.Reader
	hash hash.Hash
	buf  []byte        // read, and not hashed yet
	busy []byte        // being hashed
	done chan struct{} // closed when busy is hashed; nil before the first
}

// digestBlock is how much is hashed at a time, in bytes.
const digestBlock = 256 << 10

// NewDigestReader returns a DigestReader. It needs no closing.
func NewDigestReader(r io.Reader) *DigestReader {
	return &DigestReader{r: r, hash: sha256.New(), buf: make([]byte, 0, digestBlock), busy: make([]byte, 0, digestBlock)}
}

// Read implements io.Reader.
func (d *DigestReader) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		room := d.buf[len(d.buf):cap(d.buf)]
		took := copy(room, rest)
		d.buf, rest = d.buf[:len(d.buf)+took], rest[took:]
		if len(d.buf) == cap(d.buf) {
			d.flush()
		}
	}
	return n, err
}

// flush begins to hash buf.
func (d *DigestReader) flush() {
	d.wait()
	d.buf, d.busy = d.busy[:0], d.buf
	block, done := d.busy, make(chan struct{})
	d.done = done
	go func() {
		d.hash.Write(block)
		close(done)
	}()
}

func (d *DigestReader) wait() {
	if d.done != nil {
		<-d.done
	}
}

// Digest is the digest of what was read so far.
func (d *DigestReader) Digest() digest.Digest {
	d.wait()
	d.hash.Write(d.buf)
	d.buf = d.buf[:0]
	return digest.NewDigest(digest.SHA256, d.hash)
}
