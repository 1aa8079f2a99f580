package remote

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"
)

const (
	// partialName is a download under way or broken off, and beginningName what is known of it.
	partialName   = "partial"
	beginningName = "partial-of"
	// noteEvery is after how many bytes it is noted what there is of a download. So much of it is fetched again after a
	// kill.
	noteEvery = 4 << 20
)

// beginning is what is known of a download that is under way or broke off: nothing vouches for its bytes otherwise,
// since nobody knows the digest of the whole.
type beginning struct {
	// Validator tells which version of the file it is of, as If-Range takes it.
	Validator string `json:"validator"`
	Size      int64  `json:"size"`   // in bytes
	SHA256    string `json:"sha256"` // of so many bytes, in hexadecimal digits
}

// partial is the file of a download, behind whose first size bytes more is written.
type partial struct {
	*os.File
	hash hash.Hash
	size int64
}

// resumed opens what is here of a download that broke off; nil if that is nothing, or not as it was written.
func (d *download) resumed() (*partial, *beginning) {
	var b beginning
	if d.read(beginningName, &b) != nil || b.Validator == "" || b.Size <= 0 {
		return nil, nil
	}
	f, err := os.OpenFile(filepath.Join(d.dir, partialName), os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil
	}
	p := &partial{f, sha256.New(), b.Size}
	if _, err := io.CopyN(p.hash, f, b.Size); err != nil || p.sum() != b.SHA256 {
		f.Close()
		return nil, nil
	}
	return p, &b
}

// begin opens the file for a download from its beginning.
func (d *download) begin() (*partial, error) {
	f, err := os.OpenFile(filepath.Join(d.dir, partialName), os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &partial{f, sha256.New(), 0}, nil
}

func (p *partial) sum() string { return hex.EncodeToString(p.hash.Sum(nil)) }

// Write implements io.Writer.
func (p *partial) Write(b []byte) (int, error) {
	n, err := p.File.Write(b)
	p.hash.Write(b[:n])
	p.size += int64(n)
	return n, err
}

// noting is a writer that notes now and then how much there is of a download.
type noting struct {
	*partial
	download  *download
	validator string // "" notes nothing
	noted     int64
}

// Write implements io.Writer.
func (w *noting) Write(b []byte) (int, error) {
	n, err := w.partial.Write(b)
	if w.size-w.noted >= noteEvery && err == nil {
		err = w.note()
	}
	return n, err
}

func (w *noting) note() error {
	w.noted = w.size
	if w.validator == "" {
		return nil
	}
	return w.download.write(beginningName, &beginning{w.validator, w.size, w.sum()})
}

func (d *download) partialSize() int64 {
	st, err := os.Stat(filepath.Join(d.dir, partialName))
	if err != nil {
		return 0
	}
	return st.Size()
}

func (d *download) forgetPartial() error {
	var errs []error
	for _, name := range []string{partialName, beginningName} {
		if err := os.Remove(filepath.Join(d.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
