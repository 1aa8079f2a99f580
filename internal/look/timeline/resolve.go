package timeline

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/strata-build/strata/internal/layer"
)

// Resolve finds the node of a path that a person wrote, which may begin with "/", hold ".." and lead through symbolic
// links to directories, as these are at a layer. The last component is not followed. None where no layer ever had it.
func (t *Timeline) Resolve(name string, top int) (Node, error) {
	n, err := t.resolve(name, top, false)
	if errors.Is(err, fs.ErrNotExist) {
		return None, nil
	}
	return n, err
}

// Follow is Resolve that follows the last component too. A path that is not there at the layer is a *fs.PathError with
// the path that it leads to and fs.ErrNotExist.
func (t *Timeline) Follow(name string, top int) (Node, error) {
	n, err := t.resolve(name, top, true)
	if err != nil {
		return None, err
	}
	if e, ok := t.At(n, top); !ok || e.Kind == Removed {
		return None, notExist(t.Path(n))
	}
	return n, nil
}

func (t *Timeline) resolve(name string, top int, last bool) (Node, error) {
	at, err := layer.Follow(clean(name), func(at, rest string) (string, error) {
		n := t.Find(at)
		if n == None {
			return "", notExist(path.Join(at, rest))
		}
		e, ok := t.At(n, top)
		if !ok || e.Kind == Removed || e.Type != layer.Symlink || rest == "" && !last {
			return "", nil
		}
		return e.Link, nil
	})
	if links := (*layer.LinksError)(nil); errors.As(err, &links) {
		err = fmt.Errorf("%w in the image", err)
	}
	if err != nil {
		return None, err
	}
	return t.Find(at), nil
}

func notExist(path string) error {
	return &fs.PathError{Op: "resolve", Path: path, Err: fs.ErrNotExist}
}

// clean is a path as the nodes have it.
func clean(name string) string { return strings.Trim(path.Clean("/"+name), "/") }
