package cli

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/strata-build/strata/internal/builder/bake"
	"github.com/strata-build/strata/internal/builder/subrequest"
)

// prepare makes the request of a target: its attributes are flags of build, and mean what those mean.
func (t *bakedTarget) prepare(def *bake.Target, f *bakeFlags, permits *permits) (err error) {
	t.flags = targetFlags(def, f, permits)
	for name, value := range def.Resources {
		if err := t.flags.limits.limits.Set(name, value); err != nil {
			return fmt.Errorf("resources: %s: %w", name, err)
		}
	}
	disabled := false
	for _, p := range def.Policy {
		disabled = disabled || p["disabled"] == "true"
		if p["disabled"] != "true" {
			return fmt.Errorf("policy: source policies are not supported; name base images by their digests")
		}
	}
	if t.method, err = subrequest.ParseMethod(textOf(def.Call)); err != nil {
		return err
	}
	if t.request, err = t.flags.request(); err != nil {
		return err
	}
	source := &t.request.Source
	source.Context = bake.Path(*def.Context)
	if def.DockerfileInline != nil {
		source.Dockerfile, source.Stdin = "-", strings.NewReader(*def.DockerfileInline)
	} else {
		source.Dockerfile = dockerfileOf(def)
	}
	return checkPolicy(*source, disabled)
}

// dockerfileOf is the -f of a target's build: bake's dockerfile is relative to the context.
func dockerfileOf(def *bake.Target) string {
	name := *def.Dockerfile
	path := bake.Path(name)
	switch {
	case name == "Dockerfile":
		return "" // build looks for it, under other names too
	case path != name:
		if abs, err := filepath.Abs(path); err == nil {
			return abs
		}
		return path
	case filepath.IsAbs(path) || bake.IsRemote(*def.Context) || bake.IsRemote(path):
		return path
	}
	return filepath.Join(*def.Context, path)
}

// targetFlags are the flags of build that say what the attributes of a target say.
func targetFlags(def *bake.Target, f *bakeFlags, permits *permits) *buildFlags {
	b := &buildFlags{
		tags: def.Tags, args: pairs(def.Args, "="), labels: pairs(def.Labels, "="), platforms: def.Platforms,
		target: textOf(def.Stage), noCache: isOn(def.NoCache), pull: isOn(def.Pull), noCacheFilter: def.NoCacheFilter,
		network: cmp.Or(textOf(def.Network), "default"), networkAllow: f.networkAllow, engine: "graph",
		fleet:    f.fleet,
		progress: f.progress, quiet: f.quiet || f.progress == "quiet", debug: f.debug, lazy: lazyByDefault(),
	}
	if len(b.platforms) == 0 { // DOCKER_DEFAULT_PLATFORM is not for bake; what it means for Compose is in the plan
		b.platforms = []string{"local"}
	}
	for _, name := range slices.Sorted(maps.Keys(def.Contexts)) {
		if _, ok := def.Uses()[name]; !ok {
			b.contexts = append(b.contexts, name+"="+bake.Path(def.Contexts[name]))
		}
	}
	b.cacheFrom, b.cacheTo = texts(def.CacheFrom, bake.Entry.Text), texts(def.CacheTo, bake.Entry.Text)
	b.output.outputs = texts(def.Outputs, bake.Entry.Text)
	b.output.attests = texts(def.Attest, bake.Attest.Text)
	b.output.annotations = def.Annotations
	b.rights.secrets, b.rights.ssh = append(texts(def.Secrets, bake.Secret.Text), permits.secrets(def)...), texts(def.SSH, bake.SSH.Text)
	b.rights.hosts, b.rights.ulimits, b.rights.shmSize = hostsOf(def.ExtraHosts), def.Ulimits, textOf(def.ShmSize)
	b.rights.allow = permits.privileges(def)
	return b
}

// hostsOf are the --add-host of extra-hosts, whose values may have several addresses.
func hostsOf(hosts map[string]*string) (all []string) {
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		for ip := range strings.SplitSeq(textOf(hosts[name]), ",") {
			all = append(all, name+":"+ip)
		}
	}
	return all
}

func pairs(values map[string]*string, separator string) (all []string) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if values[name] != nil {
			all = append(all, name+separator+*values[name])
		}
	}
	return all
}

func texts[E any](list []E, text func(E) string) (all []string) {
	for _, e := range list {
		all = append(all, text(e))
	}
	return all
}

func textOf(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

func isOn(p *bool) bool { return p != nil && *p }
