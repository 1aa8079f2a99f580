package kept

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/disk"
)

// maxListings is how many listings are kept: 1.2 MB each for a mount of 20,000 files.
const maxListings = 32

// PutListing remembers what a RUN's mount showed, under the digest that stands for it in the step's
// key, so that a later build can say which file is another. Losing it costs an explanation, no
// step.
func (k *Kept) PutListing(sum digest.Digest, t *layer.TOC) error {
	final := k.path(listings, sum.Encoded())
	now := time.Now()
	if os.Chtimes(final, now, now) == nil {
		return nil
	}
	dir, err := k.session.Temp("listing")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "listing")
	err = disk.WriteTOC(file, t)
	if err == nil {
		err = os.MkdirAll(k.path(listings), 0o700)
	}
	if err == nil {
		err = os.Rename(file, final)
	}
	if err == nil {
		err = k.limit(listings, maxListings)
	}
	if err != nil {
		return fmt.Errorf("remembering what a mount showed: %w", k.session.Explain(err))
	}
	return nil
}

// Listing returns what PutListing remembered; db.ErrNotFound if that is forgotten.
func (k *Kept) Listing(sum digest.Digest) (*layer.TOC, error) {
	path := k.path(listings, sum.Encoded())
	t, err := disk.ReadTOC(path)
	if err != nil { // not there, or damaged, which is as good as not there
		if !errors.Is(err, fs.ErrNotExist) && !disk.IsLocal(err) {
			_ = os.Remove(path) // PutListing replaces none that is there
		}
		return nil, fmt.Errorf("listing %s: %w", sum, db.ErrNotFound)
	}
	return t, nil
}
