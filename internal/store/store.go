// Package store keeps everything that strata keeps on a machine: blobs, layers, images and their names,
// steps, cache records, and the work that is under way. docs/store.md describes the format.
//
// Several processes use one store at the same time. What appears under a final name is complete, since it
// is made under tmp/ and renamed; what a killed process leaves is in tmp/ and goes when the next one opens
// the store.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	_ "modernc.org/sqlite" // the driver "sqlite"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/opencontainers/go-digest"
)

// formatVersion is the version of the store's layout and schema. It rises when an older strata could no
// longer use the store without harm.
//
// 2 since a name may mean images for several platforms, which an older prune would remove.
const formatVersion = 2

// ErrNotFound says that the store holds no such thing.
var ErrNotFound = errors.New("not in the store")

// Fetcher brings the compressed layer that desc describes into the store, from the repository repo, and may unpack it as the
// layer diffID while it comes; without a diffID only the blob is wanted.
type Fetcher interface {
	Fetch(ctx context.Context, repo string, desc ocispec.Descriptor, diffID digest.Digest) error
}

// Store is an open store. Its methods may be called from several goroutines.
type Store struct {
	// Fetcher brings layers that are known but not here. Without one, needing such a layer is an error.
	Fetcher Fetcher

	root string
	db   *sql.DB

	mu      sync.Mutex
	session *session
	tocs    map[digest.Digest]*tocEntry
	fetches map[digest.Digest]*sync.Mutex
	inUse   []*os.File // locks of kept copies that this process mounts
}

// DefaultRoot is where the store is when $STRATA_ROOT does not say: /var/lib/strata for root,
// $XDG_DATA_HOME/strata (~/.local/share/strata) otherwise.
func DefaultRoot() string {
	if dir := os.Getenv("STRATA_ROOT"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/lib/strata"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "strata")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "/var/lib/strata"
	}
	return filepath.Join(home, ".local", "share", "strata")
}

// Open opens the store in the folder root, which it makes if it is not there, and clears away what
// killed processes left.
func Open(root string) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("opening the store %s: %w", root, err)
	}
	s := &Store{
		root:    root,
		tocs:    map[digest.Digest]*tocEntry{},
		fetches: map[digest.Digest]*sync.Mutex{},
	}
	if _, err := os.Stat(s.path("meta.db")); errors.Is(err, fs.ErrNotExist) {
		if err := s.create(); err != nil {
			return nil, fmt.Errorf("making the store %s: %w%s", root, err, hint(err))
		}
	}
	if err := s.openDB(); err != nil {
		return nil, fmt.Errorf("opening the store %s: %w%s", root, err, hint(err))
	}
	if err := s.sweep(); err != nil {
		s.Close()
		return nil, fmt.Errorf("clearing away what a killed process left in %s: %w", s.path("tmp"), err)
	}
	return s, nil
}

// hint says what to do about the ways in which a store cannot be opened.
func hint(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "; run strata as root, or set STRATA_ROOT to a folder of your own"
	case errors.Is(err, syscall.ENOSPC):
		return "; free some space there, or set STRATA_ROOT to a folder on another disk"
	case errors.Is(err, syscall.EROFS):
		return "; set STRATA_ROOT to a folder that can be written"
	}
	return ""
}

// Advice is what a person can do about an error of the disk that the store is on, to be put behind the message;
// "" if there is nothing to say.
func Advice(err error) string { return hint(err) }

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.root}, elem...)...)
}

// Root is the store's folder.
func (s *Store) Root() string { return s.root }

func (s *Store) create() error {
	if err := os.MkdirAll(s.root, 0o711); err != nil {
		return err
	}
	for _, dir := range []string{"blobs/sha256", "layers", "tmp", "locks", "contexts"} {
		if err := os.MkdirAll(s.path(dir), 0o700); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) openDB() error {
	// Since WAL with synchronous=NORMAL never waits for the disk at a commit, a power cut may lose the last
	// records but not damage the file; a killed process loses nothing (sqlite.org/pragma.html#pragma_synchronous).
	dsn := "file:" + (&url.URL{Path: s.path("meta.db")}).EscapedPath() +
		"?_pragma=busy_timeout(20000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)&_txlock=immediate"
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return err
	}
	s.db = db
	var version int
	var complete bool // with the tables that came after the first stores were made
	if err := db.QueryRow(`SELECT user_version, (SELECT count(*) FROM sqlite_master WHERE name IN ('seen', 'derived')) = 2
		FROM pragma_user_version`).
		Scan(&version, &complete); err != nil {
		db.Close()
		return fmt.Errorf("reading meta.db: %w; if it is damaged, move %s away and build again", err, s.root)
	}
	switch {
	case version == formatVersion && complete:
		return nil
	case version > formatVersion:
		db.Close()
		return fmt.Errorf("the store has format %d and this strata reads formats up to %d; use the strata that wrote it, or set STRATA_ROOT to another folder", version, formatVersion)
	}
	if _, err := db.Exec(fmt.Sprintf("BEGIN IMMEDIATE; %s PRAGMA user_version = %d; COMMIT", schema, formatVersion)); err != nil {
		db.Close()
		return fmt.Errorf("laying out meta.db: %w", err)
	}
	return nil
}

// schema is meta.db's. Digests are text, as everywhere else; times are milliseconds since 1970.
//   - configs: the image config of every image and every step; parent is the step or image it came from.
//     kind: "image" for what a build, pull, load or import gave, "step" for what lies before, "failed" for
//     the state that a failed step left.
//   - layers: what is known of each diffID. Whether it is here as a tree or a tar, the folder tells.
//   - blobs: compressed forms of layers, here (then there is a file) or in a repository.
//   - records: the cache; data is the record's JSON, owned by package cache.
//   - builds: what became of past builds; data is the JSON of their steps, owned by package explain. An index has
//     every build write two more pages, so there is one only for what builds themselves look for.
//   - seen: every record that there is or was; text is a digest of what the instruction says, pruned the time at
//     which the record went, 0 while it is there. An older strata does not know of builds and seen, and adds nothing
//     to them.
//   - platforms: the images that a name means beside that in names, one for each platform that is asked for.
const schema = `
CREATE TABLE IF NOT EXISTS configs (
	id TEXT PRIMARY KEY, parent TEXT NOT NULL DEFAULT '', kind TEXT NOT NULL, data BLOB NOT NULL,
	added INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS names (
	name TEXT PRIMARY KEY, id TEXT NOT NULL, manifest TEXT NOT NULL DEFAULT '', set_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS names_by_id ON names (id);
CREATE TABLE IF NOT EXISTS platforms (
	name TEXT NOT NULL, platform TEXT NOT NULL, id TEXT NOT NULL, manifest TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (name, platform)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS platforms_by_id ON platforms (id);
CREATE TABLE IF NOT EXISTS layers (
	diff_id TEXT PRIMARY KEY, content_id TEXT NOT NULL DEFAULT '', size INTEGER NOT NULL DEFAULT -1,
	disk INTEGER NOT NULL DEFAULT 0, added INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blobs (
	digest TEXT NOT NULL, repository TEXT NOT NULL DEFAULT '', diff_id TEXT NOT NULL DEFAULT '',
	media_type TEXT NOT NULL, size INTEGER NOT NULL, used INTEGER NOT NULL,
	PRIMARY KEY (digest, repository)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blobs_by_diff_id ON blobs (diff_id);
CREATE TABLE IF NOT EXISTS manifests (
	digest TEXT PRIMARY KEY, media_type TEXT NOT NULL, id TEXT NOT NULL DEFAULT '', data BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS manifests_by_id ON manifests (id);
CREATE TABLE IF NOT EXISTS records (
	key TEXT PRIMARY KEY, layer TEXT NOT NULL DEFAULT '', data BLOB NOT NULL,
	made INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS records_by_layer ON records (layer);
CREATE TABLE IF NOT EXISTS builds (
	seq INTEGER PRIMARY KEY, id TEXT NOT NULL, started INTEGER NOT NULL, took INTEGER NOT NULL,
	context TEXT NOT NULL, dockerfile TEXT NOT NULL, target TEXT NOT NULL, engine TEXT NOT NULL,
	image TEXT NOT NULL, error TEXT NOT NULL, saved INTEGER NOT NULL, hits INTEGER NOT NULL, total INTEGER NOT NULL,
	data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS builds_by_context ON builds (context);
CREATE TABLE IF NOT EXISTS seen (
	key TEXT PRIMARY KEY, text TEXT NOT NULL, made INTEGER NOT NULL, pruned INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS seen_by_text ON seen (text, made);
CREATE INDEX IF NOT EXISTS seen_pruned ON seen (pruned) WHERE pruned > 0;
CREATE TABLE IF NOT EXISTS derived (
	source TEXT NOT NULL, how TEXT NOT NULL, result TEXT NOT NULL, data BLOB, PRIMARY KEY (source, how)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS derived_by_result ON derived (result);
`

// Close closes the store and removes this process's folder below tmp/.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	if s.session != nil {
		errs = append(errs, s.session.close())
		s.session = nil
	}
	for _, lock := range s.inUse {
		_ = lock.Close() // some were given back before
	}
	s.inUse = nil
	errs = append(errs, s.db.Close())
	return errors.Join(errs...)
}
