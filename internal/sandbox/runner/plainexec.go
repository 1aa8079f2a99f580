package runner

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// A program cannot be executed for who asks, as a file can be opened. So where one executes /proc/self/exe, as node, Go's
// tools and busybox do, or a descriptor in /proc/self/fd, the step's root gets a link of that name to the program, and the
// call goes on as it is: in the root's own /proc, which the step's end takes away.

// pointers are the links in a step's /proc.
type pointers struct {
	to   map[string]string
	last time.Time // when one was made
}

// settled is how long a call may take, once it was answered, to look a link up.
const settled = 50 * time.Millisecond

// execute has the call go on with a link in its place.
func (a *answerer) execute(*pathCall) (int64, error) {
	name := path.Clean(a.found.name)
	if !strings.HasPrefix(name, "/proc/") {
		return 0, errNotOurs
	}
	target := ""
	err := a.as(a.who, func() (err error) { target, err = readlink(a.found.file); return err })
	if err != nil {
		return 0, errNotOurs
	}
	if inside, ok := a.inside(target); ok {
		_ = a.pointers.point(a.rootPath, name[1:], inside) // without, the kernel says that there is no such file
	}
	return 0, errNotOurs
}

// point makes a link in the root, which is left no more than other names in it, whatever a step made of its /proc.
func (p *pointers) point(rootPath, name, to string) error {
	if p.to[name] == to {
		return nil
	}
	root, err := os.OpenRoot(rootPath)
	if err != nil {
		return err
	}
	defer root.Close()
	if _, ok := p.to[name]; ok { // one that another process may just be looking up
		time.Sleep(time.Until(p.last.Add(settled)))
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := root.Symlink(to, name); err != nil {
		return err
	}
	if p.to == nil {
		p.to = map[string]string{}
	}
	p.to[name], p.last = to, time.Now()
	return nil
}
