// Package kept holds what only saves time or traffic: the stat caches of build contexts, copies of
// what a RUN's mounts showed of them, lists of what mounts showed, what was fetched from URLs, and
// mirrors of git repositories. Nothing but an explanation is lost with any of it.
package kept

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/session"
)

// Kept are the folders of a store that hold such things. Each thing is a file or folder in one of
// them, whose time is that of its last use.
type Kept struct {
	root    string
	session *session.Session
}

// New opens what is kept in the store in the folder root.
func New(root string, se *session.Session) *Kept { return &Kept{root: root, session: se} }

// The folders.
const (
	contexts  = "contexts" // stat caches, which package buildcontext writes
	copies    = "laid"
	listings  = "listings"
	downloads = "downloads"
	git       = "git"
)

// Folders are the paths of the folders, which need not be there.
func (k *Kept) Folders() []string {
	var all []string
	for _, dir := range []string{contexts, downloads, git, copies, listings} {
		all = append(all, k.path(dir))
	}
	return all
}

func (k *Kept) path(elem ...string) string {
	return filepath.Join(append([]string{k.root}, elem...)...)
}

// KeepSource makes the folder in which package remote keeps what it has of one source, and notes its use; kind is
// "downloads" or "git".
func (k *Kept) KeepSource(kind, name string) (string, error) {
	dir := k.path(kind, name)
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		now := time.Now()
		err = os.Chtimes(dir, now, now)
	}
	if err != nil {
		return "", fmt.Errorf("making a folder for what is fetched: %w", k.session.Explain(err))
	}
	return dir, nil
}

// Use is something that is kept, and what it takes.
type Use struct {
	Path string
	Disk int64 // bytes on this disk
	Used time.Time
}

// Uses are what is kept of URLs, git repositories and build contexts, but for lists and stat
// caches, which are small. Of the first two these are few files: git keeps what it fetches in
// packs. Of the last, the size is noted.
func (k *Kept) Uses() ([]Use, error) {
	var all []Use
	for _, dir := range []string{downloads, git, copies} {
		entries, err := os.ReadDir(k.path(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				continue // gone meanwhile
			}
			u := Use{Path: k.path(dir, e.Name()), Used: info.ModTime()}
			if dir == copies {
				u.Disk, err = copySize(u.Path)
			} else {
				u.Disk, err = disk.Usage(u.Path)
			}
			if err != nil {
				return nil, err
			}
			all = append(all, u)
		}
	}
	return all, nil
}

// Remove takes something that is kept away, unless it is in use, and returns what it took on the disk in bytes.
func (k *Kept) Remove(path string) (freed int64, err error) {
	if disk.Exists(filepath.Join(path, "lock")) {
		lock, err := disk.TakeLock(path, false)
		if lock == nil {
			return 0, err
		}
		defer lock.Close()
	}
	trash, err := k.session.Trash()
	if err != nil {
		return 0, err
	}
	if err := trash.Take(path); err != nil {
		return 0, errors.Join(err, trash.Close())
	}
	return trash.Empty()
}

// limit removes from a folder what was not used for the longest time, until no more than most things are left in it.
func (k *Kept) limit(folder string, most int) error {
	entries, err := os.ReadDir(k.path(folder))
	if err != nil || len(entries) <= most {
		return err
	}
	used := map[string]int64{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			used[e.Name()] = info.ModTime().UnixNano()
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(used[a.Name()], used[b.Name()]) })
	for _, e := range entries[:len(entries)-most] {
		if _, err := k.Remove(k.path(folder, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
