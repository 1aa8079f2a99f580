package remote

import (
	"context"
	"crypto/sha256"
	_ "crypto/sha512" // go-digest's sha384 and sha512
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/source/address"
	"github.com/strata-build/strata/internal/store/seal"
)

// File is what the server of a URL has.
type File struct {
	Digest digest.Digest // of its bytes, SHA-256
	Size   int64
	// Modified is the Last-Modified of the server; the zero time if it said none.
	Modified time.Time
	// Name is the file name of the Content-Disposition, "" without one.
	Name string

	bytes *os.File
}

// Reader reads the bytes from their beginning.
func (f *File) Reader() *io.SectionReader { return io.NewSectionReader(f.bytes, 0, f.Size) }

// File gives what a URL has now. The server is asked once in a build, and sends no bytes that are here already. With
// a digest in pinned it is not asked at all if the bytes are here; other bytes are an error.
func (f *Fetcher) File(ctx context.Context, url string, pinned digest.Digest) (*File, error) {
	file, err := once(&f.mu, f.files, url+" "+string(pinned), func() (*File, error) {
		sum := sha256.Sum256([]byte(url))
		dir, release, err := f.folder(ctx, "downloads", hex.EncodeToString(sum[:16]))
		if err != nil {
			return nil, err
		}
		defer release()
		d := &download{fetcher: f, url: url, dir: dir, pinned: pinned}
		file, err := d.file(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, fmt.Errorf("fetching %s: %w", address.Redact(url), err)
		}
		// Pruning goes by the folder's time.
		now := time.Now()
		return file, os.Chtimes(dir, now, now)
	})
	if err == nil {
		f.take(address.Redact(url), file.Digest.Algorithm().String(), file.Digest.Encoded())
	}
	return file, err
}

// download is one URL's turn.
type download struct {
	fetcher *Fetcher
	url     string
	dir     string
	pinned  digest.Digest
	shown   *transfer // nil as long as nothing moves
}

func (d *download) file(ctx context.Context) (*File, error) {
	known, file := d.known()
	if file != nil && d.pinned != "" && matches(file, d.pinned) == nil {
		return file, nil
	}
	fresh, err := d.ask(ctx, known)
	if d.shown != nil {
		d.shown.done(err)
	}
	if err != nil {
		if file != nil {
			file.bytes.Close()
		}
		return nil, d.hint(err, known)
	}
	if fresh == nil {
		return file, matches(file, d.pinned)
	}
	if file != nil {
		file.bytes.Close()
	}
	return d.keep(fresh, known)
}

// keep gives fetched bytes their name and remembers the answer, unless the bytes are not those that were asked for.
func (d *download) keep(a, before *answer) (*File, error) {
	partial := filepath.Join(d.dir, partialName)
	file, err := a.open(partial)
	if err != nil {
		return nil, err
	}
	if err := matches(file, d.pinned); err != nil {
		file.bytes.Close()
		return nil, errors.Join(err, d.forgetPartial())
	}
	bytes := filepath.Join(d.dir, a.Digest.Encoded())
	if err = os.Rename(partial, bytes); err == nil {
		a.Seal, err = seal.Of(bytes, d.url)
	}
	if err == nil {
		// The answer comes after the bytes, by a rename: it never tells of what is not there.
		err = d.write(answerName, a)
	}
	if err != nil {
		file.bytes.Close()
		return nil, fmt.Errorf("keeping the file: %w", err)
	}
	if before != nil && before.Digest != a.Digest {
		os.Remove(filepath.Join(d.dir, before.Digest.Encoded()))
	}
	return file, d.forgetPartial()
}

// matches compares bytes with the digest that they are to have; "" is any.
func matches(file *File, want digest.Digest) error {
	got := file.Digest
	if want == "" || want == got {
		return nil
	}
	if want.Algorithm() != digest.SHA256 {
		var err error
		if got, err = want.Algorithm().FromReader(file.Reader()); err != nil {
			return err
		}
		if got == want {
			return nil
		}
	}
	return fmt.Errorf("digest mismatch: %s (expected: %s): the server gives another file than --checksum says; "+
		"see whether it is the one that you want before you write its digest there", got, want)
}
