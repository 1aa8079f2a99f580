// Command licenses prints the licences of strata and of all that is linked into it, in the form of Debian's copyright
// files (https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/). Packages install it as
// /usr/share/doc/strata/copyright; in the tarballs it is THIRD_PARTY_LICENSES.
//
// The modules are those that go list finds below ./cmd/strata, for each architecture that is released; their licences
// are the files in the module cache. C libraries are linked statically: their licences are those of the Debian
// packages.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

func main() {
	tags := flag.String("tags", "", "build tags, those of the Makefile")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, *tags); err != nil {
		fmt.Fprintln(os.Stderr, "licenses:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, tags string) error {
	parts, err := linked(ctx, tags)
	if err != nil {
		return err
	}
	if err := check(parts); err != nil {
		return err
	}
	_, err = io.WriteString(w, format(parts))
	return err
}

// A part is something that is linked into strata, and the files that say under which terms: all of them hold.
type part struct {
	name  string // module@version, or what a C library is called
	texts []text
}

// A text is a file with a licence, or with notices that have to be passed on.
type text struct {
	file    string // its name alone
	content string
	license string // SPDX identifier; "" for notices, and for what is not known
}

const header = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: strata
Source: https://github.com/strata-build/strata
Comment: strata is linked statically with the Go modules and C libraries below.
 glibc and libseccomp are under the LGPL: strata can be linked with other
 versions of them, with "make static" in its source.

Files: *
Copyright: 2026 The strata authors
License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0. In the
 source and the tarballs it is the file LICENSE.
`

// format writes one paragraph for each distinct text, with all the parts that come with it.
func format(parts []part) string {
	owners := map[string][]string{}
	byContent := map[string]text{}
	var order []string
	for _, p := range parts {
		for _, t := range p.texts {
			if owners[t.content] == nil {
				order = append(order, t.content)
				byContent[t.content] = t
			}
			owners[t.content] = append(owners[t.content], p.name)
		}
	}
	var b strings.Builder
	b.WriteString(header)
	for _, content := range order {
		t := byContent[content]
		license := t.license
		if license == "" {
			license = "notices"
		}
		fmt.Fprintf(&b, "\nFiles: %s\nCopyright: %s\nLicense: %s\n", strings.Join(slices.Compact(owners[content]), "\n "),
			strings.Join(holders(content), "\n "), license)
		for line := range strings.Lines(content) {
			if line = strings.TrimRight(line, " \t\r\n\f"); line == "" {
				line = "."
			}
			fmt.Fprintf(&b, " %s\n", line)
		}
	}
	return b.String()
}

// holderLine is a line that says who has the copyright. A line of a licence that speaks of copyright in general has no
// year.
var holderLine = regexp.MustCompile(`(?im)^[\s*#]*(copyright .*(?:\d{4}|authors).*)$`)

func holders(content string) []string {
	var found []string
	for _, m := range holderLine.FindAllStringSubmatch(content, -1) {
		if line := strings.TrimSpace(m[1]); !slices.Contains(found, line) {
			found = append(found, line)
		}
	}
	if found == nil {
		return []string{"its authors, see the source"}
	}
	return found
}
