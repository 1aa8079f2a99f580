package bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// Errors of Objects.
var (
	// ErrNoObject says that there is no object of a name.
	ErrNoObject = errors.New("no such object")
	// ErrChanged says that an object is not as Put expected it: another one wrote it meanwhile.
	ErrChanged = errors.New("the object has changed")
	// ErrNoList says that a store cannot say which objects it has.
	ErrNoList = errors.New("this kind of store cannot list what it has")
)

// Objects is an object store: bytes under names with slashes, which are written whole or not at all. Its methods may be
// called from several goroutines. Errors that may pass are tried again by the store itself.
type Objects interface {
	// Open reads an object from a byte on; ErrNoObject if there is none.
	Open(ctx context.Context, name string, offset int64) (io.ReadCloser, Object, error)
	// Stat is what is known of an object; ErrNoObject if there is none.
	Stat(ctx context.Context, name string) (Object, error)
	// Put writes an object of size bytes. Where r fails there is no such object, or the one that was there.
	Put(ctx context.Context, name string, size int64, r io.Reader, expect Expect) (Object, error)
	// List gives the objects whose names begin with prefix; ErrNoList where a store cannot.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// Remove removes an object, if it is there.
	Remove(ctx context.Context, name string) error
	// Location is what another process opens the same store by, as an Opener of its kind reads it: "scheme:…". It has no
	// credentials.
	Location() string
	// String names the store for people.
	String() string
}

// Tidier is Objects that keep what uploads that were cut have left, so that the next one goes on there.
type Tidier interface {
	// Tidy removes what uploads of objects whose names begin with prefix have left, and that were begun before a time.
	Tidy(ctx context.Context, prefix string, before time.Time) error
}

// Small is up to how many bytes an object is held in memory and sent in one request, which can be made again.
const Small = 8 << 20

// ReadSmall reads what is to be written of an object of at most Small bytes; an error where it is not the size that was
// said.
func ReadSmall(name string, size int64, r io.Reader) ([]byte, error) {
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("writing %s: %w", name, err)
	}
	if n, err := r.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("writing %s: it is not the %d bytes that it was to be: %w", name, size, cmp.Or(err, io.ErrShortWrite))
	}
	return data, nil
}

// Object is what a store knows of an object.
type Object struct {
	Name     string
	Size     int64
	Modified time.Time
	// Version is another after each write, "" where the store has none (S3's and HTTP's ETag).
	Version string
}

// Expect is what has to be there for Put to write. The zero value is anything.
type Expect struct {
	Nothing bool   // no object of this name
	Version string // the object that has this version
}
