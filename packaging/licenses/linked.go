package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// architectures are those that are released. What is linked differs between them.
var architectures = []string{"amd64", "arm64"}

// main module of strata; its own licence is in the header.
const ownModule = "github.com/strata-build/strata"

// licenceFile is a name under which licences and notices are found. Those of documents and logos are left out: neither is
// linked.
var (
	licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|unlicense|patents)([.-].*)?$`)
	notLinked   = regexp.MustCompile(`(?i)[.-](docs|logo)$`)
)

type listed struct {
	Dir    string
	Module *struct {
		Path, Version, Dir string
		Replace            *struct{ Version string }
	}
}

// own says whether a package is part of this repository: of its module, or of a module that a folder here replaces.
func (p *listed) own() bool {
	m := p.Module
	return m.Path == ownModule || m.Replace != nil && m.Replace.Version == ""
}

// linked returns what is linked into ./cmd/strata, in the order of the names: Go's own packages, the modules, and the C
// libraries. A module's texts are those in the folders of its packages, and above them.
func linked(ctx context.Context, tags string) ([]part, error) {
	modules := map[string]*part{}
	for _, arch := range architectures {
		packages, err := list(ctx, tags, arch)
		if err != nil {
			return nil, err
		}
		for _, p := range packages {
			if p.Module == nil || p.own() {
				continue
			}
			name := p.Module.Path + "@" + p.Module.Version
			if modules[name] == nil {
				modules[name] = &part{name: name}
			}
			for dir := p.Dir; strings.HasPrefix(dir, p.Module.Dir); dir = filepath.Dir(dir) {
				if err := modules[name].addTexts(dir); err != nil {
					return nil, err
				}
			}
		}
	}
	parts, err := beside()
	if err != nil {
		return nil, err
	}
	for _, m := range modules {
		parts = append(parts, *m)
	}
	slices.SortFunc(parts, func(a, b part) int { return strings.Compare(a.name, b.name) })
	return parts, nil
}

// list asks go for the packages that the program consists of. Nothing is compiled.
func list(ctx context.Context, tags, arch string) ([]listed, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-json=Dir,Module", "-tags", tags, ownModule+"/cmd/strata")
	cmd.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the packages of strata for %s: %w", arch, err)
	}
	var packages []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages, nil
		case err != nil:
			return nil, fmt.Errorf("reading what go list printed: %w", err)
		}
		packages = append(packages, p)
	}
}

// beside returns what is linked and is no module: Go's library, and the C libraries of Debian.
func beside() ([]part, error) {
	goLibrary := part{name: "go@" + strings.TrimPrefix(runtime.Version(), "go")}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("asking for the folder of Go: %w", err)
	}
	if err := goLibrary.addTexts(strings.TrimSpace(string(root))); err != nil {
		return nil, err
	}
	parts := []part{goLibrary}
	for name, files := range map[string][]string{
		"glibc":      {"/usr/share/doc/libc6-dev/copyright", "/usr/share/common-licenses/LGPL-2.1"},
		"libseccomp": {"/usr/share/doc/libseccomp-dev/copyright", "/usr/share/common-licenses/LGPL-2.1"},
	} {
		p := part{name: name}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("reading the licence of %s: %w; Debian's packages have it", name, err)
			}
			t := text{file: filepath.Base(file), content: string(content)}
			if t.file != "copyright" { // that names the licences of each of its files, with the GPL of its tests and tools
				t.license = identify(t.content)
			}
			p.texts = append(p.texts, t)
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// addTexts adds the licences and notices of the folder dir, once each.
func (p *part) addTexts(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("looking for the licence of %s: %w", p.name, err)
	}
	for _, e := range entries {
		if e.IsDir() || !licenceFile.MatchString(e.Name()) || notLinked.MatchString(e.Name()) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return fmt.Errorf("reading the licence of %s: %w", p.name, err)
		}
		t := text{e.Name(), string(content), identify(string(content))}
		if !slices.Contains(p.texts, t) {
			p.texts = append(p.texts, t)
		}
	}
	return nil
}
