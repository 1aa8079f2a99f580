package remote

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/source/address"
	"github.com/strata-build/strata/internal/store/seal"
)

const answerName = "answer"

// answer is what is kept of a server's answer, in the file answerName of the URL's folder; the bytes are beside it,
// under the hexadecimal digits of their digest.
type answer struct {
	ETag string `json:"etag,omitempty"`
	// LastModified is as the server wrote it, and Strong says that it lay far enough in the past to tell two versions
	// of the file apart: a second write within the same second would not show (RFC 9110, 8.8.2.2).
	LastModified string        `json:"lastModified,omitempty"`
	Strong       bool          `json:"strong,omitempty"`
	Disposition  string        `json:"disposition,omitempty"`
	Digest       digest.Digest `json:"digest"`
	Size         int64         `json:"size"`
	// Seal is by what the bytes are known to be as they were when they had the digest.
	Seal seal.Sum `json:"seal"`
}

// known is what is here of the URL; nil if there is nothing, or the bytes are not those that the answer tells of.
func (d *download) known() (*answer, *File) {
	var a answer
	if d.read(answerName, &a) != nil || a.Digest.Validate() != nil {
		return nil, nil
	}
	path := filepath.Join(d.dir, a.Digest.Encoded())
	file, err := a.open(path)
	if err != nil {
		return nil, nil
	}
	// What is written from here on makes the seal a wrong one.
	sum, err := seal.Of(path, d.url)
	if err != nil || sum != a.Seal || d.fetcher.Distrust {
		if got, err := digest.FromReader(file.Reader()); err != nil || got != a.Digest {
			file.bytes.Close()
			d.fetcher.Store.Note("what was fetched from " + address.Redact(d.url) + " was damaged and is fetched again")
			return nil, nil
		}
		a.Seal = sum
		_ = d.write(answerName, &a) // without it, the next build reads the bytes again
	}
	return &a, file
}

func (a *answer) open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || st.Size() != a.Size {
		f.Close()
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	file := &File{Digest: a.Digest, Size: a.Size, Name: address.DispositionName(a.Disposition), bytes: f}
	if t, err := parseTime(a.LastModified); err == nil {
		file.Modified = t
	}
	return file, nil
}

// errUnsealed says that a file is not as it was written for this URL.
var errUnsealed = errors.New("the file is not as it was written")

// read reads a file of the URL's folder, as write wrote it.
func (d *download) read(name string, value any) error {
	sealed, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		return err
	}
	data, ok := seal.OpenText(sealed, name+" of "+d.url)
	if !ok {
		return errUnsealed
	}
	return json.Unmarshal(data, value)
}

// write writes what is known of the URL to a file of its folder, which appears at once.
func (d *download) write(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	temporary := filepath.Join(d.dir, "."+name)
	if err := os.WriteFile(temporary, seal.SealText(data, name+" of "+d.url), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(d.dir, name))
}
