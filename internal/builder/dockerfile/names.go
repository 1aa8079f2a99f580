package dockerfile

import (
	"cmp"
	"path"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// Names are what a command line can name of a Dockerfile, each once and in the order of the file.
type Names struct {
	Stages  []string // of --target: those with AS
	Args    []string // of --build-arg
	Secrets []string // ids of --secret
	SSH     []string // ids of --ssh
}

// Names reads the names off the file alone: no image is asked for, and what a variable stands for stays open.
func (f *File) Names() Names {
	var n Names
	for _, a := range f.globalArgs {
		n.declare(&a)
	}
	for _, s := range f.stages {
		n.Stages = appendNew(n.Stages, s.Name)
		for _, c := range s.Commands {
			switch c := c.(type) {
			case *instructions.ArgCommand:
				n.declare(c)
			case *instructions.RunCommand:
				n.mount(f, c)
			}
		}
	}
	return n
}

func (n *Names) declare(c *instructions.ArgCommand) {
	for _, a := range c.Args {
		n.Args = appendNew(n.Args, a.Key)
	}
}

func (n *Names) mount(f *File, c *instructions.RunCommand) {
	mounts, err := f.rawMounts(c, func(word string) (string, error) { return word, nil })
	if err != nil {
		return
	}
	for _, m := range mounts {
		switch m.Type {
		case MountSecret:
			n.Secrets = appendNew(n.Secrets, cmp.Or(m.Source, m.CacheID, path.Base(m.Target)))
		case MountSSH:
			n.SSH = appendNew(n.SSH, cmp.Or(m.CacheID, "default"))
		}
	}
}

func appendNew(list []string, name string) []string {
	if name == "" || slices.Contains(list, name) {
		return list
	}
	return append(list, name)
}
