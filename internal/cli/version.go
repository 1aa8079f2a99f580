package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/human"
)

// versionInfo has the field names that templates for docker version use. Client and server are the
// same program.
type versionInfo struct {
	programVersion
	Client, Server programVersion
}

type programVersion struct {
	Version, GitCommit, BuildTime, GoVersion, Os, Arch string
	Context, KernelVersion                             string
	Experimental                                       bool
}

func (a *app) printVersion() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "version [OPTIONS]",
		Short: "Show the version",
		Args:  args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			v := a.programVersion()
			if format != "" {
				return human.Template(a.texts(), format, versionInfo{v, v, v})
			}
			fmt.Fprintf(a.stdout, "strata\n Version:      %s\n Go version:   %s\n", v.Version, v.GoVersion)
			if v.GitCommit != "" {
				fmt.Fprintf(a.stdout, " Git commit:   %s\n Committed:    %s\n", v.GitCommit, v.BuildTime)
			}
			fmt.Fprintf(a.stdout, " OS/Arch:      %s/%s\n", v.Os, v.Arch)
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "`TEMPLATE` in Go's language, such as '{{.Version}}', or json")
	return cmd
}

func (a *app) programVersion() programVersion {
	v := programVersion{Version: a.version, GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH, Context: contextName}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		v.KernelVersion = unix.ByteSliceToString(name.Release[:])
	}
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, s := range build.Settings {
			switch s.Key {
			case "vcs.revision":
				v.GitCommit = s.Value[:min(12, len(s.Value))]
			case "vcs.time":
				v.BuildTime = s.Value
			}
		}
	}
	return v
}
