// Command strata builds container images, and shows, enters and compares their layers.
package main

import (
	"os"

	_ "github.com/opencontainers/runc/libcontainer/nsenter" // the container's first steps, before Go's runtime starts

	"github.com/strata-build/strata/internal/cli"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/sandbox/tracefs"
)

// version is set when the program is linked.
var version = "unknown"

func main() {
	runner.Init()
	tracefs.Init()
	collectLate()
	code := cli.Main(os.Args[1:], version)
	runner.End()
	os.Exit(code)
}
