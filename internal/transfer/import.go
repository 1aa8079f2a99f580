package transfer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
)

// ImportOptions say what an imported file system becomes.
type ImportOptions struct {
	Name     reference.Named  // nil for none
	Config   image.Runtime    // what containers run with; see dockerfile.ApplyChanges for --change
	Platform ocispec.Platform // that the image is for; the zero value is this machine's
	Message  string           // comment of the history row; "" is Docker's "Imported from -"
}

// maxZeros is how many bytes of nothing but zeros, which is an empty tar, a tar may begin with. It is on the disk as it
// came before its end is known. tar's own records have 10,240 bytes (GNU tar, --blocking-factor).
const maxZeros = 1 << 20

// Import makes an image of one layer of a root file system's tar, compressed or not, as docker import does.
func (m *Mover) Import(ctx context.Context, r io.Reader, o ImportOptions) (digest.Digest, error) {
	b := bufio.NewReaderSize(r, maxZeros)
	switch head, err := b.Peek(maxZeros); {
	case err != nil && !errors.Is(err, io.EOF):
		return "", err
	case len(head) == 0:
		return "", errors.New("it is empty; give a tar of a root file system")
	case len(head) == maxZeros && bytes.Count(head, []byte{0}) == maxZeros:
		return "", errors.New("it begins with a megabyte of zeros, and may be endless, as /dev/zero is; give a tar of a root file system")
	}
	l, err := m.Store.UnpackNew(ctx, "", b)
	if err != nil {
		return "", err
	}
	if o.Platform.OS == "" {
		o.Platform = m.Platform
	}
	c := image.Scratch(o.Platform)
	now := time.Now().UTC()
	row := image.History{Created: &now, Comment: o.Message}
	if row.Comment == "" {
		row.Comment = "Imported from -"
	}
	data, err := image.Encode(image.Add(c, o.Config, row, l.DiffID))
	if err != nil {
		return "", err
	}
	id, err := m.Store.PutConfig(data, "", store.Image)
	if err != nil {
		return "", err
	}
	if o.Name != nil {
		_, err = m.Store.SetName(o.Name, id, "")
	}
	return id, err
}
