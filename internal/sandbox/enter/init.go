package enter

import (
	"os/exec"

	"github.com/strata-build/strata/internal/sandbox/runner"
)

// initTarget is where docker shows its init program in a container.
const initTarget = "/sbin/docker-init"

// underInit lets an init program of this machine be process 1, which waits for orphans and passes signals on, and the command
// its child. It has to be linked statically; docker's package has one. false says that there is none.
func underInit(s *runner.Spec) bool {
	for _, name := range []string{"docker-init", "tini-static"} {
		if program, err := exec.LookPath(name); err == nil {
			s.Binds = append(s.Binds, runner.Bind{Source: program, Target: initTarget, ReadOnly: true})
			s.Args = append([]string{initTarget, "--"}, s.Args...)
			return true
		}
	}
	return false
}
