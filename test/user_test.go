package test

import (
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strata-build/strata/test/testbed"
)

// asUser runs a program as an ordinary user:
//
//	asuser [-chrooted] [-ranges N] [-bounding CAPABILITIES] [-env NAME=VALUE]... program arguments...
//
// The user has N subordinate IDs, none without -ranges, the home $WORK/home, and no store but its own. With -chrooted
// the kernel makes no user name space. -bounding are the capabilities that set-user-ID programs can get.
func asUser(ts *testscript.TestScript, neg bool, args []string) {
	ranges := 0
	var env []string
	bounding := ""
	chrooted := len(args) > 0 && args[0] == "-chrooted"
	if chrooted {
		args = args[1:]
	}
	for len(args) > 2 && (args[0] == "-ranges" || args[0] == "-env" || args[0] == "-bounding") {
		switch args[0] {
		case "-env":
			env = append(env, args[1])
		case "-bounding":
			bounding = args[1]
		default:
			n, err := strconv.Atoi(args[1])
			ts.Check(err)
			ranges = n
		}
		args = args[2:]
	}
	if len(args) == 0 {
		ts.Fatalf("usage: asuser [-chrooted] [-ranges N] [-bounding CAPABILITIES] [-env NAME=VALUE]... program arguments...")
	}
	user, err := testbed.NewUser(ts.Getenv("WORK"), ranges)
	ts.Check(err)
	user.Chrooted, user.Bounding = chrooted, bounding
	if err := ts.Exec("unshare", user.Arguments(append(env, args...)...)...); (err != nil) != neg {
		ts.Fatalf("asuser %v: %v", args, err)
	}
}
