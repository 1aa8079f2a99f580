package packages

import (
	"bytes"
	"compress/zlib"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// minProgram is the size in bytes below which no program of Go or Rust is. Go's smallest have 1 MB.
const minProgram = 64 << 10

// maxAudit bounds what a Rust program says of its packages, in bytes.
const maxAudit = 8 << 20

// readProgram reads what a program of Go says of its modules (debug/buildinfo), and what cargo auditable says of a Rust
// program's (github.com/rust-secure-code/cargo-auditable, PARSING.md). Other programs tell of no packages.
func readProgram(in *input) ([]Package, error) {
	var head [4]byte
	at, parts := in.r.Reader.(io.ReaderAt)
	if parts {
		if _, err := at.ReadAt(head[:], 0); errors.Is(err, errors.ErrUnsupported) {
			parts = false
		}
	}
	if !parts {
		if _, err := io.ReadFull(in.r, head[:]); err != nil {
			return nil, nil
		}
		in.r.Reader = io.MultiReader(bytes.NewReader(head[:]), in.r.Reader)
	}
	if string(head[:]) != elf.ELFMAG {
		return nil, nil
	}
	in.limit(maxProgram)
	r, _, err := in.anywhere()
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, nil // a part of a program, or one for another machine: it says nothing
	}
	defer f.Close()
	if f.Section(".go.buildinfo") != nil {
		return goModules(r)
	}
	if s := f.Section(".dep-v0"); s != nil {
		return rustCrates(s.Open())
	}
	return nil, nil
}

// maxProgram bounds a program that can only be read from its beginning, in bytes.
const maxProgram = 256 << 20

func goModules(r io.ReaderAt) ([]Package, error) {
	info, err := buildinfo.Read(r)
	if err != nil {
		return nil, fmt.Errorf("what Go says of its modules: %w", err)
	}
	var list []Package
	add := func(name, version string) {
		if name != "" && version != "" {
			list = append(list, Package{Manager: "go", Name: name, Version: version})
		}
	}
	version, _, _ := strings.Cut(info.GoVersion, " ") // "go1.24.1 X:nocoverageredesign"
	add("stdlib", strings.TrimPrefix(version, "go"))
	add(info.Main.Path, info.Main.Version)
	for _, m := range info.Deps {
		if m.Replace != nil && !strings.HasPrefix(m.Replace.Path, ".") && !strings.HasPrefix(m.Replace.Path, "/") {
			m = m.Replace // by another module; a directory has no version of its own
		}
		add(m.Path, m.Version)
	}
	return list, nil
}

func rustCrates(r io.Reader) ([]Package, error) {
	z, err := zlib.NewReader(r)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(z, maxAudit))
	if err != nil {
		return nil, err
	}
	var v struct {
		Packages []struct {
			Name    string `json:"name"`
			Version string `json:"version"`
			Kind    string `json:"kind"` // "build" of what only ran while the program was built
		} `json:"packages"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, err
	}
	var list []Package
	for _, p := range v.Packages {
		if p.Name != "" && p.Version != "" && p.Kind != "build" && p.Kind != "dev" {
			list = append(list, Package{Manager: "rust", Name: p.Name, Version: p.Version})
		}
	}
	return list, nil
}
