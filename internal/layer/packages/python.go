package packages

import (
	"bufio"
	"errors"
	"path"
	"strings"
)

// pythonDirectory reads the directory of a package's metadata: site-packages/pip-23.0.1.dist-info (PEP 376), or
// dist-packages, or .egg-info.
func pythonDirectory(dir string) (name, version string, ok bool) {
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

// isPythonMetadata says that a file is the metadata of a package that is installed: METADATA in a .dist-info directory, PKG-INFO in an
// .egg-info directory, or a file in its place as Debian has it.
func isPythonMetadata(name string) bool {
	dir, base := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	switch {
	case base == "METADATA" && strings.HasSuffix(dir, ".dist-info"), base == "PKG-INFO" && strings.HasSuffix(dir, ".egg-info"):
		dir = path.Dir(dir)
	case !strings.HasSuffix(base, ".egg-info"):
		return false
	}
	last := path.Base(dir)
	return last == "site-packages" || last == "dist-packages"
}

// readPython reads the headers of a package's metadata (packaging.python.org, "Core metadata specifications").
func readPython(in *input) ([]Package, error) {
	lines := bufio.NewScanner(in.r)
	lines.Buffer(nil, 1<<20)
	p, classifier := Package{Manager: "python"}, ""
	for lines.Scan() && lines.Text() != "" {
		key, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(key) {
		case "name":
			p.Name = value
		case "version":
			p.Version = value
		case "license-expression":
			p.Licence = value
		case "license":
			// Some have the whole text there, of which this is the first line.
			if p.Licence == "" && value != "UNKNOWN" && len(value) < 100 {
				p.Licence = value
			}
		case "classifier":
			if rest, ok := strings.CutPrefix(value, "License :: "); ok && classifier == "" {
				_, classifier = cutLast(rest, " :: ")
			}
		}
	}
	if p.Licence == "" {
		p.Licence = classifier
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if p.Name == "" || p.Version == "" {
		return nil, errors.New("it has no name or no version")
	}
	return []Package{p}, nil
}
