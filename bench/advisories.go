package main

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// manyAdvisories are made up, each of one of advisedPackages, among which are those of the image.
	manyAdvisories  = 200_000
	advisedPackages = 5000
)

// packages are the scenarios of what an image has installed, and of comparing that with advisories.
func (l *look) packages() []*scenario {
	return []*scenario{
		{name: "look: packages, tables of contents here", reach: 100 * time.Millisecond, command: func(ctx context.Context) *exec.Cmd {
			return l.strata.command(ctx, "packages", "bench/look")
		}},
		{name: "look: scan against 200,000 advisories", reach: 300 * time.Millisecond, before: l.importAdvisories, command: func(ctx context.Context) *exec.Cmd {
			return l.strata.command(ctx, "scan", "bench/look")
		}},
	}
}

// importAdvisories sees to it that the store has the advisories.
func (l *look) importAdvisories(ctx context.Context, _ builder, _ *scenario) error {
	if _, err := os.Stat(filepath.Join(l.strata.root, "vulnerabilities.db")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := l.strata.command(ctx, "packages", "--filter", "type=dpkg", "--format", "{{if .Source}}{{.Source}}{{else}}{{.Name}}{{end}}", "bench/look").Output()
	if err != nil {
		return err
	}
	names := strings.Fields(string(out))
	for len(names) < advisedPackages {
		names = append(names, fmt.Sprintf("source%d", len(names)))
	}
	file := filepath.Join(l.strata.root, "advisories.zip")
	defer os.Remove(file)
	if err := writeAdvisories(file, names); err != nil {
		return err
	}
	return run(l.strata.command(ctx, "vulndb", "import", file))
}

// writeAdvisories writes a zip as osv.dev has one of Debian 12. Every other advisory of a package is of versions before 999.
func writeAdvisories(file string, names []string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for i := range manyAdvisories {
		id := fmt.Sprintf("DEBIAN-CVE-2024-%d", i)
		w, err := z.Create(id + ".json")
		if err != nil {
			return err
		}
		fixed := "0.0.1"
		if i%2 == 0 {
			fixed = "999:1"
		}
		_, err = fmt.Fprintf(w, `{"id": %q, "upstream": ["CVE-2024-%d"], "modified": "2024-05-01T00:00:00Z", "details": "A flaw that was made up, of which there is a line to say.",
 "affected": [{"package": {"ecosystem": "Debian:12", "name": %q}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": %q}]}],
 "ecosystem_specific": {"urgency": "not yet assigned"}}]}`, id, i, names[i%len(names)], fixed)
		if err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	return f.Close()
}
