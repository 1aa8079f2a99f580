package cli

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/strata-build/strata/internal/builder/bake"
	"github.com/strata-build/strata/internal/image/platform"
)

// filesGiven are the values of --file on the command line so far.
func filesGiven(r *request) []string { return valuesGiven(r, "file") }

// valuesGiven are the values of a flag that can be given several times, as far as the command line has them.
func valuesGiven(r *request, name string) []string {
	flag := r.cmd.Flags().Lookup(name)
	if flag == nil {
		return nil
	}
	values, ok := flag.Value.(*listFlag)
	if !ok {
		return nil
	}
	return slices.Clone(*values)
}

// bakeDefinition is what the bake files that the command line means define; empty if they cannot be read.
func bakeDefinition(r *request) *bake.Config {
	names := filesGiven(r)
	if len(names) == 0 {
		names = filesOfEnvironment()
	}
	for i, name := range names {
		names[i] = bake.Path(name)
	}
	files, err := bake.ReadFiles(names, strings.NewReader(""))
	if err != nil {
		return &bake.Config{}
	}
	config, err := bake.Parse(files, bake.Environment{Builtin: map[string]string{"BAKE_LOCAL_PLATFORM": platform.Format(platform.Local())}})
	if err != nil {
		return &bake.Config{}
	}
	return config
}

// bakeTargets are the groups and targets of the bake files.
func bakeTargets(r *request) (c choices) {
	config := bakeDefinition(r)
	for _, g := range config.Groups {
		c.words = append(c.words, described(g.Name, cmp.Or(g.Description, "group")))
	}
	for _, t := range config.Targets {
		c.words = append(c.words, described(t.Name, cmp.Or(t.Description, "target")))
	}
	return c
}

// bakeVariables are the variables of the bake files, for --var.
func bakeVariables(r *request) choices {
	c := choices{open: true}
	for _, v := range bakeDefinition(r).Variables {
		c.words = append(c.words, described(v.Name+"=", v.Description))
	}
	return c
}

// bakeOverrides are the words of --set: a target, one of its attributes, a key of that, and values of those that have
// few.
func bakeOverrides(r *request) choices {
	c := choices{open: true}
	config := bakeDefinition(r)
	target, rest, ok := strings.Cut(r.word, ".")
	if !ok {
		c.words = append(c.words, "*.")
		for _, t := range config.Targets {
			c.words = append(c.words, described(t.Name+".", t.Description))
		}
		return c
	}
	attribute, value, ok := strings.Cut(rest, "=")
	if ok {
		for _, v := range overrideValues(strings.TrimSuffix(attribute, "+"), value, r) {
			c.words = append(c.words, target+"."+attribute+"="+v)
		}
		c.open = len(c.words) > 0 && strings.HasSuffix(c.words[0], "=")
		return c
	}
	name, _, ok := strings.Cut(rest, ".")
	if ok {
		for _, key := range config.Keys(target, name) {
			c.words = append(c.words, target+"."+name+"."+key+"=")
		}
		return c
	}
	for _, a := range bake.SetAttributes() {
		end := "="
		if a.Keyed {
			end = "."
		}
		c.words = append(c.words, target+"."+a.Name+end)
	}
	return c
}

func overrideValues(attribute, value string, r *request) []string {
	part := *r
	part.word = value
	switch attribute {
	case "pull", "no-cache", "push", "load":
		return yesOrNo
	case "platform":
		return platforms(&part).words
	case "call":
		return []string{"build", "check", "outline", "targets"}
	case "network":
		return networkNames()
	case "entitlements":
		return []string{"network.host", "security.insecure"}
	case "output":
		return outputs(&part).words
	case "cache-from":
		return cacheFrom(&part).words
	case "cache-to":
		return cacheTo(&part).words
	case "tags":
		return imageNames(&part).words
	case "context", "dockerfile":
		return pathsBelow(value)
	}
	return nil
}

// composeServices are the services of the Compose files that the command line means, of which there is something to
// build.
func composeServices(r *request) (c choices) {
	services, err := composeProject(r).Load(context.Background(), nil, false)
	if err == nil {
		c.words = services.Names
	}
	return c
}

// composeProfiles are the profiles of the Compose files.
func composeProfiles(r *request) (c choices) {
	names, err := composeProject(r).AllProfiles(context.Background())
	if err == nil {
		c.words = names
	}
	return c
}

// composeProject is the project that the command line means.
func composeProject(r *request) *bake.Project {
	return &bake.Project{Files: filesGiven(r), Directory: r.flag("project-directory"), Profiles: valuesGiven(r, "profile"), EnvFiles: valuesGiven(r, "env-file")}
}
