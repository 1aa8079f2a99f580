package packages

import (
	"bufio"
	"bytes"
	"strings"

	"github.com/strata-build/strata/internal/look/timeline"
)

// Distribution is what os-release(5) says of an image.
type Distribution struct {
	ID       string `json:"id"`                 // debian
	Version  string `json:"version,omitempty"`  // VERSION_ID: 12; "" of one that rolls
	Codename string `json:"codename,omitempty"` // bookworm
	Name     string `json:"name,omitempty"`     // PRETTY_NAME
}

// maxOSRelease bounds os-release in bytes.
const maxOSRelease = 64 << 10

func isOSRelease(path string) bool { return path == "etc/os-release" || path == "usr/lib/os-release" }

// distribution reads the os-release that the image has at the end.
func (f *finder) distribution(t *timeline.Timeline) *Distribution {
	for _, path := range []string{"etc/os-release", "usr/lib/os-release"} {
		if f.osRelease[path] == nil {
			continue
		}
		e, _ := t.At(t.Find(path), t.Layers()-1)
		if e.Kind == timeline.Removed {
			continue
		}
		if d := parseOSRelease(f.osRelease[path][e.Layer]); d.ID != "" {
			return d
		}
	}
	return nil
}

func parseOSRelease(data []byte) *Distribution {
	d := &Distribution{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		key, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			d.ID = strings.ToLower(value)
		case "VERSION_ID":
			d.Version = value
		case "VERSION_CODENAME":
			d.Codename = value
		case "PRETTY_NAME":
			d.Name = value
		}
	}
	return d
}

// ecosystem is OSV's name (ossf.github.io/osv-schema, "Defined Ecosystems") of where a manager's packages come from.
func ecosystem(manager string, d *Distribution) string {
	switch manager {
	case "python":
		return "PyPI"
	case "npm":
		return "npm"
	case "go":
		return "Go"
	case "java":
		return "Maven"
	case "ruby":
		return "RubyGems"
	case "php":
		return "Packagist"
	case "rust":
		return "crates.io"
	}
	if d == nil {
		return ""
	}
	major, rest, _ := strings.Cut(d.Version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	switch d.ID {
	case "debian":
		if d.Version == "" {
			return "Debian:" + d.Codename // testing and unstable have no number
		}
		return "Debian:" + major
	case "ubuntu":
		return "Ubuntu:" + d.Version
	case "alpine":
		return "Alpine:v" + major + "." + minor
	case "wolfi":
		return "Wolfi"
	case "chainguard":
		return "Chainguard"
	case "rocky":
		return "Rocky Linux:" + major
	case "almalinux":
		return "AlmaLinux:" + major
	case "rhel", "centos":
		return "Red Hat:enterprise_linux:" + major
	case "opensuse-leap":
		return "openSUSE:Leap " + d.Version
	case "opensuse-tumbleweed":
		return "openSUSE:Tumbleweed"
	case "azurelinux":
		return "Azure Linux:" + major
	case "mageia":
		return "Mageia:" + major
	}
	return ""
}
