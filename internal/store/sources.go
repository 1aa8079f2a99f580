package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
)

// pruneKept removes what only saves time or traffic: the stat caches and kept copies of build contexts, what was
// downloaded from URLs, and the mirrors of git repositories.
func (s *Store) pruneKept(cutoff int64, p *Pruned) error {
	for _, dir := range keptDirs() {
		err := eachEntry(s.path(dir), cutoff, func(path string) error { return s.removeKept(path, p) })
		if err != nil {
			return err
		}
	}
	return nil
}

// keptDirs are the folders of pruneKept. The time of what is in them is that of its last use.
func keptDirs() []string { return []string{"contexts", "downloads", "git", "laid", "listings"} }

// removeKept takes something away at once, so that who makes it anew finds no half of it. What is mounted stays.
func (s *Store) removeKept(path string, p *Pruned) error {
	release, free, err := freeToRemove(path)
	if err != nil || !free {
		return err
	}
	defer release()
	tmp, err := s.Temp("gone")
	if err != nil {
		return err
	}
	gone := filepath.Join(tmp, "it")
	if err := os.Rename(path, gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(s.removeAll(gone, p), os.Remove(tmp))
}

// KeepSource makes the folder in which package fetch keeps what it has of one source, and notes its use; kind is
// "downloads" or "git".
func (s *Store) KeepSource(kind, name string) (string, error) {
	dir := s.path(kind, name)
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		now := time.Now()
		err = os.Chtimes(dir, now, now)
	}
	if err != nil {
		return "", fmt.Errorf("making a folder for what is fetched: %w%s", err, hint(err))
	}
	return dir, nil
}

// sourceUse is what is kept of a URL, a git repository or a build context.
type sourceUse struct {
	path string
	disk int64
	used int64
}

// key stands for it among diffIDs.
func (u sourceUse) key() digest.Digest { return digest.Digest("source:" + u.path) }

// measureSources adds what is kept of URLs, git repositories and build contexts. Of the first two these are few files: git
// keeps what it fetches in packs. Of the last, the size is noted.
func (c *cacheUse) measureSources(s *Store) error {
	for _, dir := range []string{"downloads", "git", "laid"} {
		entries, err := os.ReadDir(s.path(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				continue // gone meanwhile
			}
			u := sourceUse{path: s.path(dir, e.Name()), used: info.ModTime().UnixMilli()}
			if dir == "laid" {
				u.disk, err = laidSize(u.path)
			} else {
				u.disk, err = diskUse(u.path)
			}
			if err != nil {
				return err
			}
			c.sources = append(c.sources, u)
			c.layers[u.key()] = &cachedLayer{diffID: u.key(), disk: u.disk, added: u.used, used: u.used}
		}
	}
	return nil
}
