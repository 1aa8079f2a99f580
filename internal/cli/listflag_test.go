package cli

import (
	"fmt"
	"testing"

	"github.com/spf13/pflag"
)

// No flag is one of pflag's own lists, which cost 4 kB each when a command starts.
func TestListFlags(t *testing.T) {
	lists := 0
	for _, cmd := range commands(t) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			switch kind := fmt.Sprintf("%T", f.Value); kind {
			case "*pflag.stringArrayValue", "*pflag.stringSliceValue":
				t.Errorf("%s --%s is a %s: take a listFlag", cmd.CommandPath(), f.Name, kind)
			case "*cli.listFlag":
				lists++
				if f.DefValue != "" {
					t.Errorf("%s --%s: help would show the default %q", cmd.CommandPath(), f.Name, f.DefValue)
				}
			}
		})
	}
	if lists == 0 {
		t.Error("no command has a list")
	}
}

func TestListFlag(t *testing.T) {
	var values []string
	fl := pflag.NewFlagSet("", pflag.ContinueOnError)
	fl.VarP((*listFlag)(&values), "env", "e", "")
	if err := fl.Parse([]string{"-e", "A=1,2", "--env=", "--env", `"q"`}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%q", values); got != `["A=1,2" "" "\"q\""]` {
		t.Errorf("got %s", got)
	}
}
