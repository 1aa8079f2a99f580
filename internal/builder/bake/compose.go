package bake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/consts"
	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
)

// addCompose adds a target for each service that has something to build, and all of them to the group default.
func (c *Config) addCompose(files []File, env *Environment) error {
	project, err := loadCompose(files, env)
	if err != nil {
		return err
	}
	g := &Group{Name: "default"}
	for _, name := range slices.Sorted(maps.Keys(project.Services)) {
		s := project.Services[name]
		if s.Build == nil {
			continue
		}
		t, err := composeTarget(project, &s)
		if err != nil {
			return fmt.Errorf("service %s: %w", name, err)
		}
		c.Targets = append(c.Targets, t)
		g.Targets = append(g.Targets, t.Name)
	}
	c.Groups = append(c.Groups, g)
	return nil
}

// servicePart are the keys of a service that say what is built: others are not looked at, as in buildx.
var servicePart = []string{"image", "build", "environment", "env_file"}

// loadCompose reads Compose files, of which later ones are merged over the first.
func loadCompose(files []File, env *Environment) (*types.Project, error) {
	environment, err := composeEnvironment(env)
	if err != nil {
		return nil, err
	}
	details := types.ConfigDetails{Environment: environment}
	for _, f := range files {
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: f.Name, Content: f.Data})
	}
	model, err := loader.LoadModelWithContext(context.Background(), details, func(o *loader.Options) {
		name := environment[consts.ComposeProjectName]
		if name == "" {
			name = "bake"
		}
		o.SetProjectName(name, false)
		o.SkipNormalization, o.SkipValidation = true, true
	})
	if err != nil {
		return nil, err
	}
	part := buildPart(model)
	if len(part) == 0 {
		return nil, errors.New("the file has no services")
	}
	if err := schema.Validate(part); err != nil {
		return nil, err
	}
	options := loader.ToOptions(&details, []func(*loader.Options){func(o *loader.Options) {
		o.SkipNormalization, o.SkipConsistencyCheck = true, true
		o.Profiles = []string{"*"}
	}})
	return loader.ModelToProject(part, options, details)
}

// buildPart is what of a Compose file is about builds.
func buildPart(model map[string]any) map[string]any {
	part := map[string]any{}
	if secrets, ok := model["secrets"]; ok {
		part["secrets"] = secrets
	}
	services, ok := model["services"].(map[string]any)
	if !ok {
		return part
	}
	kept := map[string]any{}
	for name, service := range services {
		keys, _ := service.(map[string]any)
		one := map[string]any{}
		for _, key := range servicePart {
			if value, ok := keys[key]; ok {
				one[key] = value
			}
		}
		kept[name] = one
	}
	part["services"] = kept
	return part
}

// composeEnvironment is what ${NAME} in a Compose file means: --var, else the process's environment, else the file
// .env here.
func composeEnvironment(env *Environment) (types.Mapping, error) {
	all := types.Mapping{}
	if readsEnvironment() {
		all = types.NewMapping(os.Environ())
	}
	path, err := filepath.Abs(".env")
	if err != nil {
		return nil, err
	}
	if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		file, err := dotenv.UnmarshalBytesWithLookup(data, func(name string) (string, bool) {
			value, ok := all[name]
			return value, ok
		})
		if err != nil {
			return nil, fmt.Errorf("reading .env: %w", err)
		}
		for name, value := range file {
			if _, ok := all[name]; !ok {
				all[name] = value
			}
		}
	}
	maps.Copy(all, env.Vars)
	return all, nil
}

// composeTarget is the target of a service.
func composeTarget(project *types.Project, s *types.ServiceConfig) (*Target, error) {
	b := s.Build
	t := &Target{Name: TargetName(s.Name)}
	if err := checkName(t.Name); err != nil {
		return nil, err
	}
	for _, set := range []struct {
		to   **string
		text string
	}{
		{&t.Context, b.Context}, {&t.Dockerfile, b.Dockerfile}, {&t.DockerfileInline, b.DockerfileInline},
		{&t.Stage, b.Target}, {&t.Network, b.Network},
	} {
		if set.text != "" {
			*set.to = ptr(set.text)
		}
	}
	for name, value := range b.AdditionalContexts {
		put(&t.Contexts, name, composeContext(value))
	}
	if b.ShmSize > 0 {
		t.ShmSize = ptr(units.BytesSize(float64(b.ShmSize)))
	}
	if b.NoCache {
		t.NoCache = ptr(true)
	}
	if b.Pull {
		t.Pull = ptr(true)
	}
	t.NoCacheFilter, t.Platforms = slices.Clone(b.NoCacheFilter), slices.Clone(b.Platforms)
	for name, value := range b.Labels {
		put(&t.Labels, name, ptr(value))
	}
	for host, ips := range b.ExtraHosts {
		put(&t.ExtraHosts, host, ptr(strings.Join(ips, ",")))
	}
	for _, name := range slices.Sorted(maps.Keys(b.Ulimits)) {
		t.Ulimits = append(t.Ulimits, ulimitText(name, b.Ulimits[name]))
	}
	putSet(&t.Args, b.Args.Resolve(func(name string) (string, bool) {
		if value, ok := s.Environment[name]; ok && value != nil {
			return *value, true
		}
		value, ok := project.Environment[name]
		return value, ok
	}))
	t.Tags = slices.Clone(b.Tags)
	if len(t.Tags) == 0 && s.Image != "" {
		t.Tags = []string{s.Image}
	}
	if err := t.composeEntries(project, b); err != nil {
		return nil, err
	}
	if err := t.composeExtension(b.Extensions["x-bake"]); err != nil {
		return nil, fmt.Errorf("x-bake: %w", err)
	}
	return t, nil
}

func ulimitText(name string, u *types.UlimitsConfig) string {
	soft, hard := u.Soft, u.Hard
	if u.Single != 0 {
		soft, hard = u.Single, u.Single
	}
	return fmt.Sprintf("%s=%d:%d", name, soft, hard)
}

// composeEntries sets what a Compose file writes as a build's flags have it.
func (t *Target) composeEntries(project *types.Project, b *types.BuildConfig) (err error) {
	if t.CacheFrom, err = entries[Entry, Caches](nil, &override{values: b.CacheFrom}, parseCache); err != nil {
		return fmt.Errorf("cache_from: %w", err)
	}
	if t.CacheTo, err = entries[Entry, Caches](nil, &override{values: b.CacheTo}, parseCache); err != nil {
		return fmt.Errorf("cache_to: %w", err)
	}
	var attests []string
	for _, a := range []struct{ kind, value string }{{"sbom", b.SBOM}, {"provenance", b.Provenance}} {
		if a.value != "" {
			attests = append(attests, AttestText(a.kind, a.value))
		}
	}
	if t.Attest, err = entries[Attest, Attests](nil, &override{values: attests}, parseAttest); err != nil {
		return err
	}
	for _, key := range b.SSH {
		s := SSH{ID: key.ID}
		if key.Path != "" {
			s.Paths = []string{key.Path}
		}
		t.SSH = append(t.SSH, s)
	}
	slices.SortFunc(t.SSH, compareSSH)
	for _, used := range b.Secrets {
		of := project.Secrets[used.Source]
		if of.External {
			return fmt.Errorf("the secret %s is external, and there is no swarm that has it; give it a file or an environment", used.Source)
		}
		t.Secrets = append(t.Secrets, Secret{ID: used.Source, Src: of.File, Env: of.Environment})
	}
	return nil
}

// composeContext is an additional context: service:NAME is the target of that service.
func composeContext(value string) string {
	for _, prefix := range []string{"service:", targetPrefix} {
		if name, ok := strings.CutPrefix(value, prefix); ok {
			return targetPrefix + TargetName(name)
		}
	}
	return value
}
