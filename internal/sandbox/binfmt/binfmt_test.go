package binfmt

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"
)

// What the kernel shows of Debian's handler of arm64 programs.
const aarch64 = `enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
`

func TestRegistered(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	dir := fstest.MapFS{
		"status": file("enabled\n"), "register": file(""), "python3": file("enabled\ninterpreter /usr/bin/python3\nflags: \noffset 0\nmagic a70d0d0a\n"),
		"qemu-aarch64": file(aarch64), "jar": file("enabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n"),
		"qemu-s390x": file(strings.Replace(aarch64, "enabled", "disabled", 1)), "broken": file("enabled\nmagic xyz\noffset a\n"),
	}
	h, err := Registered(dir, "arm64")
	if err != nil || h == nil || !h.Fixed || h.Interpreter != "/usr/libexec/qemu-binfmt/aarch64-binfmt-P" {
		t.Errorf("%+v, %v", h, err)
	}
	for _, arch := range []string{"arm", "s390x", "riscv64", "amd64", "toaster"} {
		if h, err := Registered(dir, arch); h != nil || err != nil {
			t.Errorf("%s: %+v, %v", arch, h, err)
		}
	}
	dir["status"] = file("disabled\n")
	if h, err := Registered(dir, "arm64"); h != nil || err != nil {
		t.Errorf("where all are disabled: %+v, %v", h, err)
	}
}

// The line has to be the one that QEMU's own script makes, but for the name, the interpreter and the flags.
func TestRegistration(t *testing.T) {
	line, err := Registration("arm64", "/usr/bin/qemu-aarch64-static")
	want := `:strata-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:` +
		`\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:OPCF`
	if err != nil || line != want {
		t.Errorf("%s, %v", line, err)
	}
	line, err = Registration("s390x", "/q")
	want = `:strata-s390x:M::\x7f\x45\x4c\x46\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16:` +
		`\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff:/q:OPCF`
	if err != nil || line != want {
		t.Errorf("%s, %v", line, err)
	}
	if _, err := Registration("toaster", "/q"); err == nil {
		t.Error("no error for an unknown architecture")
	}
}

func TestIsProgram(t *testing.T) {
	dynamic := []byte("\x7fELF\x02\x01\x01\x03\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\xb7\x00\x01\x00")
	for arch, want := range map[string]bool{"arm64": true, "amd64": false, "arm": false, "toaster": false} {
		if got := IsProgram(bytes.NewReader(dynamic), arch); got != want {
			t.Errorf("%s: %v", arch, got)
		}
	}
	if IsProgram(strings.NewReader("#!/bin/sh\n"), "arm64") {
		t.Error("a script is no program of its own")
	}
}

func FuzzParseHandler(f *testing.F) {
	f.Add([]byte(aarch64))
	f.Add([]byte("enabled\noffset -1\nmagic 7f\nmask ffff\n"))
	m, _ := machineOf("arm64")
	f.Fuzz(func(t *testing.T, data []byte) {
		h := parseHandler(data)
		if h.matches(m.header()) && len(h.magic) == 0 {
			t.Errorf("%q matches without magic", data)
		}
	})
}
