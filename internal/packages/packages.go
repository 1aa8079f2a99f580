// Package packages reads which packages a file system has, out of the databases of Debian's, Alpine's and Red Hat's package
// managers and from the metadata that Python's packages carry.
package packages

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Package is a package that is installed.
type Package struct {
	Manager string `json:"manager"` // dpkg, apk, rpm or python
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Files is where packages are looked for: a layer, or the state of an image.
type Files interface {
	// Each calls visit for every path, as in layer.Entry.
	Each(visit func(path string, dir bool)) error
	// Open reads a regular file.
	Open(path string) (io.ReadCloser, error)
}

// maxDatabase bounds how much of a package manager's list is read, in bytes. Debian's has 1 MB for 1,000 packages.
const maxDatabase = 64 << 20

// database is a package manager's list of what is installed.
type database struct {
	manager string
	read    func(r io.Reader, found func(name, version string)) error
}

// databaseAt tells which list a path is, if any.
func databaseAt(name string) (database, bool) {
	switch dir, base := path.Split(name); {
	case name == "var/lib/dpkg/status", dir == "var/lib/dpkg/status.d/" && !strings.HasSuffix(base, ".md5sums"):
		// The directory is that of images without a package manager (distroless): a file for each package.
		return database{"dpkg", paragraphs("Package: ", "Version: ")}, true
	case name == "lib/apk/db/installed", name == "usr/lib/apk/db/installed":
		return database{"apk", paragraphs("P:", "V:")}, true
	}
	return database{}, false
}

// List lists the packages, in the order of manager and name. A package that is there in several versions, as Python
// allows in several directories, comes several times.
func List(files Files) ([]Package, error) {
	var list []Package
	var lists []string
	err := files.Each(func(name string, dir bool) {
		if dir {
			if name, version, ok := pythonPackage(name); ok {
				list = append(list, Package{"python", name, version})
			}
		} else if _, ok := databaseAt(name); ok {
			lists = append(lists, name)
		}
	})
	if err != nil {
		return nil, err
	}
	for _, name := range lists {
		d, _ := databaseAt(name)
		err := readList(files, name, d, func(p Package) { list = append(list, p) })
		if err != nil {
			return nil, fmt.Errorf("reading /%s: %w", name, err)
		}
	}
	slices.SortFunc(list, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Manager, b.Manager), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	return slices.Compact(list), nil
}

func readList(files Files, name string, d database, found func(Package)) error {
	r, err := files.Open(name)
	if err != nil {
		return err
	}
	defer r.Close()
	return d.read(io.LimitReader(r, maxDatabase), func(name, version string) { found(Package{d.manager, name, version}) })
}

// pythonPackage reads the directory of a package's metadata: site-packages/pip-23.0.1.dist-info (PEP 376), or
// dist-packages, or .egg-info.
func pythonPackage(dir string) (name, version string, ok bool) {
	parent, base := path.Split(dir)
	if p := path.Base(parent); p != "site-packages" && p != "dist-packages" {
		return "", "", false
	}
	stem, ok := strings.CutSuffix(base, ".dist-info")
	if !ok {
		if stem, ok = strings.CutSuffix(base, ".egg-info"); !ok {
			return "", "", false
		}
	}
	name, version, ok = strings.Cut(stem, "-")
	return name, version, ok && name != "" && version != ""
}

// paragraphs reads a list of paragraphs of lines, where one begins with name and one with version.
func paragraphs(name, version string) func(io.Reader, func(name, version string)) error {
	return func(r io.Reader, found func(name, version string)) error {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		current := ""
		for lines.Scan() {
			line := lines.Text()
			if rest, ok := strings.CutPrefix(line, name); ok {
				current = rest
			} else if strings.HasPrefix(line, "Status: ") && !strings.HasSuffix(line, " installed") {
				current = "" // dpkg's, of a package of which only the configuration is left
			} else if rest, ok := strings.CutPrefix(line, version); ok && current != "" {
				found(current, rest)
			} else if line == "" {
				current = ""
			}
		}
		return lines.Err()
	}
}
