// Package packages reads which packages a file system has, out of the databases of Debian's, Alpine's and Red Hat's
// package managers and from the metadata that Python's packages carry.
package packages

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/strata-build/strata/internal/layer/packages/rpmdb"
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

// maxDatabase bounds how much of a package manager's list is read, in bytes. Debian's has 1 MB for 1,000 packages,
// RPM's 33 MB for 400: it holds the packages' files, too.
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
	case dir == "var/lib/rpm/", dir == "usr/lib/sysimage/rpm/":
		if base == "rpmdb.sqlite" || base == "Packages.db" || base == "Packages" {
			return database{"rpm", readRPM}, true
		}
	}
	return database{}, false
}

// Listing is what a file system has installed.
type Listing struct {
	// Packages are in the order of manager and name. One that is there in several versions, as Python allows in several
	// directories and RPM with kernels, comes several times.
	Packages []Package
	Unread   []Unread
}

// Unread is a package manager's list that is there and makes no sense. None of its packages is listed.
type Unread struct {
	Manager string
	Path    string // as in layer.Entry
	Err     error
}

func (u Unread) String() string {
	return fmt.Sprintf("what %s has installed is not known: reading /%s: %v", u.Manager, u.Path, u.Err)
}

// List lists the packages. Files that cannot be had are an error; files that make no sense are in Unread, for they
// are the image's, and there is more to know about it.
func List(files Files) (Listing, error) {
	var l Listing
	var lists []string
	err := files.Each(func(name string, dir bool) {
		if dir {
			if name, version, ok := pythonPackage(name); ok {
				l.Packages = append(l.Packages, Package{"python", name, version})
			}
		} else if _, ok := databaseAt(name); ok {
			lists = append(lists, name)
		}
	})
	if err != nil {
		return Listing{}, err
	}
	for _, name := range lists {
		if err := l.add(files, name); err != nil {
			return Listing{}, fmt.Errorf("reading /%s: %w", name, err)
		}
	}
	slices.SortFunc(l.Packages, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Manager, b.Manager), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	l.Packages = slices.Compact(l.Packages)
	return l, nil
}

// add adds what the list at a path says.
func (l *Listing) add(files Files, name string) error {
	f, err := files.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	d, _ := databaseAt(name)
	r := &reader{Reader: io.LimitReader(f, maxDatabase)}
	var list []Package
	err = d.read(r, func(name, version string) { list = append(list, Package{d.manager, name, version}) })
	switch {
	case r.err != nil:
		return r.err
	case err != nil:
		l.Unread = append(l.Unread, Unread{d.manager, name, err})
	default:
		l.Packages = append(l.Packages, list...)
	}
	return nil
}

// reader remembers the error of a file that cannot be read, which is none of its contents.
type reader struct {
	io.Reader
	err error
}

// Read implements io.Reader.
func (r *reader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// readRPM reads RPM's database, all of it at once: it points from anywhere to anywhere.
func readRPM(r io.Reader, found func(name, version string)) error {
	db, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if len(db) == maxDatabase {
		return fmt.Errorf("the database is larger than %d MiB", maxDatabase>>20)
	}
	return rpmdb.Packages(db, found)
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
