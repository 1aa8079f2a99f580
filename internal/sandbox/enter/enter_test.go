package enter

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/sandbox/runner"
)

// What a person gives goes before what the image says, as with docker run.
func TestSpec(t *testing.T) {
	c := &image.Config{}
	c.Config.Entrypoint, c.Config.Cmd = []string{"entry", "-x"}, []string{"cmd"}
	c.Config.Env, c.Config.WorkingDir, c.Config.User = []string{"A=1", "B=1"}, "/work", "bin"
	empty, other := "", "other"
	terminal := runner.Streams{Terminal: true}
	for _, test := range []struct {
		name string
		o    Options
		want runner.Spec
	}{
		{"the image's", Options{}, runner.Spec{Args: []string{"entry", "-x", "cmd"}}},
		{"arguments replace CMD", Options{Args: []string{"a", "b"}}, runner.Spec{Args: []string{"entry", "-x", "a", "b"}}},
		{"an entrypoint takes CMD away", Options{Entrypoint: &other}, runner.Spec{Args: []string{"other"}}},
		{"an entrypoint with arguments", Options{Entrypoint: &other, Args: []string{"a"}}, runner.Spec{Args: []string{"other", "a"}}},
		{"no entrypoint", Options{Entrypoint: &empty, Args: []string{"a"}}, runner.Spec{Args: []string{"a"}}},
		{"nothing is left", Options{Entrypoint: &empty}, runner.Spec{}},
		{"directory and user", Options{Dir: "/d", User: "7", Args: []string{"a"}}, runner.Spec{Args: []string{"entry", "-x", "a"}, Dir: "/d", User: "7"}},
		{"environment", Options{Env: []string{"B=2", "C=3"}}, runner.Spec{Args: []string{"entry", "-x", "cmd"}, Env: []string{"HOSTNAME=h", "A=1", "B=1", "B=2", "C=3"}}},
		{"terminal", Options{Streams: terminal}, runner.Spec{Args: []string{"entry", "-x", "cmd"}, Streams: terminal, Env: []string{"HOSTNAME=h", "TERM=xterm", "A=1", "B=1"}}},
		{"terminal of a kind", Options{Streams: terminal, Env: []string{"TERM=vt100"}}, runner.Spec{Args: []string{"entry", "-x", "cmd"}, Streams: terminal, Env: []string{"HOSTNAME=h", "TERM=xterm", "A=1", "B=1", "TERM=vt100"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := test.want
			test.o.Machine.Hostname = "h"
			if want.Dir == "" {
				want.Dir, want.User = "/work", "bin"
			}
			if want.Env == nil {
				want.Env = []string{"HOSTNAME=h", "A=1", "B=1"}
			}
			got := test.o.spec(c)
			if diff := cmp.Diff([]any{want.Args, want.Env, want.Dir, want.User, want.Terminal}, []any{got.Args, got.Env, got.Dir, got.User, got.Terminal}); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := strings.Join(c.Config.Env, " "); got != "A=1 B=1" {
		t.Errorf("the image's own environment is now %q", got)
	}
}
