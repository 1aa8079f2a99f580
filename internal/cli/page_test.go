package cli

import (
	"os"
	"regexp"
	"testing"

	"github.com/spf13/pflag"
)

// Every option of build has its row in docs/dockerfile.md.
func TestOptionsHaveRows(t *testing.T) {
	page, err := os.ReadFile("../../docs/dockerfile.md")
	if err != nil {
		t.Fatal(err)
	}
	options := 0
	(&app{}).build().Flags().VisitAll(func(f *pflag.Flag) {
		options++
		if !regexp.MustCompile("(?m)^\\|[^|]*--" + regexp.QuoteMeta(f.Name) + "[`= ]").Match(page) {
			t.Errorf("--%s has no row", f.Name)
		}
	})
	if options < 15 {
		t.Errorf("only %d options were looked at", options)
	}
}
