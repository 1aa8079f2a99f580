package mounts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/strata-build/strata/internal/store/disk"
)

// Use is an instance of a cache mount and what it takes.
type Use struct {
	ID       string
	Base     string // stands for what it begins with, "" for nothing
	Instance int    // the number among those of one cache mount, from 0
	Disk     int64  // bytes on this disk
	Created  time.Time
	Used     time.Time
	InUse    bool // by a process that runs now

	dir    string
	volume bool
}

// CacheMounts lists the cache mounts, those used last first.
func (ms *Mounts) CacheMounts() ([]Use, error) { return ms.list(false) }

// list lists the volumes, or the cache mounts.
func (ms *Mounts) list(volumes bool) ([]Use, error) {
	names, err := os.ReadDir(ms.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the cache mounts: %w", err)
	}
	var all []Use
	for _, name := range names {
		dir := filepath.Join(ms.dir, name.Name())
		numbers, err := instances(dir)
		if err != nil {
			return nil, fmt.Errorf("listing the cache mounts: %w", err)
		}
		for _, n := range numbers {
			u := Use{Instance: n, dir: filepath.Join(dir, strconv.Itoa(n))}
			if err := u.measure(); errors.Is(err, fs.ErrNotExist) {
				continue // pruned at this moment
			} else if err != nil {
				return nil, fmt.Errorf("measuring a cache mount: %w", err)
			}
			if u.volume == volumes {
				all = append(all, u)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Use) int { return b.Used.Compare(a.Used) })
	return all, nil
}

// measure looks at an instance. Its size is remembered in the file "size" with the time of the last use then, since
// walking through a cache of 100,000 files takes half a second, and a build with a cache size limit would do it at
// each end.
func (u *Use) measure() error {
	lock, err := os.Stat(filepath.Join(u.dir, "lock"))
	if err != nil {
		return err
	}
	u.Used = lock.ModTime()
	data, err := os.ReadFile(filepath.Join(u.dir, "info"))
	if err != nil {
		return err
	}
	var about info
	if err := json.Unmarshal(data, &about); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(u.dir, "info"), err)
	}
	u.ID, u.Base, u.Created, u.volume = about.ID, about.Base, about.Created, about.Base == volumeBase
	if u.InUse, err = disk.InUse(u.dir); err != nil {
		return err
	}
	stamp := strconv.FormatInt(u.Used.UnixNano(), 10)
	var then string
	memo := filepath.Join(u.dir, "size")
	if text, err := os.ReadFile(memo); err == nil && !u.InUse {
		if _, err := fmt.Sscan(string(text), &u.Disk, &then); err == nil && then == stamp {
			return nil
		}
	}
	if u.Disk, err = disk.Usage(u.dir); err != nil || u.InUse {
		return err
	}
	_ = os.WriteFile(memo, []byte(strconv.FormatInt(u.Disk, 10)+" "+stamp+"\n"), 0o600) // without it, it is measured again
	return nil
}

// Path is the folder of the instance, which no other one has.
func (u *Use) Path() string { return u.dir }

// Remove takes an instance out of the store, unless somebody uses it, which removed tells.
func (ms *Mounts) Remove(u Use) (removed bool, err error) {
	if u.InUse {
		return false, nil
	}
	m, err := ms.take(u.dir, false)
	if m == nil {
		return false, err
	}
	defer m.lock.Close()
	return true, ms.discard(u.dir)
}

// discard removes an instance that is locked.
func (ms *Mounts) discard(dir string) error {
	trash, err := ms.session.Trash()
	if err != nil {
		return err
	}
	if err := trash.Take(dir); err != nil {
		return errors.Join(err, trash.Close())
	}
	_ = os.Remove(filepath.Dir(dir)) // if it was the last
	return trash.Close()
}
