package changes

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/strata-build/strata/internal/layer"
)

// maxDatabase bounds how much of a package manager's list is read, in bytes. Debian's has 1 MB for 1,000 packages.
const maxDatabase = 64 << 20

// packages gives the versions of the packages that a layer brings, by name: Python's by the names of their
// directories, Debian's and Alpine's by the package manager's list, which holds all packages of the image.
func packages(source layer.Source, t *layer.TOC) (map[string]string, error) {
	found := map[string]string{}
	for _, e := range t.Entries {
		switch e.Type {
		case layer.Dir:
			if name, version, ok := pythonPackage(e.Path); ok {
				found[name] = version
			}
		case layer.File, layer.Hardlink:
			name, version := "", ""
			switch {
			case e.Path == "var/lib/dpkg/status":
				name, version = "Package: ", "Version: "
			case e.Path == "lib/apk/db/installed" || e.Path == "usr/lib/apk/db/installed":
				name, version = "P:", "V:"
			default:
				continue
			}
			if err := readDatabase(source, resolve(t, e), name, version, found); err != nil {
				return nil, fmt.Errorf("reading /%s: %w", e.Path, err)
			}
		}
	}
	return found, nil
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

// readDatabase reads a list of packages: paragraphs of lines, where one begins with name and one with version.
func readDatabase(source layer.Source, e *layer.Entry, name, version string, found map[string]string) error {
	r, err := source.Open(e)
	if err != nil {
		return err
	}
	defer r.Close()
	lines := bufio.NewScanner(io.LimitReader(r, maxDatabase))
	lines.Buffer(nil, 1<<20)
	current := ""
	for lines.Scan() {
		line := lines.Text()
		if rest, ok := strings.CutPrefix(line, name); ok {
			current = rest
		} else if strings.HasPrefix(line, "Status: ") && !strings.HasSuffix(line, " installed") {
			current = "" // dpkg's, of a package of which only the configuration is left
		} else if rest, ok := strings.CutPrefix(line, version); ok && current != "" {
			found[current] = rest
		} else if line == "" {
			current = ""
		}
	}
	return lines.Err()
}
