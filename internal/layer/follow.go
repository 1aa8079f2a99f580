package layer

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
)

// MaxLinks is how many symbolic links one path may lead through: as many as BuildKit, containerd and runc follow in a
// root (maxSymlinkLimit in their copies of filepath-securejoin). The kernel itself stops at 40 (path_resolution(7)).
const MaxLinks = 255

// LinksError says that a path leads through more than MaxLinks symbolic links, or that these are too long.
type LinksError struct{ Path string }

func (e *LinksError) Error() string {
	return fmt.Sprintf("/%s: too many levels of symbolic links", clip(e.Path))
}

// Follow goes down a path, component by component, as the kernel does in a chroot, and returns where it leads. The path
// may begin with "/" and hold ".."; in the root, ".." stays there. visit is called with the path of each component, in
// which no symbolic link is left but the last component, and with what is to come after it. It returns the target
// of a symbolic link that is to be followed, and "" for everything else; its error ends the walk and is returned.
// A path through too many links gives a *LinksError.
func Follow(path string, visit func(at, rest string) (link string, err error)) (string, error) {
	at, rest := "", path
	for links := 0; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			at = Parent(at)
			continue
		}
		next := join(at, name)
		link, err := visit(next, rest)
		if err != nil {
			return "", err
		}
		if link == "" {
			at = next
			continue
		}
		if links++; links > MaxLinks || len(link)+len(rest) > 4*MaxPath {
			return "", &LinksError{strings.TrimLeft(path, "/")}
		}
		rest = link + "/" + rest
		if strings.HasPrefix(link, "/") {
			at = ""
		}
	}
	return at, nil
}

// Resolve follows a path, which may begin with "/" and hold "..", through all symbolic links as a chroot at the tree's
// root would, and returns where it leads and the entry there. The last component is followed too.
// Nothing there is fs.ErrNotExist; too many links are a *LinksError.
func Resolve(ctx context.Context, t Tree, path string) (string, *Entry, error) {
	at, err := Follow(path, func(at, rest string) (string, error) {
		e, err := t.Lookup(ctx, at)
		switch {
		case err != nil:
			return "", err
		case e.Type == Symlink:
			return e.Link, nil
		case e.Type != Dir && strings.Trim(rest, "/") != "":
			return "", &fs.PathError{Op: "resolve", Path: path, Err: fs.ErrNotExist}
		}
		return "", nil
	})
	if err != nil {
		return "", nil, err
	}
	e, err := t.Lookup(ctx, at)
	return at, e, err
}
