package packages

import (
	"bufio"
	"context"
	"io"
	"path"
	"strings"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/packages"
	"github.com/strata-build/strata/internal/look/timeline"
)

// maxList bounds the list of a package's files, in bytes, and that of all packages' files.
const maxList = 64 << 20

// owners finds out which packages of the distribution the files are part of that tell of other packages, as Debian's python3-six
// is a package of Python, too. Files where no distribution puts its own are not asked for.
func (f *finder) owners(ctx context.Context, t *timeline.Timeline, inv *Inventory) error {
	asked := map[string]string{} // owner by path
	for i := range inv.Packages {
		p := &inv.Packages[i]
		name := strings.TrimPrefix(p.Path, "/")
		switch first, _, _ := strings.Cut(name, "/"); {
		case p.Manager == "dpkg", p.Manager == "apk", p.Manager == "rpm", strings.HasPrefix(name, "usr/local/"):
		case first == "usr", first == "opt", first == "lib", first == "bin", first == "sbin":
			asked[name] = ""
		}
	}
	if len(asked) == 0 {
		return nil
	}
	for i := range f.im.Layers() {
		wanted := func(e *layer.Entry) bool {
			if form, ok := packages.FormOf(e.Path, 0, 0); ownerList(e.Path) == nil && (!ok || form.Manager != "rpm") {
				return false
			}
			last, ok := t.At(t.Find(e.Path), t.Layers()-1)
			return ok && last.Layer == i && last.Kind != timeline.Removed
		}
		err := f.im.Read(ctx, i, wanted, func(paths []string, _ *layer.Entry, r io.Reader) error {
			found := func(owner, file string) {
				if _, ok := asked[file]; ok && file != "" {
					asked[file] = owner
				}
			}
			next := ownerList(paths[0])
			if next == nil {
				return packages.RPMFiles(r, found)
			}
			lines := bufio.NewScanner(io.LimitReader(r, maxList))
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				found(next(lines.Text()))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for i := range inv.Packages {
		inv.Packages[i].Owner = asked[strings.TrimPrefix(inv.Packages[i].Path, "/")]
	}
	return nil
}

// ownerList gives, for a file that lists packages' files, what reads its lines: to whom a file belongs, "" for a line without one. It is
// nil for other files. The lists are dpkg's (dpkg -L), the checksums of distroless images, and Alpine's.
func ownerList(name string) func(line string) (owner, file string) {
	dir, base := path.Split(name)
	switch {
	case dir == "var/lib/dpkg/info/" && strings.HasSuffix(base, ".list"):
		owner, _, _ := strings.Cut(strings.TrimSuffix(base, ".list"), ":")
		return func(line string) (string, string) { return owner, strings.TrimPrefix(line, "/") }
	case dir == "var/lib/dpkg/status.d/" && strings.HasSuffix(base, ".md5sums"):
		owner := strings.TrimSuffix(base, ".md5sums")
		return func(line string) (string, string) {
			_, file, _ := strings.Cut(line, "  ")
			return owner, file
		}
	case name == "lib/apk/db/installed", name == "usr/lib/apk/db/installed":
		owner, folder := "", ""
		return func(line string) (string, string) {
			key, value, _ := strings.Cut(line, ":")
			switch key {
			case "P":
				owner = value
			case "F":
				folder = value
			case "R":
				return owner, path.Join(folder, value)
			}
			return "", ""
		}
	}
	return nil
}
