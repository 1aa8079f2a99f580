// Package buildcontext shows the solver what COPY and ADD can see: the files of a build's context
// directory, less those that .dockerignore excludes, with digests that a stat cache remembers between
// builds. A Context is a layer.Tree, in which layer/selection finds what a COPY means.
package buildcontext

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/strata-build/strata/internal/layer"
	"golang.org/x/sys/unix"
)

// Options say how a context directory is to be read.
type Options struct {
	// Dockerfile is the path of the Dockerfile as the user gave it, relative to the working directory of
	// the process. NAME.dockerignore beside it, if there, takes the place of the context's .dockerignore
	// (Dockerfile reference, ".dockerignore file"). "" or "-": the context's .dockerignore only.
	Dockerfile string
	// All shows all files: no .dockerignore is in force.
	All bool
	// Cache is the file that holds the stat cache of this context, "" for none.
	Cache string
	// Distrust reads every file that is asked for, whatever the stat cache says of it, and writes the
	// cache anew: a change through a memory mapping need not show in a file's times.
	Distrust bool
}

// Context is a build's context directory. It implements layer.Tree, may be used by several goroutines at
// once, and reads nothing until it is asked for something. Entries belong to 0:0, as the docker client
// sends them; regular files that share an inode are all of type File (see Capabilities); a socket is an empty
// file, as BuildKit makes one of it; character devices 0/0, which a layer would take for whiteouts, are left out.
type Context struct {
	dir   string
	root  *os.File // of dir; every path is opened beneath it
	rules *rules
	cache *statCache

	mu    sync.Mutex // guards what follows
	top   *node
	own   *lister
	sumMu sync.Mutex // held while files are hashed, so that no file is hashed twice

	now    func() time.Time  // the clock by which files are settled
	onRead func(path string) // called by tests between reading a file and looking at its times again
}

var _ layer.Tree = (*Context)(nil)

// Open opens the context in dir. It reads .dockerignore, nothing else. Close the context after use.
func Open(dir string, o Options) (*Context, error) {
	root, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open build context: %w; name a directory, or - for a tar on standard input", err)
	}
	c := &Context{dir: dir, root: root, cache: newStatCache(o.Cache, o.Distrust), now: time.Now}
	if o.All {
		c.rules, err = parseRules("", nil)
	} else {
		c.rules, err = readRules(dir, o.Dockerfile)
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	c.own = &lister{c: c}
	c.top = &node{more: &more{}}
	return c, nil
}

// Close saves the stat cache, if there is one and it changed, and closes the context.
func (c *Context) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.cache.save(c.top), c.root.Close())
}

// Ignored tells whether .dockerignore excludes a path, be it there or not. Unlike in Lookup, a directory
// is ignored even if an exception lets something below it through.
func (c *Context) Ignored(path string) bool {
	_, ok := c.IgnoredBy(path)
	return ok
}

// IgnoredBy returns the rule that excludes a path.
func (c *Context) IgnoredBy(path string) (Rule, bool) { return c.rules.excludedBy(path) }

// ReadFile reads a file of the context whether .dockerignore excludes it or not, as the builder may do with
// the Dockerfile and .dockerignore (Dockerfile reference, ".dockerignore file"). Symlinks are followed
// inside the context. Files larger than 16 MiB are refused.
func (c *Context) ReadFile(path string) ([]byte, error) {
	root, err := os.OpenRoot(c.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(path)
	if err != nil {
		return nil, leadsOut(err)
	}
	defer f.Close()
	return readBounded(f, 16<<20)
}

func readBounded(f *os.File, limit int64) ([]byte, error) {
	if st, err := f.Stat(); err != nil {
		return nil, err
	} else if !st.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: f.Name(), Err: errors.New("not a regular file")}
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = &fs.PathError{Op: "read", Path: f.Name(), Err: fmt.Errorf("larger than %d bytes", limit)}
	}
	return b, err
}

// Lookup implements layer.Tree. It lists the directories that lead to path, no others. Paths that
// .dockerignore excludes are not there.
func (c *Context) Lookup(_ context.Context, path string) (*layer.Entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.find(path)
	if err != nil {
		return nil, err
	}
	e := n.entry()
	return &e, nil
}

// ReadDir implements layer.Tree. Files that were hashed have their digests.
func (c *Context) ReadDir(_ context.Context, path string) ([]*layer.Entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.find(path)
	if err != nil {
		return nil, err
	}
	if n.kind() != layer.Dir {
		return nil, &fs.PathError{Op: "readdir", Path: path, Err: unix.ENOTDIR}
	}
	if err := c.own.list(n); err != nil {
		return nil, err
	}
	children := n.children()
	entries := make([]layer.Entry, 0, len(children))
	out := make([]*layer.Entry, 0, len(children))
	for i := range children {
		child := &children[i]
		ok, err := c.visible(child)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		entries = append(entries, child.entry())
		out = append(out, &entries[len(entries)-1])
	}
	return out, nil
}

// find returns the node of a path that COPY can see. c.mu is held.
func (c *Context) find(path string) (*node, error) {
	n := c.top
	if err := c.own.list(n); err != nil {
		return nil, err
	}
	for rest := path; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if n.kind() != layer.Dir {
			return nil, notExist(path)
		}
		if err := c.own.list(n); err != nil {
			return nil, err
		}
		if n = n.child(name); n == nil {
			return nil, notExist(path)
		}
	}
	if ok, err := c.visible(n); err != nil || !ok {
		return nil, errors.Join(err, notExist(path))
	}
	return n, nil
}

func notExist(path string) error {
	return &fs.PathError{Op: "lookup", Path: path, Err: fs.ErrNotExist}
}

// visible tells whether COPY can see a node: a directory that .dockerignore excludes is there only for the
// exceptions below it.
func (c *Context) visible(n *node) (bool, error) {
	if !n.hidden {
		return true, nil
	}
	if err := c.own.list(n); err != nil {
		return false, err
	}
	children := n.children()
	for i := range children {
		if ok, err := c.visible(&children[i]); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}
