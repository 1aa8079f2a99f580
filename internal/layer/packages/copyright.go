package packages

import (
	"bufio"
	"io"
	"slices"
	"strings"
)

// maxCopyright bounds a copyright file in bytes, and maxLicences how many licences are told of one. The kernel's has 70 KB, Chromium's
// 2 MB and 60 licences.
const (
	maxCopyright = 8 << 20
	maxLicences  = 30
)

// debianLicences are SPDX's identifiers for the short names of Debian's copyright files, where these are others.
var debianLicences = map[string]string{
	"Expat": "MIT", "Apache-2": "Apache-2.0", "Artistic": "Artistic-1.0-Perl", "BSD-2-clause": "BSD-2-Clause", "BSD-3-clause": "BSD-3-Clause",
	"BSD-4-clause": "BSD-4-Clause", "BSD-2": "BSD-2-Clause", "BSD-3": "BSD-3-Clause", "expat": "MIT", "GPL-1": "GPL-1.0-only", "GPL-1+": "GPL-1.0-or-later", "GPL-2": "GPL-2.0-only", "GPL-2+": "GPL-2.0-or-later",
	"GPL-3": "GPL-3.0-only", "GPL-3+": "GPL-3.0-or-later", "LGPL-2": "LGPL-2.0-only", "LGPL-2+": "LGPL-2.0-or-later",
	"LGPL-2.1": "LGPL-2.1-only", "LGPL-2.1+": "LGPL-2.1-or-later", "LGPL-3": "LGPL-3.0-only", "LGPL-3+": "LGPL-3.0-or-later",
	"GFDL-1.3": "GFDL-1.3-only", "GFDL-1.3+": "GFDL-1.3-or-later", "MPL-2": "MPL-2.0", "CC0": "CC0-1.0", "PSF-2": "PSF-2.0", "zlib": "Zlib",
}

// DebianLicence reads the licences of a package out of its copyright file, if that can be read by programs (Debian's "Machine-readable
// debian/copyright file", 1.0); "" if not. It is the licences of all its files, joined with AND, of which the machine knows only
// the short names.
func DebianLicence(r io.Reader) (string, error) {
	in := newReader(r, maxCopyright)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	var all []string
	machine := false
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(key) {
		case "format", "format-specification":
			machine = true
		case "license":
			if !machine || value == "" || len(all) == maxLicences || len(value) > 100 {
				continue
			}
			if name := spdxOfDebian(value); !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	return strings.Join(all, " AND "), in.err
}

// spdxOfDebian makes an SPDX expression of "GPL-2+ or Artistic", as far as Debian's names have one.
func spdxOfDebian(text string) string {
	words := strings.Fields(strings.ReplaceAll(text, ",", " "))
	several := false
	for i, w := range words {
		switch strings.ToLower(w) {
		case "and", "or":
			words[i], several = strings.ToUpper(w), true
		default:
			if id, ok := debianLicences[w]; ok {
				words[i] = id
			}
		}
	}
	text = strings.Join(words, " ")
	if several {
		return "(" + text + ")"
	}
	return text
}
