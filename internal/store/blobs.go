package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"syscall"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

const syscallNotEmpty = syscall.ENOTEMPTY

// Blob is a compressed form of a layer: one that is here, or one that a repository has.
type Blob struct {
	Digest    digest.Digest
	Size      int64 // bytes, compressed
	MediaType string
	// Repository has the blob ("docker.io/library/python"); "" says that it is in this store.
	Repository string
}

// Descriptor is the blob as manifests name it.
func (b Blob) Descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: b.MediaType, Digest: b.Digest, Size: b.Size}
}

type execer interface {
	Exec(query string, args ...any) (sql.Result, error)
}

func putBlob(db execer, diffID digest.Digest, b Blob) error {
	_, err := db.Exec(`INSERT INTO blobs (digest, repository, diff_id, media_type, size, used) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (digest, repository) DO UPDATE SET diff_id = excluded.diff_id, used = excluded.used`,
		b.Digest, b.Repository, diffID, b.MediaType, b.Size, now())
	return err
}

// AddBlob notes that a layer's compressed form is in the store (written by Ingest) or in a repository.
func (s *Store) AddBlob(diffID digest.Digest, b Blob) error {
	if err := putBlob(s.db, diffID, b); err != nil {
		return fmt.Errorf("noting blob %s: %w", b.Digest, err)
	}
	return nil
}

// Blobs returns the compressed forms of a layer that are known, those in the store first.
func (s *Store) Blobs(diffID digest.Digest) ([]Blob, error) {
	rows, err := s.db.Query("SELECT digest, size, media_type, repository FROM blobs WHERE diff_id = ? ORDER BY repository, used DESC", diffID)
	if err != nil {
		return nil, fmt.Errorf("looking up the blobs of layer %s: %w", diffID, err)
	}
	defer rows.Close()
	var blobs []Blob
	for rows.Next() {
		var b Blob
		if err := rows.Scan(&b.Digest, &b.Size, &b.MediaType, &b.Repository); err != nil {
			return nil, fmt.Errorf("looking up the blobs of layer %s: %w", diffID, err)
		}
		blobs = append(blobs, b)
	}
	return blobs, rows.Err()
}

// DiffIDOf returns the layer whose compressed form is known to be the blob; "" if it is not known.
func (s *Store) DiffIDOf(blob digest.Digest) (digest.Digest, error) {
	var d digest.Digest
	err := s.db.QueryRow("SELECT diff_id FROM blobs WHERE digest = ? AND diff_id != '' LIMIT 1", blob).Scan(&d)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return d, err
}

func (s *Store) blobPath(d digest.Digest) string {
	return s.path("blobs", "sha256", d.Encoded())
}

// HasBlob says whether the blob is on this disk.
func (s *Store) HasBlob(d digest.Digest) bool {
	return d.Validate() == nil && d.Algorithm() == digest.SHA256 && exists(s.blobPath(d))
}

// OpenBlob opens a blob that is on this disk; ErrNotFound if it is not.
func (s *Store) OpenBlob(d digest.Digest) (*os.File, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("opening blob %q: %w", d, err)
	}
	f, err := os.Open(s.blobPath(d))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("blob %s: %w", d, ErrNotFound)
	}
	return f, err
}

// Ingest writes one blob. What was written is kept when it is closed before Commit, so that a later Ingest
// of the same blob goes on where it ended.
type Ingest struct {
	store  *Store
	digest digest.Digest
	size   int64
	f      *os.File
	hash   hash.Hash
	offset int64

	progress *progress // for those who Follow
}

// Ingest starts, or goes on with, writing the blob d of size bytes (-1 if that is not known).
func (s *Store) Ingest(ctx context.Context, d digest.Digest, size int64) (*Ingest, error) {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return nil, fmt.Errorf("storing blob %q: only sha256 digests are supported", d)
	}
	path := s.path("blobs", "sha256", ".partial-"+d.Encoded())
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("storing blob %s: %w%s", d, err, hint(err))
	}
	// Another process that fetches the same blob right now writes to the file of that name: use one of our own.
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		f.Close()
		dir, err := s.Temp("blob")
		if err != nil {
			return nil, err
		}
		if f, err = os.OpenFile(dir+"/blob", os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600); err != nil {
			return nil, fmt.Errorf("storing blob %s: %w%s", d, err, hint(err))
		}
	}
	in := &Ingest{store: s, digest: d, size: size, f: f, hash: sha256.New()}
	if in.offset, err = io.CopyBuffer(in.hash, f, make([]byte, 1<<18)); err != nil || (size >= 0 && in.offset > size) {
		if err := in.Reset(); err != nil {
			f.Close()
			return nil, err
		}
	}
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
	n, err := in.f.Write(p)
	in.hash.Write(p[:n])
	in.offset += int64(n)
	in.progress.set(in.offset, writing)
	if err != nil {
		return n, fmt.Errorf("storing blob %s: %w%s", in.digest, err, hint(err))
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
	in.offset = 0
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
	if err := os.Rename(in.f.Name(), in.store.blobPath(in.digest)); err != nil {
		return fmt.Errorf("storing blob %s: %w", in.digest, err)
	}
	in.progress.set(in.offset, committed)
	return nil
}

// Close ends the writing. What was not committed stays for the next Ingest to go on with, unless there is no room for the
// rest: then it would only keep the disk full, and others from working.
func (in *Ingest) Close() error {
	if _, state := in.progress.wait(-1); state != committed && !in.fits() {
		os.Remove(in.f.Name())
	}
	in.progress.set(in.offset, dropped)
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
