// Package store keeps everything that strata keeps on a machine. It opens the parts, each of which
// is a package of its own:
//
//   - db: meta.db, its schema and transactions
//   - session: this process's folder for work under way, locks
//   - seal: whether files are as they were when they were known to be right
//   - content: blobs, the compressed forms of layers
//   - layers: layers as trees and tars, their tables of contents; fetching those that are not here
//   - images: configs of images and steps, names, platforms, manifests
//   - records: records of the cache, past builds
//   - plans: what builds that are made again and again used last
//   - mounts: cache mounts
//   - kept: what only saves time or traffic
//   - gc: removing and measuring
//   - check: comparing all of it with what is promised, what a power cut left
//
// docs/store.md describes the format and what is promised.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/store/check"
	"github.com/strata-build/strata/internal/store/content"
	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/gc"
	"github.com/strata-build/strata/internal/store/images"
	"github.com/strata-build/strata/internal/store/kept"
	"github.com/strata-build/strata/internal/store/layers"
	"github.com/strata-build/strata/internal/store/mounts"
	"github.com/strata-build/strata/internal/store/plans"
	"github.com/strata-build/strata/internal/store/records"
	"github.com/strata-build/strata/internal/store/session"
)

// Store is an open store: all its parts. Who needs one part only takes that one. Methods may be called from several
// goroutines.
type Store struct {
	*session.Session
	*content.Content
	*layers.Layers
	*images.Images
	*records.Records
	*mounts.Mounts
	*kept.Kept
	*gc.Collector
	*check.Checker

	root string
	db   *db.DB
	lost *check.Lost
}

// systemRoot is the store of root.
const systemRoot = "/var/lib/strata"

// DefaultRoot is where the store is when $STRATA_ROOT does not say: /var/lib/strata for root, $XDG_DATA_HOME/strata
// (~/.local/share/strata) for others, and for root of a user name space whose /var/lib is another's.
func DefaultRoot() string {
	if dir := os.Getenv("STRATA_ROOT"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 && (!identity.Current().Mapped() || unix.Access(filepath.Dir(systemRoot), unix.W_OK) == nil) {
		return systemRoot
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "strata")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return systemRoot
	}
	return filepath.Join(home, ".local", "share", "strata")
}

// Open opens the store in the folder root, which it makes if it is not there, clears away what killed processes left,
// and sets aside what a power cut left incomplete. Layers that are not here cannot be had from it: see WithFetcher.
func Open(root string) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("opening the store %s: %w", root, err)
	}
	if err := CheckUser(root); err != nil {
		return nil, err
	}
	if err := checkIdentity(root); err != nil {
		return nil, err
	}
	if disk.ReadOnly(root) {
		return openReadOnly(root)
	}
	if lacksDatabase(root) {
		return nil, fmt.Errorf("opening the store %s: it has layers and no meta.db, which says what they are: put meta.db back, or move %s away and build again", root, root)
	}
	if err := create(root); err != nil {
		if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, fs.ErrNotExist) {
			err = disk.Advised(err, "set STRATA_ROOT to a folder on a disk")
		}
		return nil, fmt.Errorf("making the store %s: %w", root, disk.Explain(root, err))
	}
	if err := keepIdentity(root); err != nil {
		return nil, fmt.Errorf("opening the store %s: %w", root, disk.Explain(root, err))
	}
	s, err := openWritable(root)
	if errors.Is(err, syscall.ENOSPC) && disk.GiveUpReserve(root) {
		s, err = openWritable(root)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the store %s: %w", root, db.Explain(root, err))
	}
	return s, nil
}

// lacksDatabase says that somebody has taken meta.db from a store, or emptied it. A power cut may have done so too,
// just after the store was made: what is known then is that the layers are worth nothing.
func lacksDatabase(root string) bool {
	if st, err := os.Stat(filepath.Join(root, "meta.db")); err == nil && st.Size() > 0 || session.BeforeThisBoot(root) {
		return false
	}
	layers, err := os.ReadDir(filepath.Join(root, "layers"))
	return err == nil && len(layers) > 0
}

// openWritable opens a store whose folders are there.
func openWritable(root string) (*Store, error) {
	d, err := db.Open(root)
	if err != nil {
		return nil, err
	}
	se, err := session.Open(root)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	s := assemble(root, d, se)
	if s.lost, err = s.Recover(context.Background()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// openReadOnly opens a store that can be looked at only.
func openReadOnly(root string) (*Store, error) {
	d, err := db.OpenReadOnly(root)
	if err != nil {
		return nil, fmt.Errorf("opening the store %s, which is read-only: %w", root, err)
	}
	return assemble(root, d, session.OpenReadOnly(root)), nil
}

// assemble gives each part what it stands on.
func assemble(root string, d *db.DB, se *session.Session) *Store {
	s := &Store{root: root, db: d, Session: se}
	s.Content = content.New(root, d, se)
	s.Layers = layers.New(root, d, s.Content, se)
	s.Images = images.New(d)
	s.Records = records.New(d)
	s.Mounts = mounts.New(root, se)
	s.Kept = kept.New(root, se)
	s.Checker = check.New(root, d, se, s.Content, s.Layers, s.Kept)
	s.Collector = gc.New(root, d, se, gc.Parts{
		Content: s.Content, Layers: s.Layers, Images: s.Images, Mounts: s.Mounts, Kept: s.Kept})
	return s
}

// create makes the folders of a store that are not there. Nobody else may enter them: layers hold
// setuid programs and secrets of images, meta.db holds build arguments. Containers need no way in, for
// what they see of the store is mounted for them.
func create(root string) error {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	for _, dir := range []string{"blobs", "blobs/sha256", "layers", "tmp", "locks", "contexts"} {
		path := filepath.Join(root, dir)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		if err := disk.Tighten(path); err != nil {
			return err
		}
	}
	// Stores were once made with 0711. A folder with other permissions was made by a person, who knows why.
	if st, err := os.Stat(root); err == nil && st.Mode().Perm() == 0o711 {
		return disk.Tighten(root)
	}
	return nil
}

// Explain adds to an error of the database, or of the disk that the store is on, what a person can do about it.
func (s *Store) Explain(err error) error { return s.db.Explain(err) }

// WithFetcher returns the same store for somebody who gets layers that are not here from f.
func (s *Store) WithFetcher(f Fetcher) *Store {
	view := *s
	view.Layers = s.Layers.WithFetcher(f)
	return &view
}

// WithLimits returns the same store for somebody with other limits on what is unpacked.
func (s *Store) WithLimits(l layer.Limits) *Store {
	view := *s
	view.Layers = s.Layers.WithLimits(l)
	return &view
}

// WithPlan returns the same store for a build with a name, which is likely to use what the last one with that name
// used: package plans. The session must have begun.
func (s *Store) WithPlan(name string) (*Store, error) {
	held, err := plans.New(s.db).Hold(name)
	if err != nil {
		return nil, err
	}
	view := *s
	view.Records, view.Images = s.Records.WithHeld(held), s.Images.WithHeld(held)
	return &view, nil
}

// WithForms returns the same store for somebody who has layers mounted in these forms.
func (s *Store) WithForms(f Forms) *Store {
	view := *s
	view.Layers = s.Layers.WithForms(f)
	return &view
}

// Root is the store's folder.
func (s *Store) Root() string { return s.root }

// Lost says what was set aside when this process opened the store, since it was not on the disk when the
// machine stopped; "" if nothing was.
func (s *Store) Lost() string { return s.lost.String() }

// Sync waits until what this process put into the store is on the disk, or what it changed in its names.
func (s *Store) Sync() error {
	waited, err := s.Session.Sync()
	if waited || err != nil {
		return err
	}
	return s.db.Flush()
}

// Close waits until what this process put into the store is on the disk, closes the store and removes this
// process's folder below tmp/.
//
// The reserve is made where there is none; that it cannot be is no error.
func (s *Store) Close() error {
	_, err := s.Session.Sync()
	err = errors.Join(err, s.Leave()) // which waits for the rows
	if !s.ReadOnly() {
		_ = disk.KeepReserve(s.root, s.db.Size())
	}
	return err
}

// Leave is Close for a process that cannot wait: the next one waits for the disk.
func (s *Store) Leave() error { return errors.Join(s.Session.Close(), s.db.Close()) }
