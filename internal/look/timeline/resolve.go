package timeline

import (
	"fmt"
	"path"
	"strings"

	"github.com/strata-build/strata/internal/layer"
)

// maxLinks is how many symbolic links one path may lead through, as in the kernel (path_resolution(7)).
const maxLinks = 40

// Resolve finds the node of a path that a person wrote, which may begin with "/", hold ".." and lead through symbolic links to
// directories, as these are at a layer. The last component is not followed. None where no layer ever had it.
func (t *Timeline) Resolve(name string, top int) (Node, error) {
	rest := clean(name)
	resolved := Root
	for links := 0; rest != ""; {
		var first string
		first, rest, _ = strings.Cut(rest, "/")
		next := t.childNamed(resolved, first)
		if next == None {
			return None, nil
		}
		e, ok := t.At(next, top)
		if rest == "" || !ok || e.Kind == Removed || e.Type != layer.Symlink {
			resolved = next
			continue
		}
		if links++; links > maxLinks {
			return None, fmt.Errorf("/%s: too many levels of symbolic links in the image", clean(name))
		}
		target := e.Link
		if !path.IsAbs(target) {
			target = path.Join("/", t.Path(resolved), target)
		}
		resolved, rest = Root, clean(target+"/"+rest)
	}
	return resolved, nil
}

// clean is a path as the nodes have it.
func clean(name string) string { return strings.Trim(path.Clean("/"+name), "/") }
