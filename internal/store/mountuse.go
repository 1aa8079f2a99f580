package store

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

	"golang.org/x/sys/unix"
)

// CacheMountUse is an instance of a cache mount and what it takes.
type CacheMountUse struct {
	ID       string
	Instance int   // the number among those of one cache mount, from 0
	Disk     int64 // bytes on this disk
	Created  time.Time
	Used     time.Time
	InUse    bool // by a process that runs now

	dir string
}

// CacheMounts lists the cache mounts, those used last first.
func (s *Store) CacheMounts() ([]CacheMountUse, error) {
	names, err := os.ReadDir(s.path("mounts"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the cache mounts: %w", err)
	}
	var all []CacheMountUse
	for _, name := range names {
		dir := s.path("mounts", name.Name())
		numbers, err := instances(dir)
		if err != nil {
			return nil, fmt.Errorf("listing the cache mounts: %w", err)
		}
		for _, n := range numbers {
			u := CacheMountUse{Instance: n, dir: filepath.Join(dir, strconv.Itoa(n))}
			if err := u.measure(); errors.Is(err, fs.ErrNotExist) {
				continue // pruned at this moment
			} else if err != nil {
				return nil, fmt.Errorf("measuring a cache mount: %w", err)
			}
			all = append(all, u)
		}
	}
	slices.SortStableFunc(all, func(a, b CacheMountUse) int { return b.Used.Compare(a.Used) })
	return all, nil
}

// measure looks at an instance. Its size is remembered in the file "size" with the time of the last use then, since
// walking through a cache of 100,000 files takes half a second, and a build with a cache size limit would do it at
// each end.
func (u *CacheMountUse) measure() error {
	lock, err := os.Stat(filepath.Join(u.dir, "lock"))
	if err != nil {
		return err
	}
	u.Used = lock.ModTime()
	data, err := os.ReadFile(filepath.Join(u.dir, "info"))
	if err != nil {
		return err
	}
	var info mountInfo
	if err := json.Unmarshal(data, &info); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(u.dir, "info"), err)
	}
	u.ID, u.Created = info.ID, info.Created
	if u.InUse, err = inUse(filepath.Join(u.dir, "lock")); err != nil {
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
	if u.Disk, err = diskUse(u.dir); err != nil || u.InUse {
		return err
	}
	_ = os.WriteFile(memo, []byte(strconv.FormatInt(u.Disk, 10)+" "+stamp+"\n"), 0o600) // without it, it is measured again
	return nil
}

// inUse tells whether somebody holds the lock of an instance.
func inUse(lock string) (bool, error) {
	f, err := os.OpenFile(lock, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil, nil
}

// pruneMounts removes the cache mounts that nobody used since cutoff and nobody uses.
func (s *Store) pruneMounts(cutoff int64, p *Pruned) error {
	all, err := s.CacheMounts()
	if err != nil {
		return err
	}
	for _, u := range all {
		if u.Used.UnixMilli() < cutoff {
			if err := s.removeMount(u, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeMount takes an instance out of the store, unless somebody uses it.
func (s *Store) removeMount(u CacheMountUse, p *Pruned) error {
	if u.InUse {
		return nil
	}
	m, err := takeMount(u.dir, false)
	if m == nil {
		return err
	}
	defer m.lock.Close()
	tmp, err := s.Temp("pruned")
	if err != nil {
		return err
	}
	if err := os.Rename(u.dir, filepath.Join(tmp, "mount")); err != nil {
		return err
	}
	_ = os.Remove(filepath.Dir(u.dir)) // if it was the last
	p.Mounts++
	p.Freed += u.Disk
	return os.RemoveAll(tmp)
}
