package buildcontext

import (
	"context"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
)

// Capabilities implements layer.Tree. The name is that of the stat cache's file, which is another for each directory.
func (c *Context) Capabilities() layer.Capabilities {
	can := layer.Capabilities{
		Outside: true, Identities: c.identities, ModTime: c.modTime, Preload: c.walk, Excluded: c.excluded,
	}
	if c.cache.file != "" {
		can.Name = filepath.Base(c.cache.file)
	}
	return can
}

// inode identifies a file that has several names.
type inode struct{ dev, ino uint64 }

// identities are the inodes of the regular files that have more than one link.
func (c *Context) identities(_ context.Context, dir string, entries []*layer.Entry) ([]any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.find(dir)
	if err != nil {
		return nil, err
	}
	var all []any
	next := 0
	for i, e := range entries {
		child := n.childAt(next, e.Path)
		next++
		if child == nil || child.more == nil || child.more.inode == nil {
			continue
		}
		if all == nil {
			all = make([]any, len(entries))
		}
		all[i] = *child.more.inode
	}
	return all, nil
}

// modTime is the time of the last change of a path in nanoseconds; the zero time if the path is not there.
func (c *Context) modTime(path string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.find(path)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(0, n.file.stat().mtime)
}

// excluded is the rule of .dockerignore that hides a path which is on the disk; "" if there is none.
func (c *Context) excluded(path string) string {
	rule, ok := c.IgnoredBy(path)
	if !ok || !c.onDisk(path) {
		return ""
	}
	return rule.String()
}

// onDisk tells whether a path is there, excluded or not.
func (c *Context) onDisk(path string) bool {
	fd, err := c.openBeneath(path, unix.O_PATH)
	if err == nil {
		unix.Close(fd)
	}
	return err == nil
}
