package cli

import (
	"context"
	"strings"

	"github.com/strata-build/strata/internal/builder/bake"
	"github.com/strata-build/strata/internal/image/platform"
)

// bakeTargets are the groups and targets of the bake files that the command line means; none if they cannot be read.
func bakeTargets(r *request) (c choices) {
	names, err := r.cmd.Flags().GetStringArray("file")
	if err != nil {
		return c
	}
	if len(names) == 0 {
		names = filesOfEnvironment()
	}
	for i, name := range names {
		names[i] = bake.Path(name)
	}
	files, err := bake.ReadFiles(names, strings.NewReader(""))
	if err != nil {
		return c
	}
	config, err := bake.Parse(files, bake.Environment{Builtin: map[string]string{"BAKE_LOCAL_PLATFORM": platform.Format(platform.Local())}})
	if err != nil {
		return c
	}
	for _, g := range config.Groups {
		c.words = append(c.words, g.Name+"\tgroup")
	}
	for _, t := range config.Targets {
		c.words = append(c.words, t.Name+"\ttarget")
	}
	return c
}

// composeServices are the services of the Compose files that the command line means, of which there is something to build.
func composeServices(r *request) (c choices) {
	files, err := r.cmd.Flags().GetStringArray("file")
	if err != nil {
		return c
	}
	services, err := (&bake.Project{Files: files}).Load(context.Background(), nil, false)
	if err == nil {
		c.words = services.Names
	}
	return c
}
