package packages

import (
	"bufio"
	"strings"
)

// readDpkg reads Debian's list (deb-control(5), dpkg's status file): paragraphs of fields.
func readDpkg(in *input) ([]Package, error) {
	return paragraphs(in, "Package: ", func(p *Package, line string) bool {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "Package":
			p.Name = value
		case "Version":
			p.Version = value
		case "Architecture":
			p.Architecture = value
		case "Source":
			name, version, _ := strings.Cut(value, " (")
			p.Source, p.SourceVersion = name, strings.TrimSuffix(version, ")")
		case "Status":
			return strings.HasSuffix(value, " installed") // else only the configuration is left, or less
		}
		return true
	}, "dpkg")
}

// readApk reads Alpine's list (apk-installed, wiki.alpinelinux.org/wiki/Apk_spec): paragraphs of lines with a letter each.
func readApk(in *input) ([]Package, error) {
	return paragraphs(in, "P:", func(p *Package, line string) bool {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "P":
			p.Name = value
		case "V":
			p.Version = value
		case "A":
			p.Architecture = value
		case "L":
			p.Licence = value
		case "o":
			if value != p.Name {
				p.Source = value
			}
		}
		return true
	}, "apk")
}

// paragraphs reads a list of paragraphs, of which each begins with first or goes on until an empty line. field takes a line;
// false says that the paragraph is of no package that is installed.
func paragraphs(in *input, first string, field func(p *Package, line string) bool, manager string) ([]Package, error) {
	lines := bufio.NewScanner(in.r)
	lines.Buffer(nil, 1<<20)
	var list []Package
	p, installed := Package{Manager: manager}, true
	end := func() {
		if installed && p.Name != "" && p.Version != "" {
			list = append(list, p)
		}
		p, installed = Package{Manager: manager}, true
	}
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line == "", p.Name != "" && strings.HasPrefix(line, first):
			end()
		}
		if line != "" && line[0] != ' ' && !field(&p, line) {
			installed = false
		}
	}
	end()
	return list, lines.Err()
}
