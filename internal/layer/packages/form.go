package packages

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Form is a way in which a file tells of packages.
type Form struct {
	// Manager is whose it is, as in Package.
	Manager string
	// system says that a package manager lists in it what the whole file system has.
	system bool
	read   func(*input) ([]Package, error)
}

// maxFile bounds how much of a file is read, in bytes. Debian's list has 1 MB for 1,000 packages, RPM's 33 MB for 400: it
// holds the packages' files, too. Of Java archives and programs that can be read at any place no more is read than what is
// asked for.
const maxFile = 64 << 20

// maxPackages is how many packages a file tells of at most.
const maxPackages = 100_000

// input is a file that tells of packages.
type input struct {
	path string // as in layer.Entry
	r    *reader
	size int64 // in bytes, -1 where it is not known
}

// FormOf tells by the path of a regular file, its mode and its size in bytes in which form it tells of packages; false if it
// tells of none. A mode of 0 is no program's.
func FormOf(name string, mode uint32, size int64) (Form, bool) {
	dir, base := path.Split(name)
	switch {
	case name == "var/lib/dpkg/status", dir == "var/lib/dpkg/status.d/" && !strings.HasSuffix(base, ".md5sums"):
		// The directory is that of images without a package manager (distroless): a file for each package.
		return Form{"dpkg", true, readDpkg}, true
	case name == "lib/apk/db/installed", name == "usr/lib/apk/db/installed":
		return Form{"apk", true, readApk}, true
	case dir == "var/lib/rpm/", dir == "usr/lib/sysimage/rpm/":
		if base == "rpmdb.sqlite" || base == "Packages.db" || base == "Packages" {
			return Form{"rpm", true, readRPM}, true
		}
	case base == "METADATA", base == "PKG-INFO", strings.HasSuffix(base, ".egg-info"):
		if isPythonMetadata(name) {
			return Form{"python", false, readPython}, true
		}
	case base == "package.json":
		if isNPM(dir) {
			return Form{"npm", false, readNPM}, true
		}
	case strings.HasSuffix(base, ".gemspec"):
		if isGemspec(dir) {
			return Form{"ruby", false, readGemspec}, true
		}
	case base == "installed.json":
		if strings.HasSuffix(dir, "vendor/composer/") {
			return Form{"php", false, readComposer}, true
		}
	case isJavaArchive(base):
		return Form{"java", false, readJava}, true
	}
	if manager := unreadForm(name); manager != "" {
		return Form{Manager: manager}, true
	}
	if mode&0o111 != 0 && size >= minProgram {
		return Form{"go", false, readProgram}, true
	}
	return Form{}, false
}

// unreadForm names the package manager of a list that is not read.
func unreadForm(name string) string {
	dir, base := path.Split(name)
	switch {
	case base == "desc" && strings.HasPrefix(dir, "var/lib/pacman/local/"):
		return "pacman"
	case strings.HasPrefix(name, "var/db/pkg/") && base == "PF":
		return "portage"
	case name == "nix/var/nix/db/db.sqlite":
		return "nix"
	case name == "usr/lib/opkg/status", name == "var/lib/opkg/status":
		return "opkg"
	case strings.HasSuffix(dir, "/conda-meta/") && strings.HasSuffix(base, ".json"):
		return "conda"
	case strings.HasSuffix(base, ".deps.json"):
		return "dotnet"
	case dir == "var/lib/snapd/snaps/":
		return "snap"
	}
	return ""
}

// Read reads what a file tells, of which size are the bytes, -1 where that is not known. What the file says that makes no sense
// is in unread; an error is one of reading r. A reader that is an io.ReaderAt, too, is read in parts where the form allows it.
func (f Form) Read(name string, r io.Reader, size int64) (list []Package, unread *Unread, err error) {
	if f.read == nil {
		return nil, &Unread{f.Manager, name, errors.New("strata does not read this form")}, nil
	}
	in := &input{name, newReader(r, maxFile), size}
	list, err = f.read(in)
	switch {
	case in.r.err != nil:
		return nil, nil, in.r.err
	case err == nil && len(list) > maxPackages:
		err = fmt.Errorf("it tells of more than %d packages", maxPackages)
	}
	if err != nil {
		return nil, &Unread{f.Manager, name, err}, nil
	}
	return list, nil, nil
}

// reader remembers the error of a file that cannot be read, which is none of its contents, and ends with an error where the file
// is larger than what is read of one.
type reader struct {
	io.Reader
	most, left int64 // bytes that are read, and that may still be
	err        error
}

func newReader(r io.Reader, most int64) *reader { return &reader{Reader: r, most: most, left: most} }

// limit sets another limit before anything is read.
func (in *input) limit(most int64) { in.r.most, in.r.left = most, most }

// Read implements io.Reader.
func (r *reader) Read(b []byte) (int, error) {
	if r.left <= 0 {
		return 0, fmt.Errorf("it is larger than %d MiB", r.most>>20)
	}
	n, err := r.Reader.Read(b[:min(int64(len(b)), r.left)])
	r.left -= int64(n)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// all reads the whole file.
func (in *input) all() ([]byte, error) { return io.ReadAll(in.r) }

// anywhere gives the file to those who read it in parts: as it is, where it can be read so, or all of it in memory.
func (in *input) anywhere() (io.ReaderAt, int64, error) {
	if at, ok := in.r.Reader.(io.ReaderAt); ok && in.size > 0 {
		if _, err := at.ReadAt(make([]byte, 1), 0); !errors.Is(err, errors.ErrUnsupported) {
			return &partReader{at, in.r}, in.size, nil
		}
	}
	data, err := in.all()
	return bytes.NewReader(data), int64(len(data)), err
}

// partReader is reader for an io.ReaderAt.
type partReader struct {
	at io.ReaderAt
	r  *reader
}

// ReadAt implements io.ReaderAt.
func (p *partReader) ReadAt(b []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, io.ErrUnexpectedEOF // what the file says of itself is wrong, not its reading
	}
	n, err := p.at.ReadAt(b, offset)
	if err != nil && err != io.EOF {
		p.r.err = err
	}
	return n, err
}
