package test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strata-build/strata/test/testbed"
)

// asUser runs a program as an ordinary user: asuser [-chrooted] [-ranges N] [-env NAME=VALUE]... program arguments...
// The user has N subordinate IDs, none without -ranges, the home $WORK/home, and no store but its own. With -chrooted
// the kernel makes no user name space.
func asUser(ts *testscript.TestScript, neg bool, args []string) {
	ranges := 0
	var env []string
	chrooted := len(args) > 0 && args[0] == "-chrooted"
	if chrooted {
		args = args[1:]
	}
	for len(args) > 2 && (args[0] == "-ranges" || args[0] == "-env") {
		if args[0] == "-env" {
			env = append(env, args[1])
		} else {
			n, err := strconv.Atoi(args[1])
			ts.Check(err)
			ranges = n
		}
		args = args[2:]
	}
	if len(args) == 0 {
		ts.Fatalf("usage: asuser [-chrooted] [-ranges N] [-env NAME=VALUE]... program arguments...")
	}
	user, err := testbed.NewUser(ts.Getenv("WORK"), ranges)
	ts.Check(err)
	user.Chrooted = chrooted
	if err := ts.Exec("unshare", user.Arguments(append(env, args...)...)...); (err != nil) != neg {
		ts.Fatalf("asuser %v: %v", args, err)
	}
}

// TestScriptAsUser has ordinary users go through lessons that root goes through in TestScript: one with subordinate
// IDs, and one without, who has a user name space with one ID.
func TestScriptAsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	if testing.Short() {
		t.Skip("needs a Python image: run without -short")
	}
	bed := newBed(t)
	for _, user := range []struct {
		name    string
		ranges  int
		lessons []string // those with a screen start strata as root
	}{
		{"ranges", 65536, []string{"lesson2_cache"}},
		{"one", 0, []string{"lesson2_cache"}},
	} {
		t.Run(user.name, func(t *testing.T) { bed.asUser(t, user.ranges, user.lessons) })
	}
}

func (b *bed) asUser(t *testing.T, ranges int, lessons []string) {
	ctx := context.Background()
	p := b.params()
	for _, lesson := range lessons {
		p.Files = append(p.Files, "script/"+lesson+".txtar")
	}
	store := sync.OnceValues(func() (*testbed.Store, error) {
		root, err := b.stores["python"]()
		if err != nil {
			return nil, err
		}
		user, err := testbed.NewUser(filepath.Join(b.dir, "user-"+strconv.Itoa(ranges)), ranges)
		if err != nil {
			return nil, err
		}
		return testbed.MakeUserStore(ctx, b.binary, root, user, testbed.BusyboxImage, testbed.DebianImage, testbed.PythonImage)
	})
	p.Cmds["base"] = func(ts *testscript.TestScript, _ bool, _ []string) {
		s, err := store()
		ts.Check(err)
		ts.Check(s.Copy(ctx, ts.Getenv("STRATA_ROOT")))
	}
	number := strconv.Itoa(ranges)
	p.Cmds["strata"] = func(ts *testscript.TestScript, neg bool, args []string) {
		args = append([]string{"strata"}, args...)
		asUser(ts, neg, append([]string{"-ranges", number, "-env", "STRATA_ROOT=" + ts.Getenv("STRATA_ROOT")}, args...))
	}
	asRoot := p.Condition
	p.Condition = func(name string) (bool, error) {
		if name == "observes" { // where everybody may use FUSE
			st, err := os.Stat("/dev/fuse")
			return err == nil && st.Mode().Perm()&0o006 == 0o006, nil
		}
		return asRoot(name)
	}
	testscript.Run(t, p)
}
