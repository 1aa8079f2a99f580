// Package packages reads which packages a file system has: out of the databases of Debian's, Alpine's and Red Hat's
// package managers, out of what the packages of Python, Node.js, Ruby and PHP carry with them, and out of Java archives
// and the programs of Go and Rust. A file that tells of packages in one way has a Form.
package packages

import (
	"cmp"
	"fmt"
	"io"
	"slices"
)

// Package is a package that is installed.
type Package struct {
	Manager string `json:"manager"` // dpkg, apk, rpm, python, npm, go, java, ruby, php or rust
	// Name is as its manager writes it: of Java GROUP:ARTIFACT, of npm and PHP with the scope or vendor, SCOPE/NAME.
	Name    string `json:"name"`
	Version string `json:"version"`
	Details
}

// Details are what else a file tells of a package; each is "" where it does not.
type Details struct {
	Architecture string `json:"architecture,omitempty"` // in the manager's terms: amd64, x86_64, noarch
	Licence      string `json:"licence,omitempty"`      // as the package says it, an SPDX expression at best
	// Source is the source package that this one was made of, where that has another name: Debian's Source, Alpine's
	// origin, the name in Red Hat's SOURCERPM. SourceVersion is its version, "" where that is the package's.
	Source        string `json:"source,omitempty"`
	SourceVersion string `json:"sourceVersion,omitempty"`
}

// Files is where packages are looked for: a layer, or the state of an image.
type Files interface {
	// Each calls visit for every path, as in layer.Entry.
	Each(visit func(path string, dir bool)) error
	// Open reads a regular file.
	Open(path string) (io.ReadCloser, error)
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

// List lists the packages that dpkg, apk and rpm have installed, and those of Python, with their names and versions: what
// is quick to tell. Files that cannot be had are an error; files that make no sense are in Unread, for they are the image's,
// and there is more to know about it.
func List(files Files) (Listing, error) {
	var l Listing
	var lists []string
	err := files.Each(func(name string, dir bool) {
		if dir {
			if name, version, ok := pythonDirectory(name); ok {
				l.Packages = append(l.Packages, Package{Manager: "python", Name: name, Version: version})
			}
		} else if f, ok := FormOf(name, 0, 0); ok && f.system {
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
	slices.SortFunc(l.Packages, Compared)
	l.Packages = slices.Compact(l.Packages)
	return l, nil
}

// Compared compares packages by manager, name and version, for sorting.
func Compared(a, b Package) int {
	return cmp.Or(compareNames(a, b), cmp.Compare(a.Version, b.Version))
}

// add adds what the list at a path says.
func (l *Listing) add(files Files, name string) error {
	f, err := files.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	form, _ := FormOf(name, 0, 0)
	list, unread, err := form.Read(name, f, -1)
	if err != nil {
		return err
	}
	if unread != nil {
		l.Unread = append(l.Unread, *unread)
	}
	for _, p := range list {
		l.Packages = append(l.Packages, Package{Manager: p.Manager, Name: p.Name, Version: p.Version})
	}
	return nil
}
