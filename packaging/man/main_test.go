package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strata-build/strata/internal/cli"
)

// Each command that --help lists has a page, and the page of strata names it.
func TestPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man")
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	if err := write(dir, "1.2.3-dev.4+g0123456789ab"); err != nil {
		t.Fatal(err)
	}
	main, err := os.ReadFile(filepath.Join(dir, "strata.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"Nov 2023" "strata 1.2.3-dev.4"`, "strata COMMAND", ".SH FILES", "STRATA_ROOT"} {
		if !strings.Contains(string(main), want) {
			t.Errorf("strata.1 lacks %q", want)
		}
	}
	for _, c := range cli.Command("1").Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		if !strings.Contains(string(main), `\fB`+c.Name()+`\fP`) {
			t.Errorf("strata.1 does not list %s", c.Name())
		}
		page, err := os.ReadFile(filepath.Join(dir, "strata-"+c.Name()+".1"))
		if err != nil {
			t.Error(err)
		}
		if !strings.Contains(string(page), c.Short) {
			t.Errorf("the page of %s does not say what it is", c.Name())
		}
	}
}
