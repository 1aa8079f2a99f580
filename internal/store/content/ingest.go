package content

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/disk"
)

// partial begins the name of the file of a blob that is not complete. Who writes to it has locked it.
const partial = ".partial-"

// IsPartial says that a file in Folder is, by its name, a blob that is not complete. Who holds its named lock
// (disk.TakeNamedLock) may remove it.
func IsPartial(name string) bool { return strings.HasPrefix(name, partial) }

// Ingest writes one blob. What was written is kept when it is closed before Commit, so that a later Ingest
// of the same blob goes on where it ended.
type Ingest struct {
	content *Content
	digest  digest.Digest
	size    int64
	f       *os.File
	out     *layer.Behind // of f
	hash    hash.Hash
	offset  int64

	progress *progress // for those who Follow
	written  func()    // ends the mark of what is not on the disk
}

// Ingest starts, or goes on with, writing the blob d of size bytes (-1 if that is not known).
func (c *Content) Ingest(ctx context.Context, d digest.Digest, size int64) (*Ingest, error) {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return nil, fmt.Errorf("storing blob %q: only sha256 digests are supported", d)
	}
	path := filepath.Join(c.dir, partial+d.Encoded())
	f, err := disk.TakeNamedLock(path)
	if err != nil {
		return nil, fmt.Errorf("storing blob %s: %w", d, c.session.Explain(err))
	}
	// Another process that fetches the same blob right now writes to the file of that name: use one of our own.
	if f == nil {
		dir, err := c.session.Temp("blob")
		if err != nil {
			return nil, err
		}
		if f, err = os.OpenFile(filepath.Join(dir, "blob"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600); err != nil {
			return nil, fmt.Errorf("storing blob %s: %w", d, c.session.Explain(err))
		}
	}
	written, err := c.session.MarkWriting(path)
	if err != nil {
		f.Close()
		return nil, err
	}
	in := &Ingest{content: c, digest: d, size: size, f: f, hash: sha256.New(), written: written}
	if in.offset, err = io.CopyBuffer(in.hash, f, make([]byte, 1<<18)); err != nil || (size >= 0 && in.offset > size) {
		if err := in.Reset(); err != nil {
			f.Close()
			written()
			return nil, err
		}
	}
	in.out = layer.NewBehind(f, in.offset)
	in.progress = newProgress(in.offset)
	return in, nil
}

// Offset is how many bytes are written.
func (in *Ingest) Offset() int64 { return in.offset }

// Write appends p.
func (in *Ingest) Write(p []byte) (int, error) {
	if in.size >= 0 && in.offset+int64(len(p)) > in.size {
		return 0, fmt.Errorf("storing blob %s: more than the %d bytes that were announced", in.digest, in.size)
	}
	n, err := in.out.Write(p)
	in.hash.Write(p[:n])
	in.offset += int64(n)
	in.progress.set(in.offset, writing)
	if err != nil {
		return n, fmt.Errorf("storing blob %s: %w", in.digest, in.content.session.Explain(err))
	}
	return n, nil
}

// Reset drops what was written.
func (in *Ingest) Reset() error {
	if in.progress != nil {
		in.progress.set(0, dropped)
		in.progress = newProgress(0)
	}
	in.hash.Reset()
	in.offset, in.out = 0, layer.NewBehind(in.f, 0)
	if err := in.f.Truncate(0); err != nil {
		return fmt.Errorf("storing blob %s: %w", in.digest, err)
	}
	_, err := in.f.Seek(0, io.SeekStart)
	return err
}

// Commit checks size and digest and gives the blob its name. A blob that does not match is dropped.
func (in *Ingest) Commit() error {
	got := digest.NewDigest(digest.SHA256, in.hash)
	if got != in.digest {
		size := in.offset
		if err := in.Reset(); err != nil {
			return err
		}
		return &MismatchError{Want: in.digest, Got: got, Size: size}
	}
	if err := in.content.place(in.f.Name(), in.digest); err != nil {
		return err
	}
	in.progress.set(in.offset, committed)
	return nil
}

// Close ends the writing. What was not committed stays for the next Ingest to go on with, unless
// there is no room for the rest: then it would only keep the disk full, and others from working.
func (in *Ingest) Close() error {
	if in.progress.now() != committed && !in.fits() {
		os.Remove(in.f.Name())
	}
	in.progress.set(in.offset, dropped)
	in.written()
	return in.f.Close()
}

// fits says whether the disk has room for what is still to come.
func (in *Ingest) fits() bool {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(in.f.Fd()), &fs); err != nil {
		return true
	}
	free := int64(fs.Bavail) * fs.Bsize
	return free > 0 && free >= in.size-in.offset
}

// MismatchError says that bytes which came from elsewhere are not those that were asked for.
type MismatchError struct {
	Want, Got digest.Digest
	Size      int64
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("the %d bytes received for blob %s have the digest %s; they were thrown away: try again, and if it stays so the registry or a proxy before it is damaged", e.Size, e.Want, e.Got)
}
