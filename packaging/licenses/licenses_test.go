package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// makefileTags are the build tags of the Makefile: they decide what is linked.
func makefileTags(t *testing.T) string {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`(?m)^TAGS\s*=\s*(\S+)$`).FindSubmatch(makefile)
	if match == nil {
		t.Fatal("no line TAGS = in the Makefile")
	}
	return string(match[1])
}

// Everything that is linked has a licence, strata may be linked with it, and its text is in what the packages install.
func TestLinked(t *testing.T) {
	parts, err := linked(t.Context(), makefileTags(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := check(parts); err != nil {
		t.Error(err)
	}
	names := map[string]bool{}
	copyright := format(parts)
	for _, p := range parts {
		module, _, _ := strings.Cut(p.name, "@")
		names[module] = true
		if !strings.Contains(copyright, p.name+"\n") {
			t.Errorf("%s is not in the copyright file", p.name)
		}
	}
	for _, name := range []string{"go", "glibc", "libseccomp", "github.com/opencontainers/runc", "modernc.org/sqlite"} {
		if !names[name] {
			t.Errorf("%s is not in the list", name)
		}
	}
}

func TestIdentify(t *testing.T) {
	own, err := os.ReadFile("../../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{
		string(own): "Apache-2.0",
		"# MIT\n\nPermission is hereby granted, free of charge, to any\n person obtaining a copy of …\nWITHOUT WARRANTY OF ANY KIND": "MIT",
		"All rights reserved.": "",
	} {
		if got := identify(content); got != want {
			t.Errorf("%.30q is %q, want %q", content, got, want)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := part{name: "example.org/m@v1.0.0"}
	refused := func(because string) {
		t.Helper()
		p.texts = nil
		if err := p.addTexts(dir); err != nil {
			t.Fatal(err)
		}
		if err := check([]part{p}); err == nil || !strings.Contains(err.Error(), because) {
			t.Errorf("error %v, want one with %q", err, because)
		}
	}
	refused("no licence was found")
	write("LICENSE.docs", "Attribution 4.0 International")
	refused("no licence was found")
	write("LICENSE", "Do as you like.")
	refused("no licence that is known")
	write("LICENSE", "GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007")
	refused("cannot be linked")
}
