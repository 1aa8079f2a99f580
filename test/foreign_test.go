package test

import (
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strata-build/strata/internal/sandbox/binfmt"
	"github.com/strata-build/strata/internal/sandbox/binfmt/binfmttest"
)

// foreign FILE TEXT writes a program for arm64 that prints a line.
func foreign(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: foreign FILE TEXT")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), binfmttest.ARM64(args[1]+"\n"), 0o755))
}

// registeredForeign is the condition [emulates]: the machine runs programs for arm64 whoever asks for it.
func registeredForeign() bool {
	dir, err := binfmt.Open()
	if err != nil {
		return binfmt.Native("arm64")
	}
	defer dir.Close()
	h, err := binfmt.Registered(dir.FS(), "arm64")
	return err == nil && h != nil || binfmt.Native("arm64")
}
