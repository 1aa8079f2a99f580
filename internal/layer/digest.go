package layer

import (
	"crypto/sha256"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

// DigestReader reads from another reader and makes the sha256 digest of all that was read, on another core where
// there is one: who reads a tar has contents to hash himself.
type DigestReader struct {
	r    io.Reader
	w    io.Writer // takes what was read; nil for nobody
	hash hash.Hash
	buf  []byte        // read, and not hashed yet
	busy []byte        // being hashed and written
	done chan struct{} // closed when busy is hashed and written; nil before the first
	err  error         // of w; only for who has waited for done
}

// digestBlock is how much is hashed at a time, in bytes.
const digestBlock = 256 << 10

// NewDigestReader returns a DigestReader. It needs no closing.
func NewDigestReader(r io.Reader) *DigestReader {
	return &DigestReader{r: r, hash: sha256.New(), buf: make([]byte, 0, digestBlock), busy: make([]byte, 0, digestBlock)}
}

// NewCopyingReader returns a DigestReader that also writes to w what was read, in blocks, beside hashing. Who has
// read enough calls Copied, also after an error: before that, w is still written to.
func NewCopyingReader(r io.Reader, w io.Writer) *DigestReader {
	d := NewDigestReader(r)
	d.w = w
	return d
}

// Read implements io.Reader. An error of a copying reader's writer comes with what is read later.
func (d *DigestReader) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		room := d.buf[len(d.buf):cap(d.buf)]
		took := copy(room, rest)
		d.buf, rest = d.buf[:len(d.buf)+took], rest[took:]
		if len(d.buf) < cap(d.buf) {
			continue
		}
		if werr := d.flush(); werr != nil {
			return 0, werr
		}
	}
	return n, err
}

// flush begins to hash and to write buf.
func (d *DigestReader) flush() error {
	d.wait()
	if d.err != nil {
		return d.err
	}
	d.buf, d.busy = d.busy[:0], d.buf
	block, done := d.busy, make(chan struct{})
	d.done = done
	go func() {
		d.take(block)
		close(done)
	}()
	return nil
}

func (d *DigestReader) take(block []byte) {
	d.hash.Write(block)
	if d.w != nil && d.err == nil {
		_, d.err = d.w.Write(block)
	}
}

func (d *DigestReader) wait() {
	if d.done != nil {
		<-d.done
	}
}

// Copied waits until all that was read is hashed and written. It returns what the writer failed with.
func (d *DigestReader) Copied() error {
	d.wait()
	d.take(d.buf)
	d.buf = d.buf[:0]
	return d.err
}

// Digest is the digest of what was read so far.
func (d *DigestReader) Digest() digest.Digest {
	_ = d.Copied() // the digest is of what was read
	return digest.NewDigest(digest.SHA256, d.hash)
}
